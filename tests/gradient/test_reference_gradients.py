"""The definition's gradients against central differences in float64."""

import pytest
from parity.cases import CASES, by_reference, directional_error, problem

# Central differences with a step of 1e-6 err by rounding, 1e-16 / 1e-6 times a loss of about 100.
TOLERANCE = 2e-7


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_gradient_is_the_slope(case):
    assert directional_error(case, problem(case), by_reference) < TOLERANCE
