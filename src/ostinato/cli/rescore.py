"""``ostinato rescore``: n-best lists in the order that language models give them."""

from __future__ import annotations

import json as encoder
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ostinato.cli.arguments import Flag, TextFile, for_terminal
from ostinato.errors import ConfigError, TextError
from ostinato.files import check_place, write_whole
from ostinato.rescoring import UNKNOWN, WORDS, Choice, Rescored, RescoreOptions, load_scorer
from ostinato.rescoring import rescore as rescore_lists
from ostinato.score.interpolate import LinearScorer, fit_linear
from ostinato.score.scorer import Scorer
from ostinato.text.corpus import lines, read_chunks
from ostinato.text.nbest import TEXT, TOTAL, read_lists

SHOWN = 10
"""Changed utterances that the report shows."""


def rescore(
    model: Path,
    *lists: TextFile,
    also: list[Path] | None = None,
    interpolate: str | None = None,
    references: Path | None = None,
    scores: list[str] | None = None,
    weight: list[str] | None = None,
    folds: int = 10,
    starts: int = 20,
    seed: int = 0,
    wer_text: Literal["as-is", "join"] = "join",
    model_text: Literal["as-is", "treebank"] = "as-is",
    out: Path | None = None,
    best: Path | None = None,
    json: Flag = False,
) -> None:
    """Choose among the hypotheses of n-best lists by language models and the scores the lists bring.

    Lists are JSON Lines, {"id", "ref", "hyps": [{"text", NAME: number or one for each word}]} or [{"text", "score"}] a
    line, or Kaldi's tables, utterance-N and its words a line. With references the weights of all scores are tuned on
    word errors by cross-validation: each list is chosen by weights that other lists gave. Bad lists are named and left
    out, and the exit status is then 1.

    Parameters
    ----------
    model
        The model folder, or an ARPA file (.gz too).
    lists
        The lists, plain or .gz; - or none is standard input.
    also
        Another model, each with a weight of its own; may be given several times.
    interpolate
        Mix the models' probabilities instead, as one score: their shares as in 0.6,0.4, or a text to fit them on.
    references
        The right words, utterance and its words a line; they come before those of the lists.
    scores
        NAME=FILE: a table of scores, utterance-N and a number a line, for lists that are tables; may be repeated.
    weight
        NAME=X: use this weight, and 0 for the scores not named, instead of tuning; may be given several times. A
        model's score is called by the last part of its path.
    folds
        Parts of the cross-validation.
    starts
        Places that the search for weights begins from.
    seed
        Of folds, starts and confidence intervals.
    wer_text
        What is compared: as-is, or join: in lower case, with clitics joined as in was n't, wasn't.
    model_text
        What the models read: as-is, or treebank: in lower case, with clitics split off and numbers as words.
    out
        Write the rescored lists, JSON Lines, the best hypothesis first, with the models' scores and the total.
    best
        Write the best hypotheses, utterance and its words a line.
    json
        The report as one JSON object, with every changed utterance.
    """
    options = RescoreOptions(
        weights=None if weight is None else {name: _number(name, x) for name, x in _pairs(weight, "weight").items()},
        folds=folds,
        starts=starts,
        seed=seed,
        wer_text=wer_text,
        model_text=model_text,
    )
    tables = _pairs(scores or [], "scores")
    read: list[str | Path] = [model, *lists, *(also or []), *tables.values()]
    read += [one for one in (interpolate, references) if one is not None]
    for place in filter(None, (out, best)):
        check_place(place, read)
    if out is not None and best is not None and out.resolve() == best.resolve():
        raise ConfigError(f"--out and --best are both {out}; expected two files")
    found = read_lists(lists or ["-"], references=references, scores=tables)
    for problem in found.problems:
        print("ostinato: " + " ".join(problem.split()), file=sys.stderr)
    result = rescore_lists(_scorers([model, *(also or [])], interpolate), found.lists, options)
    _tell_unknown(result)
    if out is not None:
        records = [encoder.dumps(_record(choice, result), ensure_ascii=False) for choice in result.choices]
        write_whole(out, "".join(f"{record}\n" for record in records))
    if best is not None:
        found_best = [f"{choice.source.id} {choice.best}".rstrip() for choice in result.choices]
        write_whole(best, "".join(f"{line}\n" for line in found_best))
    if json:
        print(encoder.dumps(_summary(result), ensure_ascii=False))
    elif result.systems:
        _print_report(result)
    elif best is None and out is None:
        for choice in result.choices:
            print(for_terminal(f"{choice.source.id} {choice.best}"))
    if found.problems:
        raise TextError(f"{len(found.problems)} bad lists were left out; the other {len(found.lists)} are done")


def _pairs(given: Sequence[str], flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        name, mark, value = one.rpartition("=")
        if not (name and mark and value):
            raise ConfigError(f"--{flag} is {one!r}; expected NAME=VALUE")
        if name in found:
            raise ConfigError(f"--{flag} {name} is given twice, {found[name]} and {value}; expected it once")
        found[name] = value
    return found


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"the weight of {name} is {value!r}; expected a number") from None


def _scorers(paths: Sequence[Path], interpolate: str | None) -> dict[str, Scorer[Any]]:
    """Each model by its name; of several mixed the one that they are together."""
    scorers: dict[str, Scorer[Any]] = {}
    for path in paths:
        name = path.name or str(path)
        scorers[name if name not in scorers else str(path)] = load_scorer(path)
    if len(scorers) < len(paths):
        raise ConfigError("a model is named twice; expected each once")
    if interpolate is None:
        return scorers
    each = list(scorers.values())
    shares = _shares(interpolate, each)
    mixed = LinearScorer(each, shares)
    print("shares " + ", ".join(f"{name} {x:.4f}" for name, x in zip(scorers, shares, strict=True)), file=sys.stderr)
    return {"+".join(scorers): mixed}


def _shares(given: str, scorers: Sequence[Scorer[Any]]) -> list[float]:
    """Numbers, or what EM finds on a text."""
    try:
        shares = [float(part) for part in given.split(",")]
    except ValueError:
        sentences = [line.split() for line in lines(read_chunks([given])) if line.split()]
        return [float(share) for share in fit_linear(scorers, sentences)]
    return shares


def _tell_unknown(result: Rescored) -> None:
    """Of each model that knows few of the words: texts of another kind, or in other letters."""
    sums = dict(zip(result.names, sum(choice.scores.sum(axis=0) for choice in result.choices), strict=True))
    for name, unknown in sums.items():
        if name.endswith(UNKNOWN) and unknown > sums[WORDS] / 2:
            print(
                f"ostinato: {name.removesuffix(UNKNOWN)} does not know {unknown / sums[WORDS]:.0%} of the words; is it "
                "a model of such texts? --model-text treebank shows it the words in lower case",
                file=sys.stderr,
            )


def _record(choice: Choice, result: Rescored) -> dict[str, Any]:
    """A rescored list, in the form it can be read again."""
    hypotheses = []
    for n in choice.order:
        scores = dict(zip(result.names, choice.scores[n].tolist(), strict=True))
        hypotheses.append({TEXT: choice.source.hypotheses[n].text, **scores, TOTAL: float(choice.totals[n])})
    reference = {} if choice.source.reference is None else {"ref": choice.source.reference}
    return {"id": choice.source.id, **reference, "hyps": hypotheses}


def _summary(result: Rescored) -> dict[str, Any]:
    systems = {
        name: {
            "wer": system.errors.rate if system.errors.words else None,
            "interval": system.interval,
            "substitutions": system.errors.substitutions,
            "deletions": system.errors.deletions,
            "insertions": system.errors.insertions,
            "words": system.errors.words,
        }
        for name, system in result.systems.items()
    }
    return {
        "utterances": len(result.choices),
        "hypotheses": sum(len(choice.totals) for choice in result.choices),
        "cross_validated": result.tuned,
        "weights": dict(result.weights),
        **systems,
        "gain": result.gain,
        "changed": [_change(choice) for choice in result.changed],
    }


def _change(choice: Choice) -> dict[str, Any]:
    """One utterance, before and after."""
    change: dict[str, Any] = {
        "id": choice.source.id,
        "ref": choice.source.reference,
        "before": choice.source.hypotheses[0].text,
        "after": choice.best,
    }
    if choice.errors:
        change["errors"] = [choice.errors[0].total, choice.errors[choice.order[0]].total]
    return change


def _print_report(result: Rescored) -> None:
    print(f"{'':10} {'WER %':>7} {'95%':>15} {'S':>6} {'D':>6} {'I':>6} {'words':>7}")
    for name, system in result.systems.items():
        errors, (low, high) = system.errors, system.interval
        interval = f"{low:.2%} {high:.2%}".replace("%", "")
        counts = f"{errors.substitutions:>6} {errors.deletions:>6} {errors.insertions:>6} {errors.words:>7}"
        print(f"{name:10} {errors.rate * 100:>7.2f} {interval:>15} {counts}")
    if result.gain is not None:
        gain, low, high = (100 * x for x in result.gain)
        judged = sum(bool(choice.errors) for choice in result.choices)
        print(f"gain {gain:.2f} points, 95% {low:.2f} to {high:.2f}, over {judged:,} utterances with a reference")
    how = (
        "tuned on all lists, for others than these; each list here had others' weights" if result.tuned else "as given"
    )
    print(f"weights ({how}): " + ", ".join(f"{name} {x:.5g}" for name, x in result.weights.items()))
    changed = list(result.changed)
    print(f"changed: {len(changed):,} utterances" + (f", the first {SHOWN}:" if len(changed) > SHOWN else ""))
    for change in map(_change, changed[:SHOWN]):
        before, after = change.get("errors", ("?", "?"))
        print(for_terminal(f"  {change['id']}  {before} errors: {change['before']}"))
        print(for_terminal(f"  {'':{len(change['id'])}}  {after} errors: {change['after']}"))
