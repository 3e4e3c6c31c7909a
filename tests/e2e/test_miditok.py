"""Anyone's own MIDI through a vocabulary of MidiTok: its tokens are words of a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from composing import chorale
from miditok import REMI, TokSequence
from symusic import Score

import ostinato
from ostinato import music


@pytest.mark.filterwarnings("ignore::UserWarning:miditok", "ignore::DeprecationWarning")
def test_midi_becomes_words_and_words_become_midi(tmp_path: Path) -> None:
    """As docs/music.md says: a file is a line, no token is unknown, and what is written is MIDI again."""
    remi, lines = REMI(), []
    for seed in range(8):
        music.write_midi(tmp_path / f"{seed}.mid", [chorale(seed, 8)], 1.0)
        for track in remi(Score(tmp_path / f"{seed}.mid")):
            lines.append(" ".join(track.tokens))
    (tmp_path / "pieces.txt").write_text("".join(f"{line}\n" for line in lines))
    names = {name for line in lines for name in line.split()}
    lm = ostinato.train(
        tmp_path / "pieces.txt", out=tmp_path / "m", valid=str(tmp_path / "pieces.txt"), level="word",
        pretokenized=True,
        steps=150, hidden=32, embed=16, batch=4, bptt=32, lr=0.02, evaluations=2, threads=1, dropout=0.0,
    )  # fmt: skip
    assert {lm.tokenizer.label(token) for token in range(lm.tokenizer.vocab_size)} >= names
    assert lm.training["valid"]["unknown"] == 0
    written = lm.generate(tokens=400, seed=1, stop=["\n"], temperature=0.7).split()
    assert len(written) > 20
    remi.decode([TokSequence(tokens=written)]).dump_midi(tmp_path / "written.mid")
    (piece,) = music.read_pieces(tmp_path / "written.mid", 1.0)
    known = np.logical_or.reduce([chorale(seed, 8).any(axis=0) for seed in range(8)])
    assert piece.roll.any()
    assert (piece.roll.any(axis=0) & known).any()
