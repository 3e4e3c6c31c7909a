"""The tensors of a model folder are the parameters of the torch model, by name and shape."""

import numpy as np
import pytest
from modelling import PLAIN, randomise, small

from ostinato import bundle
from ostinato.architectures import expected_tensors
from ostinato.config import CELLS
from ostinato.models.build import build

OPTIONS = [
    {},
    {"layer_norm": True, "skip_output": True, "residual": True, "hidden": (6, 6, 3)},
    {"hidden": (4, 6), "tied": True},
    {"bidirectional": True},
    {"bidirectional": True, "hidden": (4, 3), "tied": True, "layer_norm": True},
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_torch_model_goes_through_a_folder(tmp_path, cell, options):
    config = small(cell=cell, **options)
    model = randomise(build(config, PLAIN))
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected_tensors(config)
    bundle.save(tmp_path, model=config, tensors=tensors, tokenizer_json="{}", training={}, card="")
    for name, tensor in bundle.load(tmp_path).tensors.items():
        np.testing.assert_array_equal(tensor, tensors[name])
