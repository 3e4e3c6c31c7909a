"""Layers, on torch."""
