"""Runs a bundle without torch: state -> score -> state."""
