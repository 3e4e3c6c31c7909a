"""From a model and a text to numbers."""
