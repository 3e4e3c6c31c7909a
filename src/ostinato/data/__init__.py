"""Ids to batches: the memory-mapped store and the lanes of truncated back-propagation."""
