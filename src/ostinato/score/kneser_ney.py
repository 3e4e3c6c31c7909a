"""A Kneser-Ney model of words as an ARPA file, for every program that reads those."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO, cast

import numpy as np

from ostinato.errors import TextError
from ostinato.files import check_place, whole
from ostinato.score.arpa import BEGIN, END
from ostinato.score.ngram import Nats, NgramModel
from ostinato.text.corpus import Corpus, lines
from ostinato.text.tokenizer import TokenizerOptions, build
from ostinato.types import Ids

NEVER = -99.0
"""log10 p of what no context predicts: the beginning of a sentence."""


def learn_arpa(
    texts: str | Path | Sequence[str | Path], path: str | Path, *, order: int = 3, min_count: int = 1
) -> None:
    """Count the words, as parted by blanks, of a text of sentences, one a line, or of several; write an ARPA file.

    Interpolated modified Kneser-Ney, as ``NgramModel``; words seen less than ``min_count`` times are ``<unk>``. A name
    that ends in .gz is packed. Raises TextError as ``Corpus`` does and when there is no word, ConfigError on an order
    that the text cannot give, OSError where the file cannot be written.
    """
    check_place(path)
    corpus = Corpus([texts] if isinstance(texts, str | Path) else texts)
    options = TokenizerOptions(level="word", pretokenized=True, min_count=min_count)
    tokenizer = build(options, corpus.chunks)
    words = [tokenizer.piece(token).decode() for token in range(tokenizer.vocab_size)]
    marks = sorted({BEGIN, END} & set(words))
    if marks:
        number, line = next((n, line) for n, line in enumerate(lines(corpus.chunks()), 1) if marks[0] in line.split())
        raise TextError(
            f"{', '.join(corpus.names)}: line {number} has the word {marks[0]}: {line[:40]!r}; leave it out: each line "
            "is a sentence, and gets its own marks"
        )
    # The text begins after a line end, as every sentence does.
    ids = tokenizer.encode("\n" + " \n ".join(line for line in _sentences(corpus)) + "\n")
    write_arpa(
        NgramModel.fit(ids, order, tokenizer.vocab_size, tokenizer.boundary_id), words, tokenizer.boundary_id, path
    )


def _sentences(corpus: Corpus) -> Iterator[str]:
    found = [line for line in lines(corpus.chunks()) if line.split()]
    if not found:
        raise TextError(f"{', '.join(corpus.names)}: no line has a word; expected sentences, one a line")
    return iter(found)


def write_arpa(model: NgramModel, words: Sequence[str], boundary: int, path: str | Path) -> None:
    """Write a model of ``words`` that was fitted to sentences with the token ``boundary`` between them.

    It is ``</s>`` at the end of a gram and ``<s>`` at its beginning. The file replaces what was there only when it is
    whole.
    """
    levels, packed = list(_levels(model, boundary)), Path(path).suffix == ".gz"
    with (
        whole(path) as new,
        cast(TextIO, gzip.open(new, "wt", encoding="utf-8") if packed else new.open("w", encoding="utf-8")) as file,
    ):
        print("\\data\\", file=file)
        for n, (grams, _, _) in enumerate(levels, 1):
            print(f"ngram {n}={len(grams)}", file=file)
        for n, (grams, logprobs, backoffs) in enumerate(levels, 1):
            print(f"\n\\{n}-grams:", file=file)
            last = n == len(levels)
            for gram, logprob, backoff in zip(grams.tolist(), logprobs.tolist(), backoffs.tolist(), strict=True):
                print(_line(gram, logprob, 0.0 if last else backoff, words, boundary), file=file)
        print("\n\\end\\", file=file)


def _line(gram: list[int], logprob: float, backoff: float, words: Sequence[str], boundary: int) -> str:
    """One line; a gram of -1 alone is the beginning of a sentence."""
    shown = [words[token] if token != boundary else BEGIN for token in gram[:-1]]
    shown.append(BEGIN if gram[-1] < 0 else END if gram[-1] == boundary else words[gram[-1]])
    return f"{logprob:.7g}\t{' '.join(shown)}" + (f"\t{backoff:.7g}" if backoff else "")


def _levels(model: NgramModel, boundary: int) -> Iterator[tuple[Ids, Nats, Nats]]:
    """Of each length the grams ``(M, n)``, their log10 p and the log10 of their back-offs, ``(M,)`` each."""
    V, levels = model.vocab, model.levels
    grams, probs = np.zeros((1, 0), np.int64), np.full(1, 1 / V)
    for n, level in enumerate(levels):
        contexts, last = level.keys // V if n else np.zeros(V, np.int64), level.keys % V
        grams = np.concatenate([grams[contexts], last[:, None]], axis=1)
        shorter = grams[:, min(n, 1)]
        for k in range(1, n):
            shorter = levels[k].find(shorter, grams[:, k + 1], V)
        probs = level.refine(contexts, np.arange(len(grams)), probs[shorter if n else contexts])
        mass = np.ones(len(grams))
        if n + 1 < len(levels):
            mass = np.where(levels[n + 1].totals > 0, levels[n + 1].backoff, 1.0)
        found = (grams, np.log10(probs), np.log10(np.where(grams[:, -1] == boundary, 1.0, mass)))
        yield found if n else _with_beginning(*found, float(np.log10(mass[boundary])))


def _with_beginning(grams: Ids, logprobs: Nats, backoffs: Nats, backoff: float) -> tuple[Ids, Nats, Nats]:
    """The unigrams and ``<s>``, which nothing predicts."""
    begin = (np.full((1, 1), -1), np.full(1, NEVER), np.full(1, backoff))
    return np.concatenate([grams, begin[0]]), np.concatenate([logprobs, begin[1]]), np.concatenate([backoffs, begin[2]])
