"""What Ostinato does, in one screen: a text file becomes a model that writes, scores, and comes back from disk."""

from __future__ import annotations

from pathlib import Path

import ostinato


def test_from_a_text_file_to_an_answer(tmp_path: Path) -> None:
    text = tmp_path / "hamlet.txt"
    text.write_text("to be, or not to be, that is the question:\n" * 250, "utf-8")

    lm = ostinato.train(text, out=tmp_path / "model", steps=150, hidden=48, batch=8, bptt=32, lr=0.01)

    assert "or not to be, that is the question" in lm.generate("to be, ", tokens=90, temperature=0.3, seed=1)
    known, strange = lm.score("to be, or not to be"), lm.score("eb ot ton ro ,eb ot")
    assert known.bits_per_char < 1.0 < 3.0 < strange.bits_per_char

    again = ostinato.load(tmp_path / "model")
    assert again.generate("to", tokens=99, seed=7) == lm.generate("to", tokens=99, seed=7)
    assert again.score("a question").nats == lm.score("a question").nats
