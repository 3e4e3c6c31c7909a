"""A conversation: what is remembered, what a reply may be, what is taken back, saved and counted."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import safetensors.numpy
from runs import NAMES
from small_models import config, tokenizer, weights, write_folder

import ostinato
from ostinato import dialogue
from ostinato.dialogue import Conversation
from ostinato.engine import load_noted_state, save_state
from ostinato.errors import BundleError, ConfigError, TextError
from ostinato.language_model import LanguageModel

LEVELS = ("char", "byte", "word", "bpe")


def model(level="char", seed=0, bias=(), **changes):
    """Random weights; ``bias`` adds to the scores of tokens by their text."""
    tokens = tokenizer(level)
    of = config(vocab=tokens.vocab_size, **changes)
    tensors = weights(of, seed)
    for text, value in dict(bias).items():
        tensors["output.bias"][[t for t in range(of.vocab) if tokens.piece(t).startswith(text.encode())]] += value
    return LanguageModel(of, tensors, tokens)


@pytest.fixture(params=LEVELS)
def level(request):
    return request.param


@pytest.fixture
def talk():
    """Two exchanges with a model of random weights."""
    conversation = Conversation(model())
    for text in ("to be", "or not"):
        conversation.reply(text, 20, seed=1)
    return conversation


def texts(conversation):
    return [turn.text for turn in conversation.turns]


def as_before(conversation, turns, state):
    return conversation.turns == turns and conversation.state == state


class TestMemory:
    def answers(self, talker, forget):
        lm = ostinato.load(talker)
        found = []
        for name in NAMES:
            conversation = Conversation(lm)
            conversation.reply(f"my name is {name}", temperature=0)
            conversation = Conversation(lm) if forget else conversation
            found.append(conversation.reply("what is my name", temperature=0))
        return found

    def test_a_name_is_remembered(self, talker):
        assert self.answers(talker, forget=False) == list(NAMES)

    def test_it_is_the_state_that_remembers(self, talker):
        assert len(set(self.answers(talker, forget=True))) == 1

    @pytest.mark.parametrize("level", ["char", "word"])
    def test_the_state_has_read_every_line(self, level):
        lm = model(level)
        conversation = Conversation(lm)
        for k, text in enumerate(("to be", "or  not\tto be ", "that")):
            conversation.reply(text, tokens=9, seed=k, temperature=0.7)
        assert [turn.speaker for turn in conversation.turns] == ["user", "model"] * 3
        assert texts(conversation)[2] == "or not to be"
        lines = "\n" + "".join(text + "\n" for text in texts(conversation))
        expected = lm.engine.read(lm.tokenizer.encode(lines)[:, None], lm.engine.start())
        for name, array in conversation.state.arrays.items():
            np.testing.assert_allclose(array, expected.arrays[name], atol=1e-5)

    def test_it_does_not_grow(self, talk):
        size = talk.state.nbytes
        for _ in range(5):
            talk.reply("to be", 5)
        assert talk.state.nbytes == size

    def test_the_model_itself_remembers_nothing_of_it(self, talk):
        lm = model()
        Conversation(lm).reply("to be", 5)
        assert lm.state is None


class TestReply:
    def test_it_is_one_line_and_never_empty(self, level):
        """Line ends, or blanks, are by far the likeliest; a reply begins with something else all the same."""
        for bias in ({"\n": 12}, {" ": 12}, {" ": 12, "\n": 13}):
            conversation = Conversation(model(level, bias=bias))
            for seed in range(5):
                reply = conversation.reply("to be", 10, seed=seed, temperature=seed / 4)
                assert reply.strip()
                assert "\n" not in reply
                assert not reply[0].isspace()

    def test_it_ends_at_the_line_end(self):
        lm = model(bias={"\n": 2})
        conversation = Conversation(lm)
        lengths = [len(conversation.reply("to be", seed=0)) for _ in range(30)]
        assert 1 <= min(lengths) < max(lengths) < 60
        assert all(turn.scored.tokens == turn.scored.chars < 200 for turn in conversation.turns)
        blanks_at_the_end = sum(turn.scored.chars - 1 - len(turn.text) for turn in conversation.turns)
        assert blanks_at_the_end < 30  # they were written, and are not shown

    def test_a_token_limit_ends_it_and_the_turn_is_closed_all_the_same(self, level):
        """The same with a line end that was never likely as with one that was read by hand."""
        lm = model(level, bias={"\n": -30})
        conversation = Conversation(lm)
        conversation.reply("to be", tokens=7, seed=3)
        assert conversation.turns[1].scored.tokens == 7
        heard = lm.engine.read(lm.tokenizer.encode("\nto be\n")[:, None], lm.engine.start())
        forbidden = {"banned_first": conversation._never_first, "banned": conversation._banned}
        made = dialogue.generate(
            lm.engine, lm.tokenizer, heard, how=dialogue.Sampling(), rng=dialogue.stream_rng(3), tokens=7, **forbidden
        )
        *_, last = made
        _, expected = lm.engine.step(np.array([lm.tokenizer.boundary_id]), last.state)
        for name, array in conversation.state.arrays.items():
            np.testing.assert_allclose(array, expected.arrays[name], atol=1e-5)

    def test_the_stream_is_the_reply(self, level):
        streamed, replied = Conversation(model(level)), Conversation(model(level))
        pieces = list(streamed.stream("to be", 30, seed=5))
        assert len(pieces) > 1
        assert "".join(pieces).strip() == replied.reply("to be", 30, seed=5)
        assert streamed.turns == replied.turns

    def test_nothing_counts_before_it_is_asked_for(self, talk):
        before = talk.turns, talk.state
        talk.stream("to be")
        assert as_before(talk, *before)

    def test_what_was_made_before_it_was_stopped_is_the_reply(self):
        lm = model(bias={"\n": -30})
        conversation = Conversation(lm)
        stream = conversation.stream("to be", 50, seed=1)
        said = "".join(islice(stream, 4))
        assert conversation.turns == ()
        stream.close()
        assert texts(conversation) == ["to be", said.strip()]
        assert conversation.turns[1].scored.tokens == 4
        lines = lm.tokenizer.encode(f"\nto be\n{said}\n")
        expected = lm.engine.read(lines[:, None], lm.engine.start())
        for name, array in conversation.state.arrays.items():
            np.testing.assert_allclose(array, expected.arrays[name], atol=1e-5)

    def test_seeds(self):
        def conversation(seed):
            made = Conversation(model())
            return [made.reply("to be", 30, seed=seed) for _ in range(3)]

        assert conversation(1) == conversation(1) != conversation(2)
        fresh = [Conversation(model()).reply("to be", 30) for _ in range(3)]
        assert len(set(fresh)) > 1
        # a seed gives every exchange its own numbers: with one draw in all of them, one word would come again and again
        flat = Conversation(model("word", bias={"": 0.0}))
        firsts = [flat.reply("to be", 1, seed=3, temperature=50) for _ in range(8)]
        assert len(set(firsts)) > 3

    def test_options_reach_the_model(self):
        def reply(**options):
            return Conversation(model()).reply("to be", 30, seed=2, **options)

        greedy = reply(temperature=0)
        assert reply() != greedy
        for options in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
            assert reply(**options) == greedy

    def test_its_own_earlier_words_are_not_repeated_and_the_users_may_be(self, talker):
        conversation = Conversation(ostinato.load(talker))
        words = [conversation.reply("my name is anna", no_repeat_ngram=1, seed=k, tokens=2) for k in range(4)]
        said = " ".join(words).split()
        assert len(set(said)) == len(said)
        plain = Conversation(ostinato.load(talker))
        greedy = {"temperature": 0, "no_repeat_ngram": 1}
        plain.reply("my name is anna", temperature=0)
        assert plain.reply("what is my name", **greedy) == "anna"
        assert plain.reply("what is my name", **greedy) != "anna"

    def test_the_user_may_say_anything_but_nothing(self, talk):
        before = talk.turns, talk.state
        for blank in ("", "  ", "\n", "\t\r\n"):
            with pytest.raises(TextError, match="the turn is blank"):
                talk.reply(blank)
        for unknown, complaint in (("Zorn 中Z", "'Z', '中'"), ("a \ud800", "lone surrogate U\\+D800")):
            with pytest.raises(TextError, match=complaint):
                talk.reply(unknown)
        assert as_before(talk, *before)
        talk.reply("Zorn 中Z", 5, allow_unknown=True)
        assert talk.turns[-2].text == "Zorn 中Z"
        assert talk.turns[-2].scored.oov == 3
        talk.reply("to be\nor not", 5)
        assert talk.turns[-2].text == "to be or not"

    @pytest.mark.parametrize(
        "options",
        [{"tokens": 0}, {"temperature": -1}, {"seed": -1}, {"repetition_penalty": 0.2}, {"no_repeat_ngram": -1}],
    )
    def test_bad_settings_are_refused_at_once(self, talk, options):
        with pytest.raises(ConfigError, match=next(iter(options))):
            talk.stream("to be", **options)

    def test_a_bidirectional_model_is_refused(self):
        with pytest.raises(ConfigError, match="reads in both directions"):
            Conversation(model(bidirectional=True))

    def test_a_turn_of_any_length_is_read_in_bounded_memory(self, monkeypatch):
        text = "to be or not " * 40
        whole = Conversation(model())
        whole.reply(text, 5, seed=1)
        lm = model()
        monkeypatch.setattr(dialogue, "SCORES", 50 * lm.model.vocab)
        longest = []
        run = lm.engine.run
        monkeypatch.setattr(lm.engine, "run", lambda ids, state: (longest.append(len(ids)), run(ids, state))[1])
        pieces = Conversation(lm)
        pieces.reply(text, 5, seed=1)
        assert max(longest) == 50
        assert texts(pieces) == texts(whole)
        assert pieces.turns[0].scored.nats == pytest.approx(whole.turns[0].scored.nats, rel=1e-5)


class TestScore:
    @pytest.mark.parametrize("level", ["char", "word"])
    def test_it_is_what_scoring_the_text_says(self, level):
        lm = model(level)
        conversation = Conversation(lm)
        for k, text in enumerate(("to be", "or not to be", "that is")):
            conversation.reply(text, seed=k, temperature=0.8)
        assert all(turn.scored.tokens < 200 for turn in conversation.turns)  # each ended by itself
        lines = list(lm.score_lines("\n" + "".join(f"{text}\n" for text in texts(conversation))))[1:]
        for turn, line in zip(conversation.turns, lines, strict=True):
            for name in ("tokens", "chars", "bytes", "words", "oov"):
                assert getattr(turn.scored, name) == getattr(line, name), name
            assert turn.scored.nats == pytest.approx(line.nats, rel=1e-4)
        score = conversation.score()
        for k, speaker in enumerate(("user", "model")):
            assert score[speaker].nats == pytest.approx(sum(line.nats for line in lines[k::2]), rel=1e-4)
            assert score[speaker].words == sum(line.words for line in lines[k::2])

    def test_a_line_end_that_was_not_written_is_not_counted(self):
        conversation = Conversation(model(bias={"\n": -30}))
        conversation.reply("to be", tokens=6, seed=1)
        scored = conversation.turns[1].scored
        assert (scored.tokens, scored.chars) == (6, 6)
        assert scored.words == len(conversation.turns[1].text.split())
        assert scored.nats < 6 * 8

    def test_nothing_said_has_no_figures(self):
        assert {speaker: scored.tokens for speaker, scored in Conversation(model()).score().items()} == {
            "user": 0,
            "model": 0,
        }


class TestUndo:
    def test_an_exchange_is_taken_back_whole(self, talk):
        before = talk.turns, talk.state
        talk.reply("that is", 20, seed=4)
        said, answered = talk.undo()
        assert (said.text, answered.speaker) == ("that is", "model")
        assert as_before(talk, *before)
        talk.undo()
        talk.undo()
        assert as_before(talk, (), Conversation(model()).state)
        with pytest.raises(ConfigError, match="nothing has been said yet"):
            talk.undo()

    def test_what_is_said_instead_is_all_that_was_said(self, talk):
        talk.reply("that is", 20, seed=4)
        talk.undo()
        other = Conversation(model())
        for text in ("to be", "or not"):
            other.reply(text, 20, seed=1)
        assert talk.reply("nobler", 20, seed=8) == other.reply("nobler", 20, seed=8)
        assert talk.turns == other.turns

    def test_only_so_many_states_are_kept(self, monkeypatch):
        monkeypatch.setattr(dialogue, "HISTORY", 3)
        conversation = Conversation(model())
        for _ in range(5):
            conversation.reply("to be", 3, seed=1)
        for _ in range(3):
            conversation.undo()
        before = conversation.turns, conversation.state
        with pytest.raises(ConfigError, match="only the last 3 exchanges"):
            conversation.undo()
        assert as_before(conversation, *before)
        assert len(conversation.turns) == 4


class TestFiles:
    def test_a_conversation_goes_on_where_it_was_saved(self, talk, tmp_path, monkeypatch):
        talk.save(tmp_path / "talk")
        again = Conversation(model())
        again.load(tmp_path / "talk")
        assert as_before(again, talk.turns, talk.state)
        assert again.score() == talk.score()
        assert again.reply("that is", 20, seed=3) == talk.reply("that is", 20, seed=3)
        for _ in range(3):
            assert again.undo() == talk.undo()
            assert again.state == talk.state
        assert [path.name for path in tmp_path.iterdir()] == ["talk"]

    def test_one_that_has_not_begun_and_one_that_is_longer_than_its_history(self, tmp_path, monkeypatch):
        fresh = Conversation(model())
        fresh.save(tmp_path / "fresh")
        monkeypatch.setattr(dialogue, "HISTORY", 2)
        long = Conversation(model())
        for _ in range(4):
            long.reply("to be", 3)
        long.save(tmp_path / "long")
        other = Conversation(model())
        other.load(tmp_path / "long")
        assert as_before(other, long.turns, long.state)
        other.load(tmp_path / "fresh")
        assert as_before(other, (), fresh.state)

    def test_every_damage_is_noticed_and_nothing_is_lost(self, talk, tmp_path):
        path = tmp_path / "talk"
        talk.save(path)
        good = path.read_bytes()
        before = talk.turns, talk.state
        rng = np.random.default_rng(0)
        lengths = {0, 1, 7, 8, 9, len(good) - 1, *rng.integers(0, len(good), 30).tolist()}
        flips = [good[:at] + bytes([good[at] ^ 0x40]) + good[at + 1 :] for at in rng.integers(0, len(good), 200)]
        for bad in [*(good[:length] for length in lengths), *flips]:
            path.write_bytes(bad)
            with pytest.raises(BundleError) as caught:
                talk.load(path)
            assert "\n" not in str(caught.value)
            assert as_before(talk, *before)

    def test_what_is_no_conversation_of_this_model_is_refused(self, talk, tmp_path):
        other = Conversation(model(seed=1))
        other.save(tmp_path / "other")
        save_state(tmp_path / "state", talk.state, talk._engine)
        (tmp_path / "text").write_text("to be")
        for name, complaint in (
            ("other", "not a state of this model"),
            ("state", "is no saved conversation"),
            ("text", "is not a saved state"),
            ("missing", "does not exist"),
            (".", "is not a saved state"),
        ):
            with pytest.raises(BundleError, match=complaint):
                talk.load(tmp_path / name)

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda note: {**note, "conversation": 2},
            lambda note: {**note, "turns": note["turns"][1:]},
            lambda note: {**note, "turns": note["turns"][::-1]},
            lambda note: {**note, "turns": note["turns"][:2]},
            lambda note: {**note, "turns": [*note["turns"], note["turns"][0]]},
            lambda note: {**note, "turns": [{**turn, "text": 3} for turn in note["turns"]]},
            lambda note: {**note, "turns": [{**turn, "tokens": "3"} for turn in note["turns"]]},
            lambda note: {**note, "turns": [{**turn, "nats": True} for turn in note["turns"]]},
            lambda note: {**note, "turns": [1, 2, 3, 4]},
            lambda note: {"turns": note["turns"]},
            lambda note: [],
            lambda note: None,
        ],
    )
    def test_a_note_that_was_made_up_is_refused(self, talk, tmp_path, wrong):
        talk.save(tmp_path / "talk")
        states, note = load_noted_state(tmp_path / "talk", talk._engine)
        save_state(tmp_path / "talk", states, talk._engine, json.dumps(wrong(json.loads(note))))
        with pytest.raises(BundleError, match=r"no saved conversation|another version|is damaged: 3 states of 2 turns"):
            talk.load(tmp_path / "talk")

    def test_what_cannot_be_written_is_said(self, talk, tmp_path):
        for path in (tmp_path, tmp_path / "nowhere" / "talk"):
            with pytest.raises(BundleError, match="cannot be written"):
                talk.save(path)

    def test_a_state_without_a_note_is_what_it_was(self, talk, tmp_path):
        lm = model()
        lm.start("to be")
        lm.save_state(tmp_path / "state")
        assert load_noted_state(tmp_path / "state", lm.engine) == (lm.state, "")
        before_notes = {"model": lm.engine.fingerprint, "state": str(hash(lm.state))}
        (tmp_path / "old").write_bytes(safetensors.numpy.save(dict(lm.state.arrays), before_notes))
        assert lm.load_state(tmp_path / "old") == lm.load_state(tmp_path / "state")


def test_it_is_in_the_public_face(tmp_path):
    conversation = ostinato.Conversation(ostinato.load(write_folder(tmp_path / "m")))
    assert conversation.reply("to be", 5)
