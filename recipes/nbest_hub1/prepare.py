"""The text that the language models of this recipe learn: both corpora in the spoken form of the lists.

    python prepare.py DATA OUT

``DATA`` is the folder of corpora. Writes ``train.txt`` and ``valid.txt`` into ``OUT``, and says on standard output how
many sentences there are and how many were left out because they are references of the lists.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ostinato.text.spoken import TENS, UNITS, join_clitics

SEED = 0
HELD_OUT = 10
"""One in so many of the spoken sentences: the last of the second file, a stretch that the Penn Treebank's training part
does not hold."""
ENOUGH = 20
"""Numbers seen in a context before it is trusted to say what numbers stand there."""
NUMBERS = {*UNITS, *TENS, "hundred", "thousand", "point"}
SCALES = {"million", "billion", "trillion"}
SPOKEN = {
    "&": "and",
    "%": "percent",
    "#": "pounds",
    "corp.": "corporation",
    "inc.": "incorporated",
    "co.": "company",
    "cos.": "companies",
    "ltd.": "limited",
    "jr.": "junior",
    "sr.": "senior",
    "dr.": "doctor",
    "st.": "street",
    "sen.": "senator",
    "rep.": "representative",
    "gov.": "governor",
    "no.": "number",
    "vs.": "versus",
    "jan.": "january",
    "feb.": "february",
    "aug.": "august",
    "sept.": "september",
    "oct.": "october",
    "nov.": "november",
    "dec.": "december",
    "calif.": "california",
    "conn.": "connecticut",
    "mass.": "massachusetts",
    "pa.": "pennsylvania",
    "fla.": "florida",
    "ill.": "illinois",
    "mich.": "michigan",
    "tex.": "texas",
}
_LETTERS = re.compile(r"(?:[a-z]\.)+[a-z]?\.?")
_CURRENCY = {"$": "dollars", "us$": "dollars", "c$": "canadian dollars"}

Numbers = dict[str, list[str]]
"""Numbers as words, by what stands before or after them; by the empty name all there are."""


def main(data: Path, out: Path) -> None:
    """Write both texts."""
    lists = data / "asr_nbest_hub1"
    references = {json.loads(line)["ref"] for line in (lists / "hub1_nbest.jsonl").open(encoding="utf-8")}
    spoken = [line for part in ("validate", "test") for line in _spoken(lists, part)]
    held_out = spoken[-(len(spoken) // HELD_OUT) :]
    numbers = collect_numbers(spoken[: -len(held_out)])
    draw = random.Random(SEED)
    with gzip.open(data / "ptb" / "ptb.train.txt.gz", "rt", encoding="utf-8") as file:
        treebank = [speak(line.split(), numbers, draw) for line in file]
    train = [*treebank, *spoken[: -len(held_out)]]
    kept = [line for line in train if line and join_clitics(line) not in references]
    out.mkdir(parents=True, exist_ok=True)
    (out / "train.txt").write_text("".join(f"{line}\n" for line in kept), "utf-8")
    (out / "valid.txt").write_text("".join(f"{line}\n" for line in held_out), "utf-8")
    found = {join_clitics(line) for line in (*train, *held_out)} & references
    counts = {"train": len(kept), "valid": len(held_out), "words": sum(len(line.split()) for line in kept)}
    print(json.dumps({**counts, "references of the lists in it": len(found)}))


def _spoken(folder: Path, part: str) -> Iterator[str]:
    """The sentences in spoken form, in lower case."""
    for line in (folder / f"treebank-sentences-spoken-{part}.txt").open(encoding="utf-8"):
        words = [SPOKEN.get(word, word) for word in line.lower().split()]
        if words:
            yield " ".join(words)


def collect_numbers(lines: Iterable[str]) -> Numbers:
    """The runs of number words in ``lines``, by the word before each and by the word after it."""
    found: Numbers = defaultdict(list)
    for line in lines:
        words, start = ["<s>", *line.split(), "</s>"], 0
        while start < len(words):
            stop = start
            while words[stop] in NUMBERS:
                stop += 1
            if stop > start and words[start] != "point" and words[stop - 1] != "point":
                number = " ".join(words[start:stop])
                for name in ("", f"{words[start - 1]} _", f"_ {words[stop]}"):
                    found[name].append(number)
            start = stop + 1
    return dict(found)


def speak(words: list[str], numbers: Numbers, draw: random.Random) -> str:
    """A line of the Penn Treebank as it is read aloud; each number ``N`` is drawn from those seen in such a place."""
    shown: list[str] = []
    place = 0
    while place < len(words):
        word = words[place]
        currency = _CURRENCY.get(word, "")
        place += bool(currency)
        stop = place
        while words[stop : stop + 1] == ["N"]:
            stop += 1
        if stop == place and not currency:
            shown += _word(word)
            place += 1
            continue
        scale = words[stop : stop + 1] if words[stop : stop + 1] and words[stop] in SCALES else []
        following = [*scale, *currency.split(), *words[stop + len(scale) :], "</s>"][0]
        if stop > place:
            shown += _draw(shown[-1] if shown else "<s>", SPOKEN.get(following, following), numbers, draw).split()
        shown += [*scale, *currency.split()]
        place = stop + len(scale)
    return " ".join(shown)


def _draw(before: str, after: str, numbers: Numbers, draw: random.Random) -> str:
    for name in (f"_ {after}", f"{before} _"):
        if len(numbers.get(name, ())) >= ENOUGH:
            return draw.choice(numbers[name])
    return draw.choice(numbers[""])


def _word(word: str) -> list[str]:
    """One word of the Penn Treebank: abbreviations in full, initials and compounds in parts."""
    if word in SPOKEN:
        return [SPOKEN[word]]
    if len(word) > 2 and _LETTERS.fullmatch(word):
        return [f"{letter}." for letter in word if letter != "."]
    return word.split("-") if re.fullmatch(r"[a-z]+(?:-[a-z]+)+", word) else [word]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
