"""The measures of the self-dialogue recipe, on conversations whose figures are known."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
from runs import NAMES, introductions

import ostinato
from ostinato.text.conversations import Conversations

FILE = Path(__file__).parents[2] / "recipes" / "self_dialogue" / "measure.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("measure", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def parts(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    (folder / "talk.txt").write_text(introductions(200, seed=1), "utf-8")
    recipe.split(folder / "talk.txt", folder / "out")
    return folder / "out"


def test_the_parts_are_the_conversations(parts):
    sizes = {name: len(list(Conversations([parts / f"{name}.txt"]))) for name in ("train", "valid", "test")}
    assert sizes == {"train": 180, "valid": 10, "test": 10}  # round(200 * 0.05), and of the other 190 as much


def test_all_figures(recipe, parts, talker):
    found = recipe.measure(talker, parts)
    json.dumps(found, allow_nan=False)
    perplexity = {name: figures["perplexity"] for name, figures in found["perplexity_per_word"].items()}
    assert len({figures["words"] for figures in found["perplexity_per_word"].values()}) == 1
    # Of 14 or 17 words and line ends two are chosen: a name among four when it is told, and one of two greetings.
    words = found["perplexity_per_word"]["turn"]["words"] / 10
    known = math.exp((math.log(len(NAMES)) + math.log(2)) / words)
    assert known * 0.95 < perplexity["conversation"] < known * 1.1
    assert perplexity["turn"] > 1.3 * perplexity["conversation"]
    for ngram in found["ngrams"].values():
        # Kneser-Ney of seven words sees across the greeting; no n-gram is better than what there is to know.
        assert known * 0.95 < ngram["perplexity"] < 1.3 * known
    replies = found["distinct"]["replies"]
    assert replies["human"]["replies"] == replies["temperature_1"]["replies"] == 20
    assert 0 < replies["human"]["distinct_1"] < 1


def test_without_the_empty_lines_it_is_the_score_of_the_turns(recipe, parts, talker):
    lm = ostinato.load(talker)
    talks = list(Conversations([parts / "test.txt"]))
    found = recipe.with_and_without_context(lm, talks)
    turns = "".join(turn + "\n" for talk in talks for turn in talk.turns)
    scored = lm.score(turns, state="reset", tokens=False)
    assert found["turn"]["words"] == scored.words
    assert found["turn"]["perplexity"] == pytest.approx(scored.word_perplexity, rel=1e-5)


def test_empty_lines_are_no_part_of_a_turn(recipe):
    assert recipe._of_turns(np.array([0, 5, 0, 0, 7, 8, 0, 0, 0]), boundary=0).tolist() == [1, 2, 4, 5, 6]


def test_no_word_is_free_for_the_ngram_over_words(recipe):
    """The last word was never seen: it costs more the longer it is to spell."""
    train = "you and me and you and me\n" * 60 + "apple plum pear peach\n"

    def nats(last):
        texts = {"train": train, "valid": "you and me\n", "test": f"you and me\nyou and {last}\n"}
        found = recipe.open_vocabulary(texts, count=8)
        assert found["spelt"] == (last != "me")
        return math.log(found["perplexity"]) * 8

    known, short, long = nats("me"), nats("grape"), nats("grapegrape")
    assert short - known > 5 * math.log(2)
    assert long - short > 5 * math.log(2)
