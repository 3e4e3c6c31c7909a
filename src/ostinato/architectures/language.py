"""The tensors of language models, and of the layers that other models share with them."""

from __future__ import annotations

from ostinato.config import ModelConfig

GATES = {"rnn": 1, "gru": 3, "gru_reset_after": 3, "lstm": 4, "peephole": 4, "peephole_diagonal": 4}
"""Rows of blocks in the matrices of each cell, G."""


def language_tensors(model: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Of a language model: embedding, one stack or one for each direction, output layer."""
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (model.vocab, model.embed)}
    for stack in ("forward_stack", "backward_stack") if model.bidirectional else ("stack",):
        shapes |= stack_tensors(model, stack)
    if not model.tied:
        shapes["output.weight"] = (model.vocab, model.readout)
    return {**shapes, "output.bias": (model.vocab,)}


def stack_tensors(model: ModelConfig, stack: str, width: int | None = None) -> dict[str, tuple[int, ...]]:
    """Of the layers named ``stack``, whose first reads vectors of ``width``, or of the embedding's."""
    shapes: dict[str, tuple[int, ...]] = {}
    widths = (model.embed if width is None else width, *model.hidden)
    for k, (below, hidden) in enumerate(zip(widths, model.hidden, strict=False)):
        shapes |= _layer_tensors(model, f"{stack}.layers.{k}.", below, hidden)
        if model.layer_norm:
            shapes |= {f"{stack}.norms.{k}.weight": (hidden,), f"{stack}.norms.{k}.bias": (hidden,)}
    return shapes


def encoder_tensors(model: ModelConfig, encoder: str) -> dict[str, tuple[int, ...]]:
    """Of layers that read in both directions, each the outputs of both directions of the one below."""
    shapes: dict[str, tuple[int, ...]] = {}
    widths = (model.embed, *(2 * hidden for hidden in model.hidden))
    for k, (below, hidden) in enumerate(zip(widths, model.hidden, strict=False)):
        for side in ("left_to_right", "right_to_left"):
            shapes |= _layer_tensors(model, f"{encoder}.layers.{k}.{side}.", below, hidden)
        if model.layer_norm:
            shapes |= {f"{encoder}.norms.{k}.weight": (2 * hidden,), f"{encoder}.norms.{k}.bias": (2 * hidden,)}
    return shapes


def _layer_tensors(model: ModelConfig, layer: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    rows = GATES[model.cell] * hidden
    shapes: dict[str, tuple[int, ...]] = {layer + "weight_ih": (rows, width), layer + "weight_hh": (rows, hidden)}
    shapes[layer + "bias"] = (rows,)
    if model.cell == "gru_reset_after":
        shapes[layer + "bias_hn"] = (hidden,)
    if model.cell.startswith("peephole"):
        peephole = (hidden, hidden) if model.cell == "peephole" else (hidden,)
        shapes |= {layer + name: peephole for name in ("weight_ci", "weight_cf", "weight_co")}
    return shapes
