"""What a strict reader of ABC remarks on a tune: bars that do not fill the metre, repeats that do not pair, stray ties.

A bar may be cut where a part begins or ends, if what is left of it comes at once: an upbeat of one eighth after a last
bar of five in 6/8. In a repeat the last bar and the upbeat it goes back to make a whole bar, too. Nearly always that is
what abc2midi, the usual judge, says; its lists of chords and of instructions are longer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from ostinato.text.abc import Bar, Tune, all_bars, bar_lines, chord_names, ties

CHORD = re.compile(r"[A-G][#b]?(maj|min|dim|aug|sus|m|\+)?\d*(/[A-Ga-g][#b+]?)?")
"""The usual names: G, Am7, Bb, D7/f+."""


def faults(tune: Tune, *, whole: bool = True) -> list[str]:
    """What is wrong with bars and repeats, in the order of the tune, then with ties and names of chords.

    ``whole``: it ends here, so that a repeat has to be closed by now; else it is judged up to the last bar line after
    which something stands.
    """
    if not whole:
        lines = [end for end in bar_lines(tune) if end < len(tune.text)]  # one at the very end may go on
        tune = Tune(tune.text[: lines[-1]] if lines else "")
    *past, rest = all_bars(tune)
    reader = _Strict()
    for bar in past:
        reader.take(bar)
    if whole:
        reader.take(rest)
        reader.end()
    chords = ties(tune)
    names = [name for name in chord_names(tune) if not CHORD.fullmatch(name)]
    strays = [before for (before, tied), (after, _) in pairwise(chords) if tied and before - after]
    return [
        *reader.faults,
        *(f"{'/'.join(sorted(notes))} is tied to another note" for notes in strays),
        *(f"{name!r} names no chord" for name in names),
        *("a chord's name is not closed" for line in tune.body.splitlines() if line.count('"') % 2),
    ]


@dataclass
class _Strict:
    """Where such a reader is."""

    faults: list[str] = field(default_factory=list)
    bar: int = 0
    """Number of the latest, from 1."""
    carry: Fraction = Fraction(0)
    """Of a whole note, what the last part ended with that is no whole bar."""
    first: Fraction | None = None
    """Length of the bar with which this repeat begins."""
    open: bool = False
    """Whether |: waits for its :|."""
    unmarked: bool = True
    """Whether a :| may go back to the beginning of the tune."""
    ending: bool = False
    """Whether this is a variant ending."""
    leads_back: bool = True
    """Whether a :| came after the first ending began."""
    before_endings: Fraction = Fraction(0)

    def take(self, bar: Bar) -> None:
        """One more bar, or bar line."""
        if bar.ending:
            self._begin_ending(bar.ending)
        if bar.length:
            self.bar += 1
            self._measure(bar)
        if bar.line.startswith((":|", "::")):
            self._go_back(bar.metre)
        if bar.line.endswith(("|:", "::")):
            self._open()
        elif bar.line in ("||", "|]"):
            self.ending = False

    def end(self) -> None:
        """There is nothing more."""
        if not self.leads_back:
            self.faults.append("the first ending has no :|")
        if self.open:
            self.faults.append("a repeat is not closed")

    def _measure(self, bar: Bar) -> None:
        if self.first is None:
            self.first = bar.length
        if bar.metre is None:
            return
        total = self.carry + bar.length
        edge = bar.line not in ("|", "[|", ":")
        self.carry = Fraction(0)
        if self.bar == 1 and total < bar.metre:
            return  # an upbeat
        if total < bar.metre and edge:
            self.carry = total
        elif total != bar.metre:
            self.faults.append(f"bar {self.bar} has {total} of a whole note, expected {bar.metre}")

    def _go_back(self, metre: Fraction | None) -> None:
        """``:|``"""
        if not (self.open or self.unmarked or self.ending):
            self.faults.append(f"the repeat after bar {self.bar} was not opened")
        joined = self.carry + (self.first or 0)
        if metre is not None and not self._second_ending() and joined != metre:
            self.faults.append(f"the repeat after bar {self.bar} makes a bar of {joined}, expected {metre}")
        self.leads_back = True
        if self.ending:
            self.carry = self.before_endings
        self.open = self.unmarked = False

    def _second_ending(self) -> bool:
        """Whether this is a second ending, from which nothing goes back."""
        return self.ending and not self.open and not self.unmarked

    def _open(self) -> None:
        if self.open:
            self.faults.append(f"a repeat is opened after bar {self.bar} where one is open")
        self.open, self.first, self.ending = True, None, False

    def _begin_ending(self, number: str) -> None:
        if number.startswith("1"):
            if not self.leads_back:
                self.faults.append(f"two first endings with no :| between them, after bar {self.bar}")
            self.before_endings, self.leads_back = self.carry, False
        elif not self.ending:
            self.faults.append(f"ending {number} comes before the first one")
        self.ending = True
