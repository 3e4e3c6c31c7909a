"""Scores of texts: what a model makes of them, in every unit the field uses."""
