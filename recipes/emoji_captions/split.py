"""Split captioned emoji so that no drawing is on both sides: by base emoji, not by picture.

    python split.py captions.tsv FOLDER      writes train.tsv, valid.tsv and test.tsv

Half of the pictures are the same drawing in another skin tone, gender or hair. The rule: two emoji have the same base
when they are equal once

1. skin tones, hair, presentation selectors, gender signs and arrows (a figure that faces the other way) are left out,
2. men and women are persons, boys and girls children, old men and women old people, and so on (SAME),
3. figures that differ in nothing but who they are, which Unicode writes as single characters, are one (ALIKE),
4. several persons side by side are counted without their order.

The side of a base is drawn from a digest of it, so that a new emoji changes no other's. Of a base that is held out only
one picture counts, the plainest: 25 tones of one drawing are one question, not 25. Of one that is trained on there are
MOST pictures at most, drawn by digest too: else half of all that is learned is the five tones.
"""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from pathlib import Path

JOINER = "\u200d"
DROPPED = frozenset(
    [
        *map(chr, range(0x1F3FB, 0x1F400)),  # skin tones
        *"\U0001f9b0\U0001f9b1\U0001f9b2\U0001f9b3",  # red, curly, no, white hair
        *"\ufe0e\ufe0f",  # text or picture
        *"\u2640\u2642\u26a7",  # female, male, transgender
        *"\u27a1\u2194\u2195",  # facing right; shaking
    ]
)
SAME = {
    **dict.fromkeys("👨👩", "🧑"),
    **dict.fromkeys("👦👧", "🧒"),
    **dict.fromkeys("👴👵", "🧓"),
    **dict.fromkeys("👱🧔", "🧑"),  # blond, bearded
    **dict.fromkeys("🚹🚺", "🚻"),  # rooms for either, for both
}
ALIKE = {
    **dict.fromkeys("🤴👸", "🫅"),  # prince, princess
    **dict.fromkeys("🎅🤶", "🎄🧑"),  # Santa and Mrs. Claus
    **dict.fromkeys("🤰🫃", "🫄"),  # pregnant
    **dict.fromkeys("👫👬👭", "🤝🧑🧑"),  # holding hands
    **dict.fromkeys("🕺💃", "💃"),  # dancing
    "🫱🫲": "🤝",  # a handshake of two tones
    "💏": "❤💋🧑🧑",
    "💑": "❤🧑🧑",
}
"""Of characters that steps 1, 2 and 4 leave."""
FAMILY = frozenset("🧑🧒")
SHARES = {"valid": 0.1, "test": 0.1}
MOST = 4
SALT = "second "
"""Another one draws other sides; while the captioner was designed, the test part of the first was looked at."""


def base(emoji: str) -> str:
    """The drawing that an emoji is a variant of."""
    if emoji.startswith("🏳") and JOINER in emoji:  # the flags whose sign is no gender
        return emoji
    left = [SAME.get(character, character) for character in emoji if character not in DROPPED | {JOINER}]
    if len(left) == 0:  # a tone, a sign or an arrow by itself
        return emoji
    if len(left) > 1 and set(left) <= FAMILY:
        return "👪"
    if JOINER in emoji:
        left = sorted(left)
    plain = "".join(left)
    return ALIKE.get(plain, plain)


def digest(text: str) -> float:
    """A number from 0 to 1 that looks drawn at random and depends on nothing but the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def side(drawing: str) -> str:
    """``train``, ``valid`` or ``test``."""
    draw, below = digest(SALT + drawing), 0.0
    for name, share in SHARES.items():
        below += share
        if draw < below:
            return name
    return "train"


def split(rows: list[list[str]]) -> dict[str, list[list[str]]]:
    """Rows of file, caption, emoji, ... by side: of each base the plainest, and in training up to MOST pictures."""
    drawings: dict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        drawings[base(row[2])].append(row)
    sides: dict[str, list[list[str]]] = {"train": [], **{name: [] for name in SHARES}}
    for drawing, variants in drawings.items():
        plainest, *others = sorted(variants, key=lambda row: (len(row[2]), row[1]))
        others = sorted(others, key=lambda row: digest(row[2]))[: MOST - 1]
        name = side(drawing)
        sides[name] += [plainest, *others] if name == "train" else [plainest]
    return sides


def main() -> None:
    """Write the three files."""
    source, folder = map(Path, sys.argv[1:])
    rows = [line.split("\t") for line in source.read_text("utf-8").splitlines()]
    folder.mkdir(parents=True, exist_ok=True)
    for name, some in split(rows).items():
        (folder / f"{name}.tsv").write_text("".join(f"{row[0]}\t{row[1]}\n" for row in some), "utf-8")
        print(f"{name}: {len(some)} pictures of {len({base(row[2]) for row in some})} drawings")


if __name__ == "__main__":
    main()
