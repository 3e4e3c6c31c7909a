"""Layers and language models, each broken in one place on purpose: a named test of theirs must fail.

The packages are imported anew with one piece of source replaced, then the tests, and the test runs on what is broken.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch

import ostinato
from ostinato.errors import NativeError

SOURCE = Path(__file__).parents[2] / "src" / "ostinato"
TESTS = Path(__file__).parents[1] / "unit"
FRESH = ("ostinato.nn", "ostinato.models", "modelling", "classifying", "mutated_tests")

# A file to break, and the file of its tests.
DROPOUT = ("nn/dropout.py", "test_nn_dropout")
RECURRENT = ("nn/recurrent.py", "test_nn_recurrent")
INIT = ("nn/init.py", "test_nn_init")
TRANSLATOR = ("models/translator.py", "test_models_translator")
ATTENTION = ("nn/attention.py", "test_models_translator")
EMBEDDING = ("nn/embedding.py", "test_models_language")
TOKENS = ("models/tokens.py", "test_models_language")
LANGUAGE = ("models/language.py", "test_models_language")
SAMPLED = ("nn/sampled.py", "test_nn_sampled")
SIDES = ("models/bidirectional.py", "test_models_bidirectional")

# For each, the call that must fail in the tests (``t``): what is wrong, and which source becomes which.
MUTANTS = {
    TRANSLATOR: {
        'check_nats(t.Translator, attention="general", input_feeding=True, tied=True)': [
            (
                "the readout of two steps ago is fed",
                "readouts[-1]], dim=-1)",
                "readouts[max(0, len(readouts) - 2)]], dim=-1)",
            ),
            ("the state does not go on", "h, state = self.decoder(", "h, _ = self.decoder("),
            ("no start from the source", "return torch.split(states,", "return torch.split(0 * states,"),
            ("the readout is not bent", "return torch.tanh(linear(torch.cat([h", "return (linear(torch.cat([h"),
            ("context and state exchanged", "torch.cat([h, context], dim=-1)", "torch.cat([context, h], dim=-1)"),
            (
                "all of the padding is predicted",
                "[:, None] < pairs.target_lengths",
                "[:, None] <= pairs.target_lengths",
            ),
        ],
        'check_nats(t.Translator, attention="none")': [
            ("summary of the wrong ends", "torch.cat([ahead, back], dim=-1)", "torch.cat([back, ahead], dim=-1)"),
            ("summary of the first layer", "last[-2 * parts :: parts]", "last[: 2 * parts : parts]"),
            ("no summary at the input", "encoded.summary.expand(x.shape", "0 * encoded.summary.expand(x.shape"),
            (
                "source lengths forgotten",
                "self.encoder.initial_state(source.shape[1]), lengths)",
                "self.encoder.initial_state(source.shape[1]))",
            ),
        ],
        "test_label_smoothing_is_cross_entropy_with_smoothed_targets()": [
            ("the bias is not smoothed", "weight.mean(0) + bias.mean()", "weight.mean(0)"),
            ("the wrong way", "amount * (chosen - mean)", "amount * (mean - chosen)"),
        ],
        "test_evaluation_drops_nothing_and_keeps_the_mode()": [
            ("nats with dropout", "self.eval()", "pass"),
        ],
    },
    ATTENTION: {
        'check_nats(t.Translator, attention="general", tied=True)': [
            ("the padding is looked at", ".masked_fill(~there.t()[:, None], -torch.inf)", ""),
            ("another row's memory", "weights @ memory.transpose(0, 1)", "weights @ memory.roll(1, 1).transpose(0, 1)"),
            ("softmax over the queries", "torch.softmax(scores, dim=-1)", "torch.softmax(scores, dim=1)"),
        ],
        'check_nats(t.Translator, attention="additive")': [
            ("no bias", "linear(memory, self.weight_memory, self.bias)", "linear(memory, self.weight_memory, None)"),
            ("not bent", "torch.tanh(q.transpose", "(q.transpose"),
            (
                "square matrix transposed",
                "linear(query, self.weight_query, None)",
                "linear(query, self.weight_query.t(), None)",
            ),
            ("queries are not projected", "q = linear(query, self.weight_query, None)", "q = query"),
        ],
    },
    EMBEDDING: {
        "test_tied_gradient_is_the_sum_of_both_uses()": [
            ("the rows have no gradient", "d_weight.index_add_(0, ids.flatten(), d_rows.flatten(0, -2))", "pass"),
            (
                "nor has the matrix",
                "return d_weight, None",
                "return torch.zeros_like(d_weight).index_add_(0, ids.flatten(), d_rows.flatten(0, -2)), None",
            ),
        ],
    },
    RECURRENT: {
        "check_encoder_is_two_runs(t.Encoder)": [
            ("the second direction reads forward", "lengths, [False, True]", "lengths, [False, False]"),
            ("the first direction reads backward", "lengths, [False, True]", "lengths, [True, True]"),
            ("final states exchanged", "(*right_end, *left_end)", "(*left_end, *right_end)"),
            ("one initial state for both", "[state[:half], state[half:]]", "[state[:half], state[:half]]"),
            ("rows read past their end", "state[half:]], lengths", "state[half:]], None"),
        ],
        "check_ragged(t.Stack, 'lstm')": [
            ("lengths forgotten", "lengths=lengths", "lengths=None"),
        ],
        "test_stack_is_what_the_equations_say(True, True, True)": [
            ("no residual", "y = y + dense(self._x)", "y = y"),
            ("no norm", "deep.norms[k](y) if len(deep.norms) else y", "y"),
            ("norm before residual", "y = y + dense(self._x)", "y = deep.norms[k](y) + dense(self._x)"),
            ("another epsilon", "eps=1e-5", "eps=1e-3"),
            ("first layer's state for all", "_state[k * parts : (k + 1) * parts]", "_state[:parts]"),
            (
                "only the last layer is read",
                "torch.cat(outputs, dim=-1) if self._deep",
                "outputs[0] if None and self._deep",
            ),
        ],
        "test_dropout_between_layers_only(t.Stack)": [
            (
                "dropout before the first layer",
                "if k > 0:",
                "self._outputs += [] if k else [self._x]\n        if True:",
            ),
        ],
        "test_locked_dropout_between_layers_is_constant_in_time()": [
            ("not locked", ", locked=options.locked", ""),
        ],
        "test_skip_output_reads_what_the_layer_gave_before_dropout()": [
            ("dropped output is read", "self._x = dropout(", "self._x = self._outputs[-1] = dropout("),
        ],
    },
    DROPOUT: {
        "test_locked_mask_is_one_for_all_steps_and_differs_between_lanes()": [
            ("a mask a step", "x.new_ones(1, B, width)", "torch.ones_like(x)"),
            ("one mask for all lanes", "x.new_ones(1, B, width)", "x.new_ones(1, 1, width)"),
        ],
        "test_plain_mask_changes_at_every_step()": [
            ("always locked", "if not locked:", "if False:"),
        ],
        "test_embedding_dropout_drops_whole_tokens_wherever_they_occur()": [
            (
                "occurrences, not tokens",
                "rows * scale[ids].unsqueeze(-1)",
                "rows * F.dropout(torch.ones(ids.shape), p).unsqueeze(-1)",
            ),
            ("elements, not tokens", "rows * scale[ids].unsqueeze(-1)", "F.dropout(rows, p)"),
        ],
        "test_weight_drop_masks_the_use_and_not_the_store()": [
            (
                "the stored weight is dropped",
                "drop(weight, p) if training and p > 0.0 else weight",
                "weight.data.mul_(drop(torch.ones_like(weight), p)) * weight",
            ),
        ],
        "test_zoneout_masks_in_training_expects_in_evaluation()": [
            ("zones the wrong way round", "bernoulli_(p)", "bernoulli_(1 - p)"),
        ],
        "test_zoneout_in_evaluation_mixes_old_and_new()": [
            ("expectation forgotten", "return like.new_full((1, 1, 1), p)", "return None"),
        ],
        "test_nothing_is_dropped_in_evaluation_or_at_zero()": [
            (
                "weight drop in evaluation",
                "drop(weight, p) if training and p > 0.0 else",
                "drop(weight, p) if p > 0.0 else",
            ),
        ],
        "test_penalties_in_closed_form()": [
            ("temporal penalty on the dropped output", "raw.diff", "dropped.diff"),
            ("activation penalty before dropout", "activation * dropped", "activation * raw"),
        ],
    },
    INIT: {
        "test_only_the_forget_bias_is_one('lstm')": [
            ("another gate is open", "FORGET_GATE = 1", "FORGET_GATE = 2"),
        ],
        "test_recurrent_matrix_is_orthogonal_gate_by_gate('gru')": [
            ("all gates as one matrix", "nn.init.orthogonal_(block)", "nn.init.orthogonal_(weight)"),
        ],
        "test_input_matrix_has_the_glorot_variance_of_one_gate('lstm')": [
            ("all gates as one matrix", "nn.init.xavier_uniform_(block)", "nn.init.xavier_uniform_(weight)"),
        ],
        "test_relu_starts_from_the_identity_and_the_other_activations_do_not()": [
            ("no identity", "nn.init.eye_", "nn.init.orthogonal_"),
        ],
        "test_first_layer_hears_tokens_at_variance_one(40, 300)": [
            ("a quiet embedding", "std=TIED_SPREAD if tied else math.sqrt((E + hidden) / (2 * E))", "std=0.1"),
        ],
        "test_relu_with_a_carried_state_stays_in_bounds()": [
            ("the whole identity", "RELU_START = 0.95", "RELU_START = 1.0"),
        ],
        "test_tied_embedding_and_output_have_their_spread()": [
            ("a loud output layer", "1.0 / math.sqrt(weight.shape[1])", "1.0"),
        ],
    },
    SAMPLED: {
        "test_the_loss_is_cross_entropy_among_the_candidates_corrected()": [
            ("no correction", "bias.index_select(0, candidates) - log_inclusion", "bias.index_select(0, candidates)"),
            ("corrected the wrong way round", "candidates) - log_inclusion", "candidates) + log_inclusion"),
            ("the other targets forgotten", "self._draws + len(targets) - 1)", "self._draws)"),
            ("the target itself counted", "self._draws + len(targets) - 1)", "self._draws + len(targets))"),
            ("weight of the first rows", "weight.index_select(0, candidates)", "weight[: len(candidates)]"),
            ("bias of the first rows", "bias.index_select(0, candidates)", "bias[: len(candidates)]"),
            ("no smoothing", "counts.double() + 1.0", "counts.double()"),
            ("targets left where they were", "log_inclusion, places)", "log_inclusion, targets.clamp(max=3))"),
            (
                "rows without a gradient",
                "weight.index_select(0, candidates)",
                "weight.detach().index_select(0, candidates)",
            ),
        ],
        "test_so_many_join_on_average_each_as_often_as_so_many_draws_hold_it(4)": [
            (
                "so many draws, not tokens",
                "self._draws = _draws(self._log_missed, drawn)",
                "self._draws = float(drawn)",
            ),
            ("the wrong half", "< self._joins", ">= self._joins"),
            ("uniform", "counts.double() + 1.0", "torch.ones_like(counts).double()"),
        ],
        "test_candidates_ascend_and_hold_the_targets_where_it_says()": [
            ("targets left to chance", "joined[targets] = True", "pass"),
            ("places one off", "joined.cumsum(0)[targets] - 1", "joined.cumsum(0)[targets] - 2"),
        ],
        "test_a_saved_generator_state_repeats_the_candidates()": [
            (
                "a generator of its own",
                "torch.rand_like(self._joins)",
                "torch.rand(len(self._joins), generator=torch.Generator().manual_seed(id(object())))",
            ),
        ],
    },
    TOKENS: {
        "check_state_is_cut(t.model_of())": [
            ("the state is not cut", "part.detach() for part in last", "part for part in last"),
        ],
        "test_loss_and_nats_are_cross_entropy_of_the_next_token(False)": [
            ("predicts its input", "ids[1 : 1 + len(readout)]", "ids[: len(readout)]"),
        ],
        "check_evaluation_is_deterministic(t.model_of(t.EVERYTHING, zoneout=0.2))": [
            ("nats with dropout", "self.eval()", "pass"),
            ("mode lost", "self.train(mode)", "pass"),
        ],
        "test_mode_comes_back_after_an_error()": [
            ("mode lost on errors", "finally:\n            self", "except ValueError:\n            self"),
        ],
        "test_tied_gradient_is_the_sum_of_both_uses()": [
            (
                "only one use has a gradient",
                "readout.flatten(0, 1), self.output.matrix(embedding)",
                "readout.flatten(0, 1), self.output.matrix(embedding.detach())",
            ),
        ],
        "test_output_dropout_and_penalties_are_those_of_the_papers()": [
            ("output not dropped", "self._scoring(dropped, embedding, ids)", "self._scoring(raw, embedding, ids)"),
        ],
        "test_input_dropout_is_on_the_embedded_input()": [
            (
                "input dropout forgotten",
                "dropout(dense(x), options.dropout_input",
                "dropout(dense(x), 0.0",
            ),
        ],
    },
    LANGUAGE: {
        "test_output_dropout_and_penalties_are_those_of_the_papers()": [
            ("penalty on every layer", "readout[..., -self.stack.last_width :]", "readout"),
        ],
    },
    SIDES: {
        "check_window_never_sees_its_target(t.BidirectionalLanguageModel)": [
            ("the backward side sees x_t", "self._read(x[:T], x[2:], state)", "self._read(x[:T], x[1:], state)"),
            ("the forward side sees x_t", "self._read(x[:T], x[2:], state)", "self._read(x[1 : T + 1], x[2:], state)"),
            ("the backward side misses x_{t+1}", "self._read(x[:T], x[2:], state)", "self._read(x[:T], x[3:], state)"),
        ],
        "check_no_gradient_from_the_target(t.BidirectionalLanguageModel)": [
            ("x_t has a gradient", "self._read(x[:T], x[2:], state)", "self._read(x[:T], x[1:], state)"),
        ],
        "check_window_is_two_runs(t.BidirectionalLanguageModel)": [
            ("the backward side reads forward", "reversed=[False, True]", "reversed=[False, False]"),
            ("sides exchanged", "[there, here[: len(there)]]", "[here[: len(there)], there]"),
            ("the wrong end of the backward side", "here[: len(there)]]", "here[-len(there) :]]"),
            ("no context beyond the window", "x[2:], state)", "x[2 : T + 2], state)"),
            ("beside another end", "back[: len(ahead)]", "back[-len(ahead) :]"),
        ],
        "check_stacks_are_independent(t.BidirectionalLanguageModel)": [
            (
                "one stack for both",
                "self.backward_stack = Stack(config, regularisers)",
                "self.backward_stack = self.forward_stack",
            ),
        ],
        "check_gaps_are_two_runs(t.BidirectionalLanguageModel)": [
            ("no line end after a short row", "y[ends + 1, torch.arange(B, device=ids.device)] = boundary", "pass"),
            ("lengths forgotten", "initial_state(B), lengths)", "initial_state(B))"),
        ],
        "check_gap_never_sees_itself(t.BidirectionalLanguageModel)": [
            ("a gap sees itself", "x[2:], self.forward_stack", "x[1:], self.forward_stack"),
        ],
        "test_penalties_are_on_the_last_layers_of_both_sides()": [
            ("penalty on one side", "[ahead[..., -width:], back[..., -width:]]", "[back[..., -width:]]"),
        ],
    },
}
CALLS = [(place, call) for place, calls in MUTANTS.items() for call in calls]


@contextmanager
def broken(path: str, old: str, new: str) -> Iterator[None]:
    """``nn`` and ``models`` import anew inside, with ``old`` replaced by ``new`` in the file at ``path``."""
    kept = {name: module for name, module in sys.modules.items() if name.startswith(FRESH)}
    parents = {name: vars(ostinato).get(name) for name in ("nn", "models")}
    for name in kept:
        del sys.modules[name]
    try:
        source = (SOURCE / path).read_text()
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {path}; expected once"
        load(f"ostinato.{path.removesuffix('.py').replace('/', '.')}", source.replace(old, new), path)
        yield
    finally:
        for name in [name for name in sys.modules if name.startswith(FRESH)]:
            del sys.modules[name]
        sys.modules.update(kept)
        vars(ostinato).update({name: module for name, module in parents.items() if module is not None})


def load(name: str, source: str, path: str) -> ModuleType:
    """A module made of ``source``, under ``name`` for all who import it."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, path, "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    ("place", "call", "old", "new"),
    [
        pytest.param(place, call, old, new, id=f"{place[0]}: {name}")
        for place, call in CALLS
        for name, old, new in MUTANTS[place][call]
    ],
)
def test_mutant_dies(place, call, old, new):
    with broken(place[0], old, new), pytest.raises((AssertionError, RuntimeError, NativeError)):
        run(place[1], call)


@pytest.mark.parametrize(("place", "call"), CALLS)
def test_unbroken_lives(place, call):
    same = "from __future__ import annotations"
    with broken(place[0], same, same):
        run(place[1], call)


def run(tests: str, call: str) -> None:
    """Call one test of a test file, imported anew."""
    module = load("mutated_tests", (TESTS / f"{tests}.py").read_text(), tests)
    torch.manual_seed(0)
    eval(f"t.{call}", {"t": module})
