"""Word lattices of a speech recogniser: read, write, search, prune, and give them a better language model."""
