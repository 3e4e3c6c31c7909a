"""From scores to text: sampling, generation, gap filling."""
