"""The work that rules count, against XLA's own count."""

import jax
import pytest

from . import cases_contractions, cases_elementwise, cases_shapes  # noqa: F401
from .cases import CASES
from .simulate import find_equation

# Case -> by how much we may count more than XLA, which leaves out the first element of a sum and taps on padding.
ABOVE_XLA = {
    "dot_general": 1.0,
    "dot_general:two sums": 1.0,
    "conv_general_dilated": 1.1,
    "conv_general_dilated:groups": 1.1,
    "conv_general_dilated:depthwise": 1.1,
    "conv_general_dilated:batch groups": 1.1,
    "conv_general_dilated:image": 1.2,
    "add:scalar": 1.0,
    "integer_pow": 1.0,
    "integer_pow:negative": 1.0,
    "reduce_sum": 1.2,
    "reduce_window_sum": 1.5,
}


@pytest.mark.parametrize("key", ABOVE_XLA)
def test_flops_agree_with_xla(key):
    case = CASES[key]
    rule = find_equation(case.primitive, case.function, case.arrays()).rule
    counted = jax.jit(case.function).lower(*case.arrays()).cost_analysis()["flops"]
    assert counted <= rule.points * rule.work.per_point <= ABOVE_XLA[key] * counted
