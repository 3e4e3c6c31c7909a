"""Tunes in ABC notation (the abc standard 2.1, chapters 3 and 4): where one ends, its header, its bars, its notes.

A file is a text of tunes with a blank line between them; a tune is a header of ``X:`` to ``K:``, and music. Of the
music what decides pitch and length is read: notes, rests, chords, tuplets, broken rhythm, changes of key, metre and
unit. One voice only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from ostinato.errors import TextError
from ostinato.text.corpus import Corpus

_FIELD = re.compile(r"([A-Za-z]):[ \t]*(.*?)[ \t]*(?:%.*)?$")
_LENGTH = r"(\d*)(/*)(\d*)"
_TOKEN = re.compile(
    r"""(?P<comment>%[^\n]*)
    | (?P<field>(?m:^)[A-Za-z]:[^\n]*)
    | (?P<unfinished>(?:\[[A-Za-z]:[^\]\n]{0,500}|"[^"\n]{0,500}|![^!\n]{0,500}|\{[^}\n]{0,500})\Z)
    | \[(?P<inline>[A-Za-z]:[^\]\n]{0,500})\]
    | (?P<text>"[^"\n]{0,500}"|![^!\n]{0,500}!|\{[^}\n]{0,500}\})
    | (?P<ending>\[\d[\d,.-]*)
    | (?P<bar>\[?\|[|:\]]*|:+\|?[|:\]]*)(?P<ending_after>\d?)
    | \((?P<tuplet>\d(?::\d{0,3}){0,2})
    | \[(?P<chord>[^\]|\n]{1,500})\](?P<chord_length>\d*/*\d*)
    | (?P<note>[_^=]*[A-Ga-g][,']*|[zxyZX])(?P<length>\d*/*\d*)
    | (?P<broken>[<>]+)""",
    re.VERBOSE,
)
_PITCH = re.compile(r"([_^=]*)([A-Ga-g])([,']*)")
_SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_SHARPS = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}
_MODES = {
    "": 0,
    "maj": 0,
    "ion": 0,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "mix": -1,
    "dor": -2,
    "phr": -4,
    "lyd": 1,
    "loc": -5,
}
_TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
"""Into the time of how many so many notes go; others into 2, or 3 where the metre is of threes."""
MOST_RESTS = 1000
"""Bars that the rests of a tune have, at most."""


@dataclass(frozen=True)
class Tune:
    """A tune as it stands in a file."""

    text: str
    """All of its lines, each with its end."""
    place: str = ""
    """File and line, for messages."""

    @property
    def header(self) -> Mapping[str, str]:
        """The fields up to ``K:`` by their letter; of one that is there twice the last."""
        found = {}
        for line in self.text.splitlines():
            match = _FIELD.match(line)
            if match:
                found[match[1]] = match[2]
                if match[1] == "K":
                    break
        return found

    @property
    def body(self) -> str:
        """The lines after the first ``K:``; nothing where there is none."""
        lines = self.text.splitlines(keepends=True)
        keys = [number for number, line in enumerate(lines) if line.startswith("K:")]
        return "".join(lines[keys[0] + 1 :]) if keys else ""


@dataclass(frozen=True)
class Note:
    """A note, or of a chord the highest."""

    pitch: int
    """In semitones; middle C is 60."""
    length: Fraction
    """Of a whole note."""


@dataclass(frozen=True)
class Bar:
    """What stands between two bar lines."""

    length: Fraction
    """Of a whole note."""
    metre: Fraction | None
    """What it should be; None where the tune has no metre."""
    edge: bool
    """Whether it begins or ends a part, so that it may be cut: an upbeat, or what an upbeat leaves."""
    line: str = ""
    """The bar line that ends it; nothing where the tune does."""
    ending: str = ""
    """The variant ending that it begins: ``1``, ``2``."""

    @property
    def fits(self) -> bool:
        """Whether it is as long as the metre says; at an edge, no longer."""
        return self.metre is None or self.length == self.metre or (self.edge and self.length < self.metre)


def read_tunes(path: str | Path) -> list[Tune]:
    """The tunes of a file. Raises TextError when there is none, and as ``Corpus`` does."""
    tunes = split_tunes("".join(Corpus([Path(path)]).chunks()), str(path))
    if not tunes:
        raise TextError(f"{path} has no tune: no line begins with X:; expected ABC notation")
    return tunes


def split_tunes(text: str, name: str = "") -> list[Tune]:
    """The tunes of a text: each from a line ``X:`` to a blank line, the next ``X:`` or the end."""
    tunes: list[Tune] = []
    lines: list[str] = []
    first = 0
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        starts = line.startswith("X:")
        if lines and (starts or not line.strip()):
            tunes.append(Tune("".join(f"{each}\n" for each in lines), f"{name}, line {first}"))
            lines = []
        if lines or starts:
            first = first if lines else number
            lines.append(line.rstrip())
    return tunes


def bars(tune: Tune) -> list[Bar]:
    """The bars of a tune, those without a note or rest left out."""
    return [bar for bar in _Reader(tune).read().bars if bar.length]


def all_bars(tune: Tune) -> list[Bar]:
    """What stands before every bar line, be it nothing, and after the last."""
    return _Reader(tune).read().bars


def bar_lines(tune: Tune) -> list[int]:
    """Where in the text the bar lines of its music end."""
    start = len(tune.text) - len(tune.body)
    return [start + match.end() for match in _TOKEN.finditer(tune.body) if match["bar"]]


def ties(tune: Tune) -> list[tuple[frozenset[str], bool]]:
    """Of each chord, note or rest, the names of its notes with their octave, and whether it is tied to what follows."""
    body = tune.body
    matches = list(_TOKEN.finditer(body))
    dashes = [any(c == "-" for c in body[a.end() : b.start()]) for a, b in pairwise(matches)] + [body.endswith("-")]
    found: list[tuple[frozenset[str], bool]] = []
    for match, tied in zip(matches, dashes, strict=False):
        if match["chord"] or match["note"] not in (None, "y"):
            names = [letter + octave for _, letter, octave in _PITCH.findall(match["chord"] or match["note"])]
            found.append((frozenset(names), tied))
        elif found and tied:  # the sign may stand before the next note, as in A3 -"D"A2
            found[-1] = found[-1][0], True
    return found


def chord_names(tune: Tune) -> list[str]:
    """The names of its accompaniment, as they stand in quotes; annotations are none."""
    quoted = (match["text"] for match in _TOKEN.finditer(tune.body) if match["text"])
    return [text[1:-1] for text in quoted if text[0] == '"' and text[1] not in "^_<>@"]


def notes(tune: Tune) -> list[Note]:
    """The notes of a tune, rests left out, repeats as they are written."""
    return _Reader(tune).read().notes


@dataclass
class _Reader:
    """Where the reading of a tune is."""

    tune: Tune
    bars: list[Bar] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    metre: Fraction | None = None
    unit: Fraction = Fraction(1, 8)
    signature: Mapping[str, int] = field(default_factory=dict)
    accidentals: dict[str, int] = field(default_factory=dict)
    """Of this bar, by letter and octave."""
    _length: Fraction = Fraction(0)
    _last: Fraction = Fraction(0)
    """Length of the note before, for broken rhythm."""
    _next: Fraction = Fraction(1)
    """What the next note is multiplied with, by broken rhythm."""
    _tuplet: Fraction = Fraction(1)
    _in_tuplet: int = 0
    _rests: int = 0
    """Bars of rests so far."""
    _begins_part: bool = True
    _ending: str = ""
    _threes: bool = False

    def read(self) -> _Reader:
        header = self.tune.header
        for letter in "MLK":  # the unit depends on the metre where it is not given
            if letter in header:
                self._set(letter, header[letter])
            elif letter == "L" and self.metre is not None and self.metre < Fraction(3, 4):
                self.unit = Fraction(1, 16)
        for match in _TOKEN.finditer(self.tune.body):
            self._take(match)
        self._close("")
        last = max((place for place, bar in enumerate(self.bars) if bar.length), default=0)
        self.bars[last] = replace(self.bars[last], edge=True)
        return self

    def _take(self, match: re.Match[str]) -> None:
        kind = match.lastgroup
        if match["field"] or match["inline"]:
            letter, _, value = (match["field"] or match["inline"]).partition(":")
            self._set(letter, value.split("%")[0].strip())
        elif match["bar"]:
            self._close(match["bar"])
            self._begin_ending(match["ending_after"])
        elif kind == "ending":
            self._begin_ending(match["ending"].strip("["))
        elif kind == "tuplet":
            self._begin_tuplet(match["tuplet"])
        elif kind == "broken":
            self._break(match["broken"])
        elif match["chord"]:
            inside = list(_PITCH.finditer(match["chord"]))
            first = re.search(r"[A-Ga-gzx][,']*(\d*/*\d*)", match["chord"])
            factor = _length(first[1]) if first else Fraction(1)
            self._add([self._pitch(*pitch.groups()) for pitch in inside], _length(match["chord_length"]) * factor)
        elif match["note"] and match["note"] != "y":
            self._note(match["note"], _length(match["length"]))

    def _note(self, note: str, length: Fraction) -> None:
        if note in ("Z", "X"):
            self._rest(int(length))
            return
        pitch = _PITCH.fullmatch(note)
        self._add([self._pitch(*pitch.groups())] if pitch else [], length)

    def _rest(self, count: int) -> None:
        """Whole bars."""
        count = min(count, MOST_RESTS - self._rests)
        self._rests += count
        for number in range(count):
            if number:
                self._close("|")
            self._length += self.metre or Fraction(1)

    def _add(self, pitches: list[int], length: Fraction) -> None:
        length = length * self.unit * self._next
        self._next = Fraction(1)
        if self._in_tuplet:
            length *= self._tuplet
            self._in_tuplet -= 1
        self._length += length
        self._last = length
        if pitches:
            self.notes.append(Note(max(pitches), length))

    def _pitch(self, accidental: str, letter: str, octave: str) -> int:
        name = letter + octave
        if accidental:
            self.accidentals[name] = accidental.count("^") - accidental.count("_")
        shift = self.accidentals.get(name, self.signature.get(letter.lower(), 0))
        octaves = octave.count("'") - octave.count(",") + (1 if letter.islower() else 0)
        return 60 + _SEMITONES[letter.lower()] + 12 * octaves + shift

    def _begin_tuplet(self, text: str) -> None:
        count, time, over = ([int(part) if part else 0 for part in text.split(":")] + [0, 0])[:3]
        if count:
            usual = _TUPLETS.get(count, 3 if self._threes else 2)
            self._tuplet, self._in_tuplet = Fraction(time or usual, count), over or count

    def _break(self, marks: str) -> None:
        """``a>b``: a half longer, b half as long; each mark more halves what is left."""
        less = Fraction(1, 2 ** len(marks))
        longer, self._next = (2 - less, less) if marks[0] == ">" else (less, 2 - less)
        self._length += self._last * (longer - 1)
        if self.notes:
            self.notes[-1] = Note(self.notes[-1].pitch, self.notes[-1].length * longer)

    def _begin_ending(self, number: str) -> None:
        if number:
            self._begins_part, self._ending = True, number

    def _close(self, line: str) -> None:
        ends_part = line not in ("|", "[|")
        self.bars.append(Bar(self._length, self.metre, self._begins_part or ends_part, line, self._ending))
        self._begins_part = ends_part or (self._begins_part and not self._length)
        self._length, self._in_tuplet, self.accidentals, self._ending = Fraction(0), 0, {}, ""

    def _set(self, letter: str, value: str) -> None:
        if letter == "M":
            self.metre = _metre(value)
            self._threes = value.split("/")[0].strip() in ("6", "9", "12")
        elif letter == "L" and re.fullmatch(r"\d{1,3}/\d{1,3}", value) and "/0" not in value:
            self.unit = Fraction(value)
        elif letter == "K":
            self.signature = _signature(value)
        if letter in "MKP":
            self._begins_part = True


def _length(text: str) -> Fraction:
    """``3``, ``/``, ``//``, ``3/2``: what the unit is multiplied with."""
    match = re.fullmatch(_LENGTH, text)
    assert match is not None
    numerator, slashes, denominator = match.groups()
    below = int(denominator[:4]) if denominator else 2 ** min(len(slashes), 12)
    return Fraction(int(numerator[:4] or 1), max(1, below if slashes else 1))


def _metre(value: str) -> Fraction | None:
    """``4/4``, ``C``, ``C|``, ``none``; None also of what is no metre."""
    named = {"C": Fraction(1), "C|": Fraction(1)}.get(value)
    match = re.match(r"(\d{1,3})\s*/\s*([1-9]\d{0,2})", value)
    return named or (Fraction(int(match[1]), int(match[2])) or None if match else None)


def _signature(value: str) -> dict[str, int]:
    """Sharps, 1, and flats, -1, by letter, of ``G``, ``Bb``, ``F#m``, ``Ador`` and the like."""
    match = re.match(r"([A-G])([#b]?)\s*([A-Za-z]*)", value)
    if not match:
        return {}
    mode = match[3][:3].lower()
    sharps = _SHARPS[match[1]] + {"#": 7, "b": -7, "": 0}[match[2]] + _MODES.get(mode, 0)
    order = "fcgdaeb"
    return dict.fromkeys(order[: max(0, sharps)], 1) | dict.fromkeys(order[::-1][: max(0, -sharps)], -1)


def intervals(tune: Tune) -> tuple[int, ...]:
    """The melody whatever its key, header and rhythm: the steps from note to note, in semitones."""
    pitches = [note.pitch for note in notes(tune)]
    return tuple(after - before for before, after in pairwise(pitches))


def numbered(tunes: Iterator[str] | list[str]) -> str:
    """Tunes as the text of a file: each with its number in ``X:``, and a blank line between them."""
    found = []
    for number, text in enumerate(tunes, start=1):
        body = text.strip("\n")
        found.append(re.sub(r"^X:.*$", f"X:{number}", body, count=1, flags=re.MULTILINE) + "\n")
    return "\n".join(found)
