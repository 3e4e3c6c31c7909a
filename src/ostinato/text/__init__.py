"""Text to ids: tokenizers, corpora, named sources."""
