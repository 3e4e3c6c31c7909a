"""``ostinato rescore``: better lists come out, whatever comes in."""

import json

import numpy as np
import pytest
from small_models import write_folder

from ostinato.cli.main import run
from ostinato.errors import ConfigError
from ostinato.rescoring import RescoreOptions, for_comparison, load_scorer, rescore
from ostinato.score.kneser_ney import learn_arpa
from ostinato.text.nbest import read_lists

WORDS = ["the", "cat", "dog", "sat", "on", "mat", "was", "n't"]


def records(count=24, seed=0):
    """The right words stand somewhere in the list; the recogniser's score says little, a language model much."""
    rng = np.random.default_rng(seed)
    found = []
    for n in range(count):
        words = ["the", "cat" if n % 2 else "dog", "was", "n't", "on", "the", "mat"][: int(rng.integers(4, 8))]
        texts = [[*words[:k], str(rng.choice(WORDS)), *words[k + 1 :]] for k in rng.integers(0, len(words), 4)]
        texts.insert(int(rng.integers(1, 5)), words)
        hyps = [{"text": " ".join(text), "ac": [float(x) for x in rng.normal(size=len(text))]} for text in texts]
        found.append({"id": f"u{n}", "ref": " ".join(words).replace(" n't", "n't"), "hyps": hyps})
    return found


@pytest.fixture
def place(tmp_path):
    (tmp_path / "lists.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records()))
    text = ["the cat was n't on the mat", "the dog was n't on the mat", "the cat was n't", "the dog was n't on"] * 3
    (tmp_path / "text").write_text("\n".join(text) + "\n")
    learn_arpa([tmp_path / "text"], tmp_path / "x.arpa", order=3)
    return tmp_path


def said(capsys, *arguments, status=0):
    try:
        run(["rescore", *map(str, arguments)])
        code = 0
    except SystemExit as end:
        code = end.code or 0
    shown = capsys.readouterr()
    assert code == status, shown.err
    return shown


def test_weights_are_tuned_and_words_get_better(place, capsys):
    report = json.loads(
        said(capsys, place / "x.arpa", place / "lists.jsonl", "--folds", 4, "--starts", 3, "--json").out
    )
    assert report["cross_validated"]
    assert report["rescored"]["wer"] < report["first"]["wer"] - 0.05
    assert report["oracle"]["wer"] == 0
    assert report["gain"][0] == pytest.approx(report["first"]["wer"] - report["rescored"]["wer"])
    assert {"ac", "x.arpa", "words"} <= report["weights"].keys()
    low, high = report["first"]["interval"]
    assert low < report["first"]["wer"] < high
    assert report["first"]["words"] == sum(len(for_comparison(one["ref"], "join")) for one in records())
    change = report["changed"][0]
    assert change["before"] != change["after"]
    first = next(one for one in records() if one["id"] == change["id"])
    assert change["before"] == first["hyps"][0]["text"]


def test_no_list_is_chosen_by_weights_it_was_tuned_on(place):
    """Change the references of one fold: the weights that choose its lists stay the same."""
    lists = read_lists([place / "lists.jsonl"]).lists
    scorers = {"lm": load_scorer(place / "x.arpa")}
    options = RescoreOptions(folds=3, starts=2, seed=1)
    before = rescore(scorers, lists, options)
    other = [
        type(one)(one.id, one.hypotheses, "dog dog dog dog" if n == 5 else one.reference, one.where)
        for n, one in enumerate(lists)
    ]
    after = rescore(scorers, other, options)
    np.testing.assert_array_equal(before.choices[5].totals, after.choices[5].totals)
    assert any(not np.array_equal(a.totals, b.totals) for a, b in zip(before.choices, after.choices, strict=True))


def test_given_weights_are_the_sum_that_ranks(place):
    lists = read_lists([place / "lists.jsonl"]).lists
    scorer = load_scorer(place / "x.arpa")
    result = rescore({"lm": scorer}, lists, RescoreOptions(weights={"ac": 0.5, "lm": 2.0, "words": -1}))
    for choice in result.choices:
        texts = [h.text.split() for h in choice.source.hypotheses]
        for text, h, total in zip(texts, choice.source.hypotheses, choice.totals, strict=True):
            state, logprob = scorer.begin(), 0.0
            for word in text:
                (step,), (state,) = scorer.extend([state], [word])
                logprob += step
            logprob += scorer.end([state])[0]
            assert total == pytest.approx(0.5 * h.scores["ac"] + 2 * logprob - len(text))
        assert choice.best == choice.source.hypotheses[int(np.argmax(choice.totals))].text
    assert not result.tuned


def test_weights_of_other_lists_may_count_unknown_words_that_are_not_here(place):
    (place / "one").write_text('{"hyps": [{"text": "the cat", "ac": 1}, {"text": "the dog", "ac": 0}]}\n')
    lists, scorers = read_lists([place / "one"]).lists, {"lm": load_scorer(place / "x.arpa")}
    known = rescore(scorers, lists, RescoreOptions(weights={"lm": 1.0}))
    same = rescore(scorers, lists, RescoreOptions(weights={"lm": 1.0, "lm unknown": -9.0}))
    assert known.names == ("ac", "lm", "words")
    assert same.names == ("ac", "lm", "lm unknown", "words")
    np.testing.assert_array_equal(known.choices[0].totals, same.choices[0].totals)


def test_rescored_lists_can_be_rescored_again(place, capsys):
    out, best = place / "out.jsonl", place / "best"
    said(capsys, place / "x.arpa", place / "lists.jsonl", "--weight", "x.arpa=1", "--out", out, "--best", best)
    again = read_lists([out])
    assert again.problems == []
    assert {"ac", "x.arpa", "words"} <= set(again.names)
    assert "total" not in again.names  # it may have been tuned on the references
    records = [json.loads(line) for line in out.read_text().splitlines()]
    for one, record, line in zip(again.lists, records, best.read_text().splitlines(), strict=True):
        totals = [h["total"] for h in record["hyps"]]
        assert totals == sorted(totals, reverse=True)
        assert line == f"{one.id} {one.hypotheses[0].text}"


def test_a_folder_and_an_arpa_file_side_by_side_or_mixed(place, capsys):
    folder = write_folder(place / "model", "char", seed=1)
    weights = ("--weight", "x.arpa=1", "--weight", "model=0.1", "--json")
    report = json.loads(said(capsys, folder, place / "lists.jsonl", "--also", place / "x.arpa", *weights).out)
    assert report["weights"]["model"] == 0.1
    shown = said(
        capsys, folder, place / "lists.jsonl", "--also", place / "x.arpa", "--interpolate", place / "text", "--weight",
        "model+x.arpa=1", "--json",
    )  # fmt: skip
    assert json.loads(shown.out)["rescored"]["wer"] <= report["first"]["wer"]
    shares = dict(part.split() for part in shown.err.strip().removeprefix("shares ").split(", "))
    assert float(shares["x.arpa"]) > 0.9 > 0.1 > float(shares["model"])


def test_without_references_the_best_words_are_printed(place, capsys):
    (place / "text-lists").write_text("a-1 the mat cat\na-2 the cat was n't\nb-1 the dog was n't\n")
    out = said(capsys, place / "x.arpa", place / "text-lists", "--weight", "x.arpa=1").out
    assert out == "a the cat was n't\nb the dog was n't\n"


def test_words_are_compared_as_asked(place, capsys):
    (place / "one").write_text('{"id": "a", "ref": "It wasn\'t", "hyps": [{"text": "it was n\'t", "s": 1}]}\n')
    arguments = (place / "x.arpa", place / "one", "--weight", "s=1", "--json")
    assert json.loads(said(capsys, *arguments).out)["first"]["wer"] == 0
    assert json.loads(said(capsys, *arguments, "--wer-text", "as-is").out)["first"]["wer"] == 1.5


def test_the_model_reads_the_treebanks_text(place):
    (place / "one").write_text('[{"text": "The CAT wasn\'t", "s": 0}, {"text": "the cat was n\'t", "s": 0}]\n')
    lists = read_lists([place / "one"]).lists
    scorers = {"lm": load_scorer(place / "x.arpa")}
    weights = {"lm": 1.0}
    same = rescore(scorers, lists, RescoreOptions(weights=weights, model_text="treebank")).choices[0].totals
    apart = rescore(scorers, lists, RescoreOptions(weights=weights)).choices[0].totals
    assert same[0] == same[1] == apart[1]
    assert apart[0] < apart[1]


def test_a_bad_list_does_not_lose_the_others(place, capsys):
    path, out = place / "lists.jsonl", place / "out.jsonl"
    path.write_text(path.read_text() + "{oops\n")
    shown = said(capsys, place / "x.arpa", path, "--weight", "x.arpa=1", "--out", out, status=1)
    assert len(out.read_text().splitlines()) == 24
    bad, last = shown.err.splitlines()
    assert "line 25 is not JSON" in bad
    assert last == "ostinato: 1 bad lists were left out; the other 24 are done"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weight", "nonsense=1"], "no score 'nonsense'; expected one of ac, x.arpa"),
        (["--weight", "ac"], "expected NAME=VALUE"),
        (["--weight", "ac=hot"], "the weight of ac is 'hot'; expected a number"),
        (["--weight", "ac=nan"], "the weight of ac is nan; expected a finite number"),
        (["--folds", "1"], "folds is 1"),
        (["--starts", "0"], "starts is 0"),
        (["--scores", "x"], "--scores is 'x'; expected NAME=VALUE"),
        (["--interpolate", "0.5,0.6"], "2 weights for 1 models"),
        (["--interpolate", "nothing.txt"], "no such file: nothing.txt"),
        (["--references", "nothing.txt"], "no such file: nothing.txt"),
        (["--also", "nothing"], "nothing"),
        (["--out", "/none/x"], "/none/x: there is no folder /none to write it to"),
        (["--best", "/"], "/: this is a folder; expected the name of a file"),
    ],
)
def test_wrong_settings_are_one_line(place, capsys, arguments, says):
    shown = said(capsys, place / "x.arpa", place / "lists.jsonl", *arguments, status=1)
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_places_are_looked_at_before_the_work(place, capsys):
    for flag in ("--out", "--best"):
        shown = said(capsys, place / "no model", place / "lists.jsonl", flag, "/none/x", status=1)
        assert "/none/x: there is no folder /none" in shown.err


def test_lists_without_references_ask_for_weights(place, capsys):
    (place / "one").write_text('[{"text": "a", "s": 1}, {"text": "b", "s": 2}]\n')
    shown = said(capsys, place / "x.arpa", place / "one", status=1)
    assert "the lists have no references, and weights are tuned on some" in shown.err
    assert "give references, or a weight for some of s, x.arpa" in shown.err
    (place / "one").write_text('{"ref": "a", "hyps": [{"text": "a", "s": 1}, {"text": "b", "s": 2}]}\n')
    assert "one list has a reference, and weights" in said(capsys, place / "x.arpa", place / "one", status=1).err


def test_few_lists_are_parts_of_one_each(place, capsys):
    few = (place / "lists.jsonl").read_text().splitlines()[:3]
    (place / "few").write_text("\n".join(few))
    report = json.loads(said(capsys, place / "x.arpa", place / "few", "--json").out)
    assert report["cross_validated"]
    assert report["utterances"] == 3


def test_options_are_checked_when_made():
    with pytest.raises(ConfigError):
        RescoreOptions(wer_text="upper")
    with pytest.raises(ConfigError):
        RescoreOptions(seed=-1)


def test_the_report_for_people(place, capsys):
    out = said(capsys, place / "x.arpa", place / "lists.jsonl", "--folds", 3, "--starts", 2).out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["first", "rescored", "oracle"]
    assert lines[4].startswith("gain ")
    assert "tuned on all lists" in lines[5]
    assert "changed: " in lines[6]


def test_what_is_compared_is_counted(place, capsys):
    """Two of four lists have a reference; with empty ones there is no rate."""
    some = [{**one, "ref": one["ref"] if n < 2 else None} for n, one in enumerate(records(4))]
    (place / "some.jsonl").write_text("".join(json.dumps(one) + "\n" for one in some))
    out = said(capsys, place / "x.arpa", place / "some.jsonl", "--weight", "ac=1").out
    assert "over 2 utterances with a reference" in out
    (place / "some.jsonl").write_text("".join(json.dumps({**one, "ref": ""}) + "\n" for one in some))
    report = json.loads(said(capsys, place / "x.arpa", place / "some.jsonl", "--weight", "ac=1", "--json").out)
    assert report["rescored"]["wer"] is None
    assert report["rescored"]["insertions"] > 0


def test_a_score_of_words_is_their_number(place, capsys):
    one = {"id": "a", "hyps": [{"text": "the cat", "words": 2}, {"text": "the", "words": -1.0}]}
    (place / "one.jsonl").write_text(json.dumps(one))
    shown = said(capsys, place / "x.arpa", place / "one.jsonl", "--weight", "words=1", status=1)
    assert "one.jsonl, line 1 has a score words that is not the number of words; give it another name" in shown.err
    (place / "words").write_bytes((place / "x.arpa").read_bytes())
    lists = read_lists([place / "lists.jsonl"]).lists
    names = rescore({"words": load_scorer(place / "words")}, lists, RescoreOptions(weights={"ac": 1.0})).names
    assert [name for name in names if "unknown" not in name] == ["ac", "model words", "words"]


def test_a_model_of_other_words_is_told(place, capsys):
    text = (place / "lists.jsonl").read_text()
    assert said(capsys, place / "x.arpa", place / "lists.jsonl", "--weight", "ac=1").err == ""
    for word in WORDS:
        text = text.replace(word, word.upper())
    (place / "loud.jsonl").write_text(text)
    shown = said(capsys, place / "x.arpa", place / "loud.jsonl", "--weight", "ac=1")
    assert "ostinato: x.arpa does not know 100% of the words" in shown.err


def test_files_that_are_read_or_written_twice_are_refused(place, capsys):
    lists, before = place / "lists.jsonl", (place / "lists.jsonl").read_bytes()
    for flag in ("--out", "--best"):
        shown = said(capsys, place / "x.arpa", lists, "--weight", "ac=1", flag, lists, status=1)
        assert "lists.jsonl: this is what is read" in shown.err
    both = ["--out", place / "b", "--best", place / "b"]
    assert "expected two files" in said(capsys, place / "x.arpa", lists, "--weight", "ac=1", *both, status=1).err
    twice = ["--weight", "ac=1", "--weight", "ac=2"]
    assert "--weight ac is given twice, 1 and 2" in said(capsys, place / "x.arpa", lists, *twice, status=1).err
    assert lists.read_bytes() == before
    said(capsys, place / "x.arpa", lists, "--weight", "ac=1", "--out", place / "out.jsonl.gz")
    assert len(read_lists([place / "out.jsonl.gz"]).lists) == 24
    assert (place / "out.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"
