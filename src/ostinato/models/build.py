"""From a configuration to a model with fresh weights."""

from __future__ import annotations

from ostinato.config import ModelConfig, Regularisers
from ostinato.models.bidirectional import BidirectionalLanguageModel
from ostinato.models.language import RecurrentLanguageModel


def build(config: ModelConfig, regularisers: Regularisers) -> RecurrentLanguageModel | BidirectionalLanguageModel:
    """The language model that ``config`` describes, its weights drawn from torch's global generator."""
    kind = BidirectionalLanguageModel if config.bidirectional else RecurrentLanguageModel
    return kind(config, regularisers)
