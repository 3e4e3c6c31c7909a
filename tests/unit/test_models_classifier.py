"""The classifier in torch: rows by themselves, padding unseen, gradients everywhere, layers of a language model."""

import pytest
import torch
from classifying import BOUNDARY, READERS, batch, classifier, config, texts
from modelling import EVERYTHING, close, small

from ostinato.architectures import expected_tensors
from ostinato.config import CELLS, ModelConfig
from ostinato.models.build import build
from ostinato.models.classifier import TextClassifier

ALL = "max,mean,last,attention"


def check_rows_are_those_of_a_batch(**changes):
    """Ragged rows together score as each alone, whatever pads them."""
    model = classifier(config(ALL, **changes))
    rows = texts()
    together = model.scores(*batch(rows, padding=3))
    assert torch.equal(together, model.scores(*batch(rows, padding=8)))
    for b, row in enumerate(rows):
        close(together[b], model.scores(*batch([row]))[0])


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_row_of_a_batch_is_that_row_alone(cell, reader):
    check_rows_are_those_of_a_batch(cell=cell, **READERS[reader])


def check_reads_as_language_model(bidirectional):
    """The last outputs of the layers are the readouts of the language model that they come from."""
    shape = config("last", reader="language_model", bidirectional=bidirectional)
    model = classifier(shape)
    lm = build(shape.layers, model.regularisers).eval()
    own = model.state_dict()
    lm.load_state_dict({name: own.get(name, x) if "output" not in name else x for name, x in lm.state_dict().items()})
    ids, lengths = batch(texts((6,)))
    if bidirectional:
        ahead = lm.forward_stack(lm.embed(ids), lm.forward_stack.initial_state(1))[0][-1]
        back = lm.backward_stack(lm.embed(ids.flip(0)), lm.backward_stack.initial_state(1))[0][-1]
        pooled = torch.cat([ahead, back], dim=-1)
    else:
        pooled = lm.readout(ids, lm.initial_state(1))[0][-1]
    close(model.scores(ids, lengths), pooled @ own["output.weight"].T + own["output.bias"])


@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_of_a_language_model_read_as_it_does(bidirectional):
    check_reads_as_language_model(bidirectional)


@pytest.mark.parametrize("reader", READERS)
def test_tensors_are_those_of_the_architecture(reader):
    shape = config(ALL, layer_norm=True, **READERS[reader])
    model = TextClassifier(shape, EVERYTHING)
    found = {name: tuple(x.shape) for name, x in model.state_dict().items()}
    assert found == expected_tensors(shape)


@pytest.mark.parametrize("reader", READERS)
def test_every_parameter_has_a_gradient_and_a_depth(reader):
    model = classifier(config(ALL, layer_norm=True, **READERS[reader]))
    model(*batch(texts())).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    depths = model.depths()
    assert depths.keys() == dict(model.named_parameters()).keys()
    assert depths["output.weight"] == depths["pooling.query"] == 0
    assert depths["embedding.weight"] == 3
    assert {depth for name, depth in depths.items() if ".1." in name} == {1}
    assert {depth for name, depth in depths.items() if ".0." in name} == {2}


def test_training_drops_and_scoring_does_not():
    model = classifier(config(), EVERYTHING)
    ids, lengths = batch(texts())
    assert not torch.equal(model(ids, lengths), model(ids, lengths))
    assert torch.equal(model.scores(ids, lengths), model.scores(ids, lengths))
    assert model.training
    with pytest.raises(IndexError):
        model.scores(ids + BOUNDARY, lengths)
    assert model.training
    model.eval()
    close(model(ids, lengths), model.scores(ids, lengths))


def test_start_is_near_a_uniform_guess():
    torch.manual_seed(0)
    model = TextClassifier(config(), EVERYTHING)
    shares = model.scores(*batch(texts())).softmax(1)
    assert (shares - 1 / 3).abs().max() < 0.2


def test_a_tied_model_is_refused():
    from ostinato.architectures.classifier import ClassifierConfig
    from ostinato.errors import ConfigError

    tied = ModelConfig(**{**vars(small(hidden=(6,))), "tied": True})
    with pytest.raises(ConfigError, match="tied has no meaning"):
        ClassifierConfig(tied, ("a", "b"), reader="language_model")
