"""How fast is text turned into ids, beside the ``tokenizers`` library on the same tokenizer.json?

    python benchmarks/tokenization.py [FILE]    (not tokenize.py: that would hide the standard library's module)

Checks first that both give the same ids, then times both in turns, single thread, and writes
results/tokenize.json. Without FILE it reads Python's own language reference, over and over up to ten million
characters.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tokenizers
from machine import write

from ostinato.text.corpus import Corpus
from ostinato.text.tokenizer import TokenizerOptions, build, to_json

SIZE = 10_000_000
REPEATS = 3
CASES = (
    TokenizerOptions("char"),
    TokenizerOptions("byte"),
    TokenizerOptions("word", vocab=2_000),
    TokenizerOptions("word"),
    TokenizerOptions("word", lower=True),
    TokenizerOptions("word", pretokenized=True),
    TokenizerOptions("bpe", vocab=4_000),
    TokenizerOptions("unigram", vocab=2_000),
)


def main() -> None:
    text, what = read(sys.argv[1:])
    size = len(text.encode())
    rows = [measure(options, text, size) for options in CASES]
    write(
        "tokenize",
        rows,
        question="megabytes of UTF-8 to ids a second of processor time, one thread, median of interleaved repeats",
        text={"what": what, "bytes": size, "chars": len(text)},
        repeats=REPEATS,
        tokenizers=tokenizers.__version__,
    )


def read(arguments: list[str]) -> tuple[str, str]:
    if arguments:
        text = "".join(Corpus(arguments).slice_chars(0, SIZE))
        return text, Path(arguments[0]).name
    from pydoc_data import topics

    text = "".join(topics.topics.values())
    return (text * (SIZE // len(text) + 1))[:SIZE], "pydoc_data.topics, repeated"


def measure(options: TokenizerOptions, text: str, size: int) -> dict[str, Any]:
    """One row: equal ids first, then times."""
    tokenizer = build(options, lambda: iter([text]))
    library = tokenizers.Tokenizer.from_str(to_json(tokenizer))
    head = text[: SIZE // 40]
    ids = tokenizer.encode(head)
    if not np.array_equal(ids, library.encode(head).ids):
        raise SystemExit(f"{options}: the library gives other ids; no speed without equal results")
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(size / seconds(lambda: tokenizer.encode(text)) / 1e6)
        theirs.append(len(head.encode()) / seconds(lambda: library.encode(head)) / 1e6)
    name = options.level + (" lower" if options.lower else "") + (" pretokenized" if options.pretokenized else "")
    row = {
        "level": name,
        "vocab": tokenizer.vocab_size,
        "ours_mb_per_s": round(statistics.median(ours), 1),
        "ours_spread": [round(min(ours), 1), round(max(ours), 1)],
        "library_mb_per_s": round(statistics.median(theirs), 2),
    }
    print(
        f"{name:18} V={row['vocab']:6}  ours {row['ours_mb_per_s']:7.1f} MB/s  library {row['library_mb_per_s']:6.2f}"
    )
    return row


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
