"""Arithmetic: the cells, forward and backward. ``reference`` (numpy) is the definition; ``autograd`` is for torch."""
