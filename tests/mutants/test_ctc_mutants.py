# ruff: noqa: E501 - a mutation stands on one line
"""CTC decoding, broken in one place on purpose: brute force must notice."""

from __future__ import annotations

import numpy as np
import pytest
from hearing import LABELS, WordBigram, random_frames
from mutants.mutate import mutant, rows
from property import test_ctc_search as search
from property.test_ctc_search import BOOSTS, WORDS
from unit import test_ctc as unit
from unit.test_greedy import hold_paths

REFERENCE, WORD, PIECES = "ostinato.ctc.reference", "ostinato.ctc.words", "ostinato.ctc.pieces"


def hold_reference(module):
    search.hold_sums(module.PrefixBeam)
    search.hold_gains(module.PrefixBeam)
    search.hold_margin(module.PrefixBeam)


def hold_words(module):
    lm = WordBigram(WORDS, 1)
    for lexicon in (search.LEXICON, None):
        search.hold_best(
            [search.word_model(lm, module.WordModel, lexicon)], lambda labels: search.of_words(lm, labels), 1
        )
    search.hold_word_hopes(module.WordModel)
    search.hold_unfinished(module.WordModel, 1)


def hold_hot(module):
    search.hold_best([module.HotWords(BOOSTS, LABELS)], lambda labels: (search.of_hot(labels), 0.0), 1)
    search.hold_hopes(module.HotWords(BOOSTS, LABELS))
    search.hold_heat(module.HotWords)


def hold_pieces(module):
    search.hold_best([search.label_model(module.LabelModel)], search.of_labels, 1)
    search.hold_hopes(search.label_model(module.LabelModel))


def hold_greedy(module):
    for seed in range(10):
        frames = random_frames(5, 4, seed)
        best = max(unit.meanings(frames, 0).values(), key=lambda meaning: meaning.best)
        found = module.greedy(frames, LABELS)
        assert found.acoustic == pytest.approx(best.best)
        assert [(span.start, span.end) for span in found.labels] == [span[1:] for span in best.spans]


def hold_path(module):
    for blank in (0, 2):
        hold_paths(blank, module.GreedyPath)


def hold_lexicon(module):
    lexicon = module.Lexicon({"ab": -3.0, "abb": -1.0, "ad": -0.5, "b": -4.0})
    assert lexicon.below("a") == (-0.5, None)
    assert lexicon.below("ab") == (-1.0, -3.0)
    assert lexicon.below("bb") == (None, None)
    assert module.Lexicon.count(["a", "b", "b"]).below("b").own == pytest.approx(np.log(2 / 3))


# What is wrong, in which class or function, and which source becomes which.
MUTANTS = {
    (REFERENCE, hold_reference): [
        ("a label comes again without a blank", "PrefixBeam", "reach[k, prefix.last] = prefix.blank + y[prefix.last]", "pass"),
        ("a label never comes again", "PrefixBeam", "reach[k, prefix.last] = prefix.blank + y[prefix.last]", "reach[k, prefix.last] = NEVER"),
        ("a blank from the label alone", "PrefixBeam", "prefix.total + y[self.blank],", "prefix.label + y[self.blank],"),
        ("a label goes on after a blank", "PrefixBeam", "prefix.label + again,", "prefix.total + again,"),
        ("what comes from the shorter one is lost", "PrefixBeam", "np.logaddexp(prefix.label, reach[shorter, prefix.last])", "prefix.label"),
        ("and what it had is lost", "PrefixBeam", "np.logaddexp(prefix.label, reach[shorter, prefix.last])", "reach[shorter, prefix.last]"),
        ("a prefix twice in the beam", "PrefixBeam", "        reach[shorter, prefix.last] = NEVER\n", ""),
        ("blank as a label", "PrefixBeam", "        reach[:, self.blank] = NEVER\n", ""),
        ("the likeliest alignment stays the first", "PrefixBeam", "if best + y[prefix.last] > prefix.best_label", "if False"),
        ("the latest alignment is the likeliest", "PrefixBeam", "if best + y[prefix.last] > prefix.best_label", "if best > NEVER"),
        ("labels end where they begin", "PrefixBeam", "(*prefix.spans_label[:2], self.frames + 1)", "prefix.spans_label"),
        ("an alignment through a blank counts for none", "_Prefix", "again == self.last or self.best_blank >= self.best_label", "again == self.last"),
        ("an alignment repeats a label without a blank", "_Prefix", "again == self.last or self.best_blank >= self.best_label", "self.best_blank >= self.best_label"),
        ("gains do not count", "PrefixBeam", "prefix.extra + prefix.gains", "prefix.extra"),
        ("extras do not count", "PrefixBeam", "prefix.extra if prefix.gains is None else prefix.extra + prefix.gains", "0.0 if prefix.gains is None else prefix.gains"),
        ("extras of what stays do not count", "PrefixBeam", "[prefix.total + prefix.extra for prefix in stays]", "[prefix.total for prefix in stays]"),
        ("no margin", "PrefixBeam", " - self.margin", " - 1e9"),
        ("one too many", "PrefixBeam", "[: self.width]", "[: self.width + 1]"),
    ],
    (WORD, hold_words): [
        ("no weight", "WordModel", "extra = self._weight * logprob + self._bonus", "extra = logprob + self._bonus"),
        ("no bonus", "WordModel", "extra = self._weight * logprob + self._bonus", "extra = self._weight * logprob"),
        ("unknown words are welcome", "WordModel", "0.0 if words[n] in self._scorer else self._unknown", "0.0"),
        ("known words are not", "WordModel", "if words[n] in self._scorer", "if words[n] not in self._scorer"),
        ("the state stays", "WordModel", "said[n].language + logprob, model)", "said[n].language + logprob, said[n].model)"),
        ("no end of the sentence", "WordModel", "each.extra + self._weight * end", "each.extra"),
        ("the last word is not heard", "WordModel", "[each.state.part for each in contexts])", "['' for _ in contexts])"),
        ("hopes stay after the word", "WordModel", "Context(said.extra + self._ahead.begun(part), self", "Context(said.extra + self._ahead.begun(part or 'a'), self"),
        ("words run together", "_Ahead", "return (part, self.rest[label]) if", 'return ("", part + self.rest[label]) if'),
        ("letters are lost", "_Ahead", 'else ("", part + self.rest[label])', 'else ("", self.rest[label])'),
        ("a hope is added to a hope", "_Ahead", " - self.begun(part)", ""),
        ("a word's end is worth nothing", "_Ahead", "(self._done(part) if part else 0.0) + self._first", "self._first"),
        ("letters lead nowhere", "_Ahead", "                    hopes[labels] = hope\n", ""),
        ("a begun word's own frequency", "WordModel", "self._lexicon.below(part).best", "self._lexicon.below(part).own"),
        ("the likeliest longer word's at the end", "WordModel", "self._lexicon.below(word).own", "self._lexicon.below(word).best"),
        ("no penalty ahead", "WordModel", "self._lexicon.least + self._bonus + self._unknown", "self._lexicon.least + self._bonus"),
    ],
    (WORD, hold_hot): [
        ("hopes alone", "HotWords", "extra + self._done(word)", "extra"),
        ("the last word is cold", "HotWords", "Context(extra + self._done(part)", "Context(extra"),
        ("all of it at the first letter", "HotWords", "boost * size / len(word)", "boost"),
        ("the share of the last word alone", "HotWords", "max(shares.get(word[:size], 0.0), boost * size / len(word))", "boost * size / len(word)"),
        ("the first letter has no share", "HotWords", "range(1, len(word) + 1)", "range(2, len(word) + 1)"),
    ],
    (PIECES, hold_pieces): [
        ("no weight", "LabelModel", "self._weight * logprobs + self._bonus", "logprobs + self._bonus"),
        ("no bonus", "LabelModel", "self._weight * logprobs + self._bonus", "self._weight * logprobs"),
        ("no softmax", "LabelModel", "        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))\n", ""),
        ("no end", "LabelModel", "each.extra + self._weight * each.state.end", "each.extra"),
        ("states of others", "LabelModel", "rows([contexts[n].state.row for n in batch])", "rows([0 for n in batch])"),
        ("labels of others", "LabelModel", "[labels[n] for n in order]", "[labels[n] for n in order[::-1]]"),
        ("results of others", "LabelModel", "found[n] for n in range(len(contexts))", "found[n] for n in order[::-1]"),
        ("log p of the whole is lost", "LabelModel", "contexts[n].language + float", "float"),
    ],
    ("ostinato.ctc.greedy", hold_greedy): [
        ("a label ends where the next but one does", "greedy", "for each in found[1:]", "for each in found[2:]"),
        ("the last label ends with the frames", "greedy", "path.ended]", "len(frames)]"),
    ],
    ("ostinato.ctc.greedy", hold_path): [
        ("repeats are several", "GreedyPath", "np.flatnonzero(labels != before).tolist()", "range(len(labels))"),
        ("blanks are said", "GreedyPath", "if labels[t] != self._blank:", "if True:"),
        ("a blank ends a label again", "GreedyPath", "if before[t] != self._blank:", "if True:"),
        ("chunks do not know each other", "GreedyPath", "self._label = int(labels[-1]) if len(labels) else self._label", "pass"),
        ("frames of the chunk", "GreedyPath", "Spelled(int(labels[t]), self.frames + t", "Spelled(int(labels[t]), t"),
        ("ends of the chunk", "GreedyPath", "self._ended = self.frames + t", "self._ended = t"),
        ("frames are not counted", "GreedyPath", "self.frames += len(labels)", "pass"),
        ("nats of the chunk", "GreedyPath", "self.logprob += float", "self.logprob = float"),
        ("what is said last has ended before", "GreedyPath", "self._ended if self._label == self._blank else self.frames", "self._ended"),
    ],
    ("ostinato.ctc.lexicon", hold_lexicon): [
        ("the first below", "Lexicon", "self._logprobs[first:last].max()", "self._logprobs[first]"),
        ("every beginning a word", "Lexicon", " if self._words[first] == prefix else None", ""),
        ("all that comes after", "Lexicon", "bisect_left(self._words, prefix + LAST, first)", "len(self._words)"),
        ("counts", "Lexicon", "math.log(count / total)", "math.log(count / (total + 1))"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("module", "hold", "inside", "old", "new"), rows(MUTANTS))
def test_broken_decoding_dies(module, hold, inside, old, new):
    with pytest.raises((AssertionError, KeyError, IndexError)):
        hold(mutant(module, old, new, inside))


@pytest.mark.parametrize(("module", "hold"), MUTANTS, ids=lambda each: getattr(each, "__name__", each))
def test_sound_decoding_lives(module, hold):
    """Without a mutation the same checks pass."""
    hold(mutant(module, "from __future__ import annotations\n", "from __future__ import annotations\n"))
