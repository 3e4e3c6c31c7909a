"""N-best lists: every form, and what is wrong with a list is said in one line while the others go on."""

import gzip
import json

import numpy as np
import pytest

from ostinato.errors import ConfigError, TextError
from ostinato.text.nbest import read_lists


def write(path, *records):
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in records))
    return path


GOOD = {
    "id": "u1",
    "ref": "a b",
    "hyps": [{"text": "a  b", "ac": [1.5, -2], "lm": -3}, {"text": "a", "lm": 1, "ac": [1, 2]}],
}
OTHER = {"id": "u2", "hyps": [{"text": "", "ac": [4], "lm": 0}]}


def test_json_lines(tmp_path):
    found = read_lists([write(tmp_path / "x.jsonl", GOOD, "", OTHER)])
    one, two = found.lists
    assert (one.id, one.reference, two.reference) == ("u1", "a b", None)
    assert [h.text for h in one.hypotheses] == ["a b", "a"]
    assert [dict(h.scores) for h in one.hypotheses] == [{"ac": -0.5, "lm": -3}, {"ac": 3, "lm": 1}]
    assert list(one.hypotheses[1].scores) == found.names == ["ac", "lm"]
    assert two.hypotheses[0].scores["ac"] == 4
    assert found.problems == []


def test_packed_files_and_lists_without_ids(tmp_path):
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(
        gzip.compress(b'[{"text": "a", "score": -1}, {"text": "b", "score": -2}]\r\n[{"text": "c", "score": 0}]')
    )
    found = read_lists([path])
    assert [one.id for one in found.lists] == ["1", "2"]
    assert [[h.scores["score"] for h in one.hypotheses] for one in found.lists] == [[-1, -2], [0]]
    other = write(tmp_path / "y.jsonl", [{"text": "a", "score": -1}], {"id": "2", "hyps": [{"text": "b", "score": 0}]})
    found = read_lists([path, other])
    assert [one.id for one in found.lists] == [f"{path}:1", f"{path}:2", f"{other}:1", "2"]
    assert found.problems == []
    packed = path.rename(tmp_path / "no ending")
    assert len(read_lists([packed]).lists) == 2


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_gz_is_said_in_a_line(tmp_path, seed):
    rng = np.random.default_rng(seed)
    lines = [json.dumps({**GOOD, "id": str(rng.integers(1 << 60))}) for _ in range(20)]
    whole = bytearray(gzip.compress("\n".join(lines).encode()))
    whole[int(rng.integers(10, len(whole)))] ^= 1 << int(rng.integers(8))
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(whole)
    try:
        problems = read_lists([path]).problems
    except TextError as error:
        problems = [str(error)]
    assert any("x.jsonl.gz" in problem for problem in problems)


def test_kaldi_tables(tmp_path):
    text = write(tmp_path / "text", "utt-a-1 a b", "utt-a-2 a", "utt-b-1", "utt-b-2 b b")
    ac = write(tmp_path / "ac", "utt-a-1 -1.5", "utt-a-2 -2", "utt-b-2 3", "utt-b-1 4e2")
    references = write(tmp_path / "ref", "utt-a a b c", "utt-c x")
    found = read_lists([text], references=references, scores={"ac": ac})
    assert [one.id for one in found.lists] == ["utt-a", "utt-b"]
    assert [one.reference for one in found.lists] == ["a b c", None]
    assert [[h.text for h in one.hypotheses] for one in found.lists] == [["a b", "a"], ["", "b b"]]
    assert [[h.scores["ac"] for h in one.hypotheses] for one in found.lists] == [[-1.5, -2], [400, 3]]


def test_references_of_their_own_come_first(tmp_path):
    references = write(tmp_path / "ref", "u1 other words")
    lists = write(tmp_path / "x", GOOD)
    assert read_lists([lists], references=references).lists[0].reference == "other words"
    write(references, "u1\tother  words")
    assert read_lists([lists], references=references).lists[0].reference == "other  words"
    write(references, "u7 other words")
    lists = write(tmp_path / "x", {**GOOD, "ref": None})
    with pytest.raises(TextError, match="ref has no line for 'u1', nor for any other list"):
        read_lists([lists], references=references)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{no", "line 2 is not JSON"),
        ('{"id": "x", "hyps": []}', "line 2: hyps is an empty list; expected one hypothesis or more"),
        ("[]", "line 2: hyps is an empty list"),
        ('{"id": "x"}', "line 2: hyps is None"),
        ('{"id": "x", "ref": 3, "hyps": [{"text": "a", "ac": 1, "lm": 2}]}', "line 2: ref is 3; expected a string"),
        ('{"id": "x", "hyps": [{"text": "a"}]}', "line 2: hypothesis 1 has the scores none; expected ac, lm"),
        ('{"id": "x", "hyps": [{"text": "a", "ac": 1}]}', "line 2: hypothesis 1 has the scores ac; expected ac, lm"),
        (
            '{"id": "x", "hyps": [{"text": "a", "ac": NaN, "lm": 1}]}',
            "hypothesis 1, score ac is nan; expected a finite",
        ),
        ('{"id": "x", "hyps": [{"text": "a", "ac": 1, "lm": Infinity}]}', "score lm is inf; expected a finite number"),
        ('{"id": "x", "hyps": [{"text": "a", "ac": "hot", "lm": 1}]}', "score ac is 'hot'; expected a finite number"),
        ('{"id": "x", "hyps": [{"text": "a", "ac": true, "lm": 1}]}', "score ac is True; expected a finite number"),
        (
            '{"id": "x", "hyps": [{"text": "a", "ac": [1, null], "lm": 1}]}',
            "score ac is None; expected a finite number",
        ),
        (
            '{"id": "x", "hyps": [{"text": "a b", "ac": [1], "lm": 1}]}',
            "score ac has 1 numbers for 2 words; expected 2, or",
        ),
        ('{"id": "x", "hyps": [{"text": "a", "ac": [1, 2, 3], "lm": 1}]}', "3 numbers for 1 words"),
        ('{"id": "x", "hyps": ["a"]}', "line 2, hypothesis 1 is 'a'; expected an object"),
        ('{"id": "x", "hyps": [{"text": 5, "ac": 1, "lm": 1}]}', "expected an object with text and scores"),
        ('{"id": "u1", "hyps": [{"text": "a", "ac": 1, "lm": 1}]}', "line 2: id 'u1' comes again, first in .*, line 1"),
        ("utt-1 a b", "line 2: utt-1 has|utterance utt: hypothesis 1 has the scores none"),
        ("utterance a b", "line 2: 'utterance' is no hypothesis; expected JSON, or utterance-N"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_a_bad_list_is_named_and_left_out(tmp_path, bad, says):
    import re

    found = read_lists([write(tmp_path / "x.jsonl", GOOD, bad, OTHER)])
    assert [one.id for one in found.lists] == ["u1", "u2"]
    (problem,) = found.problems
    assert re.search(says, problem), problem
    assert problem.startswith(str(tmp_path / "x.jsonl"))
    assert "\n" not in problem


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_list_without_scores_is_named_wherever_it_stands(tmp_path, place):
    lists = [GOOD, OTHER]
    lists.insert(place, {"id": "x", "hyps": [{"text": "a"}, {"text": "b"}]})
    found = read_lists([write(tmp_path / "x.jsonl", *lists)])
    assert [one.id for one in found.lists] == ["u1", "u2"]
    assert found.names == ["ac", "lm"]
    expected = f"{tmp_path / 'x.jsonl'}, line {place + 1}: hypothesis 1 has the scores none; expected ac, lm"
    assert found.problems == [expected]


def test_a_list_with_scores_where_most_have_none(tmp_path):
    plain = [{"id": name, "hyps": [{"text": "a"}]} for name in "xyz"]
    found = read_lists([write(tmp_path / "x.jsonl", GOOD, *plain)])
    assert [one.id for one in found.lists] == ["x", "y", "z"]
    assert "line 1: hypothesis 1 has the scores ac, lm; expected none, as most lists" in found.problems[0]


def test_a_byte_order_mark_is_no_part_of_a_list(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert [one.id for one in read_lists([path]).lists] == ["u1"]


@pytest.mark.parametrize("key", ["id", "ref", "text"])
def test_half_a_character_spoils_its_list_alone(tmp_path, key):
    bad = {"id": "x", "ref": "a", "hyps": [{"text": "a", "ac": 1, "lm": 2}]}
    (bad["hyps"][0] if key == "text" else bad)[key] = "u\ud800"
    found = read_lists([write(tmp_path / "x", GOOD, bad)])
    assert [one.id for one in found.lists] == ["u1"]
    assert "x, line 2" in found.problems[0]
    assert f"{key} holds the lone surrogate U+D800; expected Unicode text" in found.problems[0]


def test_names_of_scores_that_are_taken(tmp_path):
    for name in ("text", "total"):
        with pytest.raises(ConfigError, match=f"no score can be called {name}"):
            read_lists([write(tmp_path / "x", "u-1 a")], scores={name: write(tmp_path / "ac", "u-1 2")})


def test_tables_of_scores_are_for_tables(tmp_path):
    ac = write(tmp_path / "ac", "u1-1 1")
    with pytest.raises(ConfigError, match="scores are given in tables, which lists in JSON do not read"):
        read_lists([write(tmp_path / "x.jsonl", GOOD)], scores={"ac": ac})


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n[{\xff}]\n" + json.dumps(OTHER).encode())
    found = read_lists([path])
    assert len(found.lists) == 2
    assert found.problems == [f"{path}, line 2: byte 3 is 0xff, not UTF-8; expected UTF-8 text"]


def test_a_missing_or_empty_file_does_not_stop_the_others(tmp_path):
    good, empty = write(tmp_path / "good.jsonl", GOOD), write(tmp_path / "empty")
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress(json.dumps(OTHER).encode() * 50)[:-9])
    found = read_lists([tmp_path / "goood.jsonl", empty, tmp_path, damaged, good])
    assert [one.id for one in found.lists] == ["u1"]
    assert len(found.problems) >= 4
    assert "no such file" in found.problems[0]
    assert "good.jsonl" in found.problems[0]
    assert "is empty" in found.problems[1]
    assert "is a folder" in found.problems[2]
    assert any("damaged.gz" in problem for problem in found.problems[3:])


def test_nothing_at_all_is_an_error(tmp_path):
    with pytest.raises(TextError, match="line 1 is not JSON"):
        read_lists([write(tmp_path / "x", "{")])


def test_a_table_lacks_a_score_or_has_one_twice(tmp_path):
    text = write(tmp_path / "text", "a-1 x", "a-2 y", "b-1 z")
    ac = write(tmp_path / "ac", "a-1 1", "b-1 2")
    found = read_lists([text], scores={"ac": ac})
    assert found.problems == [f"{text}, line 2: a-2 has no score ac; expected one in its table"]
    with pytest.raises(TextError, match="line 2: 'a-1' comes again"):
        read_lists([text], scores={"ac": write(tmp_path / "ac", "a-1 1", "a-1 2")})
    with pytest.raises(TextError, match="no such file"):
        read_lists([text], references=tmp_path / "none")
    found = read_lists([text], scores={"ac": write(tmp_path / "ac", "a-1 1", "a-2 nan", "b-1 2")})
    assert "line 2, a-2, score ac is 'nan'; expected a finite number" in found.problems[0]
