"""``ostinato lattice``: best paths, n-best lists, pruned and rescored lattices of a recogniser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from json import dumps
from math import inf
from pathlib import Path
from typing import Any, Literal

from ostinato.cli.arguments import Flag, TextFile, for_terminal
from ostinato.config import check_range
from ostinato.errors import ConfigError, LatticeError, TextError
from ostinato.files import check_place, write_whole
from ostinato.lattice import files as lattice_files
from ostinato.lattice import paths
from ostinato.lattice.lattice import ACOUSTIC, LM, SILENT, Lattice
from ostinato.lattice.merging import Merge, MergeNear, MergeWords
from ostinato.lattice.rescore import rescore
from ostinato.lattice.symbols import Symbols

MERGE, BEAM, LIMIT = 4, 15.0, 32
"""Of rescoring, where no flag says another."""
Change = Callable[[Lattice], Lattice]
FOLDERS = {"slf": ".slf", "slf-nodes": ".slf", "openfst": ".fst.txt"}
"""Formats whose files hold one lattice, and how their names end."""


def lattice(
    *files: TextFile,
    model: Path | None = None,
    subtract: Path | None = None,
    old_lm: float | None = None,
    merge: int | None = None,
    merge_distance: float | None = None,
    beam: float | None = None,
    limit: int | None = None,
    lowercase: Flag = False,
    acoustic_scale: float | None = None,
    lm_scale: float | None = None,
    word_penalty: float | None = None,
    silent: tuple[str, ...] = (),
    symbols: Path | None = None,
    prune: float | None = None,
    posterior: float = 0.0,
    nbest: int = 1,
    to: Literal["slf", "slf-nodes", "kaldi", "openfst"] | None = None,
    out: Path | None = None,
    json: Flag = False,
) -> None:
    """Search, rescore, prune and convert lattices of a speech recogniser: HTK SLF, Kaldi text, OpenFst text.

    Prints the utterance and the words of its best path; with --nbest several to a line, each with its rank, its score,
    its acoustic and its language model score; with --to the lattice. A lattice that is wrong is named on standard
    error and left out; the others are done, and the exit status is 1.

    Parameters
    ----------
    files
        Lattices, plain or .gz, of any of the formats; - or none is standard input.
    model
        Rescore with this language model: a model folder, or an ARPA file.
    subtract
        With --model: take the scores of this model out of the old ones and keep the rest, as in Kaldi, whose graph
        costs hold more than a language model.
    old_lm
        The weight of the old language model scores beside the new ones, which get the rest of 1. Default: 0, they are
        taken out.
    merge
        Histories whose last N - 1 words agree are one; exact for an n-gram model of that order; 0 merges none.
        Default: 4.
    merge_distance
        Instead: histories whose states are so near each other (root mean square of the readout) are one.
    beam
        While rescoring, drop what is so many nats of the language model below the best. Default: 15.
    limit
        Histories that a node keeps at most; 0 is no limit. Default: 32.
    lowercase
        The model reads words in lower case; what is written keeps its own.
    acoustic_scale
        What acoustic scores are multiplied by. Default: what the file says, or 1.
    lm_scale
        What language model scores are multiplied by. Default: what the file says, or 1.
    word_penalty
        Added for each word. Default: what the file says, or 0.
    silent
        Words that are no words: not read by the model, not printed, as !SIL; those like `<s>` are known. One at a time.
    symbols
        A table of words and their numbers (words.txt), for Kaldi and OpenFst files with numbers; read and written.
    prune
        Keep only what is on a path so many nats of the language model below the best, at the most.
    posterior
        Keep only arcs that are this probable.
    nbest
        Hypotheses of each utterance, no two of the same words.
    to
        Write lattices in this format.
    out
        Where to: a file for Kaldi's, a folder for the others. Default: standard output.
    json
        One JSON object an utterance, which ostinato rescore can read.
    """
    rescoring = {"subtract": subtract, "old-lm": old_lm, "merge": merge, "merge-distance": merge_distance, "beam": beam}
    _check_company(model, {**rescoring, "limit": limit, "lowercase": lowercase or None}, to, out, nbest > 1 or json)
    check_range("--nbest", nbest, 1, 1 << 31)
    check_range("--prune", 0.0 if prune is None else prune, 0.0, inf)
    check_range("--posterior", posterior, 0.0, 1.0)
    check_range("--limit", limit or 0, 0, 1 << 31)
    check_range("--merge", merge or 0, 0, 1 << 31)
    check_range("--beam", 0.0 if beam is None else beam, 0.0, inf)
    check_range("--old-lm", old_lm or 0.0, 0.0, 1.0)
    if merge is not None and merge_distance is not None:
        raise ConfigError("--merge and --merge-distance are two ways to merge; leave one of them out")
    table = Symbols.read(symbols) if symbols else None
    scales = {name: value for name, value in ((ACOUSTIC, acoustic_scale), (LM, lm_scale)) if value is not None}
    quiet = SILENT | set(silent)
    changes: list[Change] = [lambda one: replace(one, silent=quiet).weighted(scales, word_penalty)]
    if model is not None:
        changes.append(
            _rescorer(
                model,
                subtract,
                old_lm,
                _merge(MERGE if merge is None else merge, merge_distance),
                BEAM if beam is None else beam,
                LIMIT if limit is None else limit,
                str.lower if lowercase else str,
            )
        )
    if prune is not None or posterior:
        within = inf if prune is None else prune
        changes.append(lambda one: paths.prune(one, beam=within, posterior=posterior))
    failed = False
    with _Sink(to, out, table, nbest, json, [*files, *([symbols] if symbols else [])]) as sink:
        for found in _lattices(files or ("-",), table, changes):
            try:
                if not isinstance(found, Lattice):
                    raise found
                sink.write(found)
            except (LatticeError, TextError) as error:
                failed = True
                print(f"ostinato: {for_terminal(' '.join(str(error).split()))}", file=sys.stderr)
    if failed:
        sys.exit(1)


def _check_company(
    model: Path | None, rescoring: Mapping[str, object], to: str | None, out: Path | None, paths_are_shown: bool
) -> None:
    """Raise ConfigError on flags that do nothing without others, or beside them."""
    given = [name for name, value in rescoring.items() if value is not None]
    if model is None and given:
        raise ConfigError(f"--{given[0]} belongs to rescoring; expected --model beside it")
    if to is None and out is not None:
        raise ConfigError("--out without --to; expected --to slf, slf-nodes, kaldi or openfst beside it")
    if to is not None and paths_are_shown:
        raise ConfigError("--to writes lattices, --nbest and --json are for paths; leave one of them out")


def _lattices(
    names: Sequence[str], table: Symbols | None, changes: Sequence[Change]
) -> Iterator[Lattice | LatticeError | TextError]:
    """Each lattice after all changes, or what is wrong with it, or with its file."""
    for name in names:
        try:
            for block, kind in lattice_files.blocks(name):
                try:
                    one = lattice_files.parse(block, kind, table)
                    for change in changes:
                        one = change(one)
                    yield one
                except LatticeError as error:
                    yield error
        except (LatticeError, TextError) as error:
            yield error


def _merge(order: int, distance: float | None) -> Merge | None:
    if distance is not None:
        return MergeNear(distance, _readout)
    return MergeWords(order) if order else None


def _readout(state: Any) -> Any:
    """What the output layer of a recurrent model reads."""
    if not hasattr(state, "batch"):
        raise ConfigError("--merge-distance needs the states of a recurrent model; merge by --merge for an ARPA file")
    return state.batch.arrays["readout"][state.row]


def _rescorer(
    model: Path,
    subtract: Path | None,
    old_lm: float | None,
    merge: Merge | None,
    beam: float,
    limit: int | None,
    spell: Callable[[str], str],
) -> Change:
    from ostinato.rescoring import load_scorer
    from ostinato.score.interpolate import LogLinearScorer
    from ostinato.score.scorer import Scorer

    if subtract is not None and isinstance(merge, MergeNear):
        raise ConfigError("--merge-distance with --subtract; expected --merge, since two models have no common state")
    if subtract is not None and old_lm is not None:
        raise ConfigError("--old-lm with --subtract; expected one, since --subtract keeps all of the old scores")
    scorer: Scorer[Any] = load_scorer(model)
    old = 1.0 if subtract is not None else old_lm or 0.0
    new = 1.0 if subtract is not None else 1.0 - old
    if subtract is not None:
        scorer = LogLinearScorer([scorer, load_scorer(subtract)], [1.0, -1.0])

    def change(one: Lattice) -> Lattice:
        done = rescore(one, scorer, merge=merge, beam=beam, limit=limit or None, new=new, old=old, spell=spell)
        return done.lattice

    return change


@dataclass
class _Sink:
    """Where results go. Lattices of an archive are written when all are known, the others at once."""

    to: str | None
    out: Path | None
    table: Symbols | None
    nbest: int
    json: bool
    read: Sequence[str | Path]

    def __enter__(self) -> _Sink:
        self._archive: list[str] = []
        self._names: set[str] = set()
        self._written, self._scaled = 0, False
        if self.out is not None and self.to in FOLDERS:
            if self.out.is_file():
                raise ConfigError(f"--out is the file {self.out}; expected a folder: {self.to} has a file for each")
            self.out.mkdir(parents=True, exist_ok=True)
        elif self.out is not None:
            check_place(self.out, self.read)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.out is not None and self.to == "kaldi":
            write_whole(self.out, "".join(self._archive))

    def write(self, one: Lattice) -> None:
        """What was asked for of one lattice. Of scales that Kaldi's format has no place for it says what to do."""
        if self.to is None:
            self._show(one, paths.n_best(one, self.nbest) if self.nbest > 1 else [paths.best_path(one)])
            return
        text = "".join(f"{line}\n" for line in lattice_files.written(one, self.to, self.table))
        scale = one.scale(ACOUSTIC) / one.unit
        if self.to == "kaldi" and scale != 1.0 and not self._scaled:
            self._scaled = True
            print(f"ostinato: Kaldi's text has no scales; read it with --acoustic-scale {scale:.6g}", file=sys.stderr)
        if self.out is not None and self.to in FOLDERS:
            place = self.out / self._file_name(one)
            check_place(place, self.read)
            write_whole(place, text)
        elif self.out is not None:
            self._archive.append(text)
        elif self._written and self.to in FOLDERS:
            raise ConfigError(f"a file of {self.to} holds one lattice and there are several; give a folder with --out")
        else:
            sys.stdout.write(text)
        self._written += 1

    def _file_name(self, one: Lattice) -> str:
        """The utterance's, without what could lead out of the folder; another for a second one of that name."""
        name = re.sub(r"[^\w.+-]+", "_", one.name).lstrip(".")[:200] or "lattice"
        stem, number = name, 1
        while name in self._names:
            number += 1
            name = f"{stem}-{number}"
        self._names.add(name)
        return name + FOLDERS[str(self.to)]

    def _show(self, one: Lattice, found: Sequence[paths.Path]) -> None:
        if self.json:
            hypotheses = [
                {"text": " ".join(path.words), "total": round(path.score, 6), **_scores(one, path)} for path in found
            ]
            print(dumps({"id": one.name, "hyps": hypotheses}, ensure_ascii=False), flush=True)
        elif self.nbest == 1:
            print(f"{for_terminal(one.name)}\t{for_terminal(' '.join(found[0].words))}", flush=True)
        else:
            for rank, path in enumerate(found, start=1):
                scores = _scores(one, path)
                figures = f"{path.score:.3f}\t{scores[ACOUSTIC]:.3f}\t{scores[LM]:.3f}"
                print(f"{for_terminal(one.name)}\t{rank}\t{figures}\t{for_terminal(' '.join(path.words))}", flush=True)


def _scores(one: Lattice, path: paths.Path) -> dict[str, float]:
    """Of a path by name, not scaled; those that the lattice lacks are 0."""
    arcs = list(path.arcs)
    sums = {name: round(float(values[arcs].sum()), 6) if arcs else 0.0 for name, values in one.scores.items()}
    return {ACOUSTIC: 0.0, LM: 0.0, **sums, "words": float(len(path.words))}
