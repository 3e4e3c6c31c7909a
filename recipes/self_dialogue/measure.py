"""Self-dialogue: hold conversations out, and measure a model on them beside n-grams and beside the humans.

python measure.py split DATA OUT          writes OUT/train.txt, OUT/valid.txt and OUT/test.txt
python measure.py measure MODEL OUT       prints one JSON object

Any model folder will do that was trained on OUT/train.txt; torch is not needed.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ostinato
from ostinato.dialogue import Conversation
from ostinato.score.distinct import distinct, words
from ostinato.score.ngram import NgramModel
from ostinato.score.report import Policy, Scored
from ostinato.text.conversations import Conversations, Transcript
from ostinato.text.tokenizer import TokenizerOptions, build, encode_chunks
from ostinato.types import Ids, Tokenizer

HELD_OUT = 0.05
"""Of the conversations, to test on; and again of the rest, to choose by."""
ORDERS = (2, 3, 4, 5, 6, 7)
TALKS = 400
"""Conversations of the test part in which the model answers."""
WAYS: dict[str, dict[str, Any]] = {
    "temperature_1": {},
    "temperature_0.7": {"temperature": 0.7},
    "temperature_0.7_penalty_1.2": {"temperature": 0.7, "repetition_penalty": 1.2},
    "temperature_0.7_no_repeat_3": {"temperature": 0.7, "no_repeat_ngram": 3},
}
"""How it answers."""


def split(data: Path, out: Path) -> None:
    """Write the three parts as text."""
    rest, test = Conversations([data]).split(HELD_OUT)
    train, valid = rest.split(HELD_OUT)
    out.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("valid", valid), ("test", test)):
        with (out / f"{name}.txt").open("w", encoding="utf-8") as file:
            file.writelines(part.chunks())


def measure(model: Path, out: Path) -> dict[str, Any]:
    """All figures of a model."""
    lm = ostinato.load(model)
    parts = {name: Conversations([out / f"{name}.txt"]) for name in ("train", "valid", "test")}
    texts = {name: "".join(part.chunks()) for name, part in parts.items()}
    context = with_and_without_context(lm, list(parts["test"]))
    count = context["conversation"]["words"]
    return {
        "perplexity_per_word": context,
        "ngrams": {
            "same_tokens": same_tokens(lm.tokenizer, texts, count),
            "words": open_vocabulary(texts, count),
        },
        "distinct": variety(lm, list(parts["test"])),
    }


# What it expects


def with_and_without_context(lm: ostinato.LanguageModel, talks: list[Transcript]) -> dict[str, Any]:
    """The turns of the test part, line ends included, empty lines left out: the same tokens all three times.

    ``stream``: one conversation after another; ``conversation``: each by itself, begun after an empty line; ``turn``:
    each turn by itself, begun after a line end.
    """
    text = "".join(talk.text for talk in talks)
    by_conversation = (line for talk in talks for line in lm.score_lines("\n" + talk.text))
    # The empty line before each conversation is read, and counted no more than the one after it.
    scores = {
        "stream": _turns(lm.score_lines(text)),
        "conversation": _turns(by_conversation),
        "turn": _turns(lm.score_lines(text, state="reset")),
    }
    counts = {(scored.tokens, scored.words, scored.chars, scored.oov) for scored in scores.values()}
    assert len(counts) == 1, f"not the same text: {counts}"
    return {
        name: {
            "perplexity": scored.word_perplexity,
            "bits_per_char": scored.bits_per_char,
            "words": scored.words,
            "unknown": scored.oov,
        }
        for name, scored in scores.items()
    }


def _turns(lines: Iterator[Scored]) -> Scored:
    kept = [Scored(line.nats, line.tokens, line.chars, line.bytes, line.words, line.oov) for line in lines]
    return Scored.total((line for line in kept if line.chars > 1), Policy())


# n-grams


def same_tokens(tokenizer: Tokenizer, texts: dict[str, str], count: int) -> dict[str, Any]:
    """Interpolated modified Kneser-Ney over the model's own tokens, of the order that is best on ``valid``."""
    ids = {name: _encode(tokenizer, text) for name, text in texts.items()}
    order, model = _best(ids, tokenizer.vocab_size)
    nats = model.token_nats(ids["test"])[_of_turns(ids["test"], tokenizer.boundary_id)].sum()
    return {"order": order, "tokens": tokenizer.vocab_size, "perplexity": math.exp(nats / count)}


def open_vocabulary(texts: dict[str, str], count: int) -> dict[str, Any]:
    """The same over words seen twice or more; a word beside them costs ``<unk>`` and its spelling, by an n-gram of
    characters learnt from the words seen once. So no word is free, and it compares with a model of any level; that
    blanks are not spelt is in its favour.
    """
    tokenizer = build(TokenizerOptions("word", min_count=2), lambda: iter([texts["train"]]))
    ids = {name: _encode(tokenizer, text) for name, text in texts.items()}
    order, model = _best(ids, tokenizer.vocab_size)
    nats = model.token_nats(ids["test"])[_of_turns(ids["test"], tokenizer.boundary_id)].sum()
    rare, spelt = (_unknown_words(tokenizer, texts[name]) for name in ("train", "test"))
    if spelt:
        chars = build(TokenizerOptions("char"), lambda: iter(texts.values()))  # so that no letter is unknown
        spelling = NgramModel.fit(chars.encode("".join(rare)), 6, chars.vocab_size)
        nats += spelling.nats(chars.encode("".join(spelt)))
    return {
        "order": order,
        "tokens": tokenizer.vocab_size,
        "spelt": len(spelt),
        "perplexity": math.exp(nats / count),
    }


def _best(ids: dict[str, Ids], vocab: int) -> tuple[int, NgramModel]:
    models = {order: NgramModel.fit(ids["train"], order, vocab) for order in ORDERS}
    order = min(ORDERS, key=lambda order: models[order].nats(ids["valid"]))
    return order, models[order]


def _encode(tokenizer: Tokenizer, text: str) -> Ids:
    return np.concatenate(list(encode_chunks(tokenizer, iter([text])))).astype(np.int64)


def _of_turns(ids: Ids, boundary: int) -> NDArray[np.intp]:
    """The places of the tokens that do not end an empty line."""
    ends = ids == boundary
    return np.flatnonzero(~(ends & np.concatenate([[True], ends[:-1]])))


def _unknown_words(tokenizer: Tokenizer, text: str) -> list[str]:
    """A line for each time a word is not in the vocabulary."""
    ids, spans = tokenizer.encode_with_spans(text)
    return [text[begin:end] + "\n" for begin, end in spans[ids == tokenizer.unk_id].tolist()]


# What it says


def variety(lm: ostinato.LanguageModel, talks: list[Transcript]) -> dict[str, Any]:
    """distinct-1 and -2 of replies to the first speaker's turns of some conversations, the model's beside the second
    speaker's, all lists cut to as many words as the shortest has."""
    chosen = talks[:: max(1, len(talks) // TALKS)][:TALKS]
    replies = {"human": [answer for talk in chosen for answer in talk.turns[1::2]]}
    for name, options in WAYS.items():
        replies[name] = [reply for seed, talk in enumerate(chosen) for reply in _answers(lm, talk, seed, options)]
    shortest = min(sum(len(words(reply)) for reply in said) for said in replies.values())
    figures = {
        name: {
            "distinct_1": distinct(_first(said, shortest), 1),
            "distinct_2": distinct(_first(said, shortest), 2),
            "words_per_reply": sum(len(words(reply)) for reply in said) / len(said),
            "replies": len(said),
        }
        for name, said in replies.items()
    }
    return {"words": shortest, "replies": figures}


def _answers(lm: ostinato.LanguageModel, talk: Transcript, seed: int, options: dict[str, Any]) -> list[str]:
    """The model's answers to the first speaker, who says what was said to somebody else."""
    conversation = Conversation(lm)
    return [
        conversation.reply(turn, seed=seed, allow_unknown=True, **options)
        for turn, _ in zip(talk.turns[::2], talk.turns[1::2], strict=False)
    ]


def _first(replies: Iterable[str], total: int) -> list[str]:
    kept, count = [], 0
    for reply in replies:
        count += len(words(reply))
        if count > total:
            break
        kept.append(reply)
    return kept


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["split", data, out]:
            split(Path(data), Path(out))
        case ["measure", model, out]:
            print(json.dumps(measure(Path(model), Path(out)), indent=1))
        case _:
            sys.exit(__doc__)
