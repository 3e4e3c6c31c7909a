"""From a model to text: sampling, generation, filling."""
