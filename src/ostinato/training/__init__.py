"""From a model and batches to a better model: the loop, its optimisers, schedules, checkpoints and plan."""
