"""Compositions of layers that are trained, on torch."""
