"""However a text is cut for scoring, its tokens are those of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import TEXT, tokenizer

from ostinato.score import logprob

LETTERS = st.text(st.sampled_from("abcde  \n,.'\u00e9\u0301\u4e2d\U0001f600\r\t\u2028"), max_size=40)
TEXTS = st.lists(
    LETTERS | st.sampled_from(["x" * 150, " " * 150, "to be or not ", "\n", "\n\n\n", "1" * 40]), max_size=20
)


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
@settings(max_examples=60, deadline=None)
@given(parts=TEXTS, size=st.integers(1, 300), whole_lines=st.booleans())
def test_pieces_encode_as_the_whole(level, parts, size, whole_lines):
    tok, text = tokenizer(level, TEXT), " ".join(parts)  # no word is longer than a piece
    chunks = [text[k : k + size] for k in range(0, len(text), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logprob, "PIECE", 200)
        pieces = list(logprob.pieces(tok, iter(chunks), whole_lines=whole_lines))
        assert pieces == list(logprob.pieces(tok, text, whole_lines=whole_lines))
    assert "".join(pieces) == text
    ids = [tok.encode(piece) for piece in pieces]
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.int64), *ids]), tok.encode(text))
    if whole_lines:
        assert all(piece.endswith("\n") for piece in pieces[:-1])
    else:
        assert all(len(piece) <= 200 for piece in pieces)
