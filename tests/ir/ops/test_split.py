"""Every primitive, split in every way its rule allows, gives what one device gives; partial values may pass through."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from swplan.ir.ops import DEFINITIONS
from swplan.ir.rule import REDUCTIONS

from . import cases_contractions, cases_elementwise, cases_shapes  # noqa: F401
from .cases import CASES
from .simulate import Equation, assert_same, find_equation, plain, run_split, run_whole, strategies

pytestmark = pytest.mark.usefixtures("strict_jax")


@cache
def _equation(key: str) -> Equation:
    case = CASES[key]
    return find_equation(case.primitive, case.function, case.arrays())


def equation_of(key: str) -> Equation:
    case = CASES[key]
    if not case.exists:
        pytest.skip(f"this JAX has no {case.primitive}")
    return _equation(key)


def test_every_primitive_has_a_case():
    missing = set(DEFINITIONS) - {case.primitive for case in CASES.values()}
    assert not missing, f"without a case: {sorted(missing)}"


@pytest.mark.parametrize("key", sorted(CASES))
def test_rule_fits_the_shapes(key):
    equation = equation_of(key)
    rule, spec = equation.rule, equation.spec
    for avals, values in ((spec.operands, rule.operands), (spec.results, rule.results)):
        assert len(avals) == len(values)
        for aval, dims in zip(avals, values, strict=True):
            sizes = [int(np.prod([rule.factors[f].size for f in dim])) if dim else None for dim in dims]
            assert len(dims) == len(aval.shape)
            assert all(size in (None, full) for size, full in zip(sizes, aval.shape, strict=True)), (aval, dims)
    kinds = {factor.kind for factor in rule.factors}
    assert kinds <= {"parallel", "whole", *REDUCTIONS}
    names = {factor.name for factor in rule.factors}
    assert all(name in names for group in rule.work.matmul for name in group)


@pytest.mark.parametrize("key", sorted(CASES))
def test_split_equals_whole(key):
    equation = equation_of(key)
    for degrees in strategies(equation.spec, equation.rule):
        for actual, expected in zip(run_split(equation, degrees), equation.results, strict=True):
            assert_same(actual, expected, CASES[key].tolerance)


FREE = """bitcast_convert_type copy device_put empty2 name optimization_barrier random_clone random_unwrap random_wrap
    reshape sharding_constraint squeeze stop_gradient"""


@pytest.mark.parametrize("key", sorted(CASES))
def test_only_listed_primitives_are_free(key):
    assert (equation_of(key).rule.work.unit == "free") == (CASES[key].primitive in FREE.split())


def summands(value, rng):
    """Two random values that add up to the given one."""
    value = plain(value)
    noise = rng.integers(0, 50, value.shape) if value.dtype.kind in "iu" else rng.normal(size=value.shape)
    first = noise.astype(value.dtype)
    return jnp.asarray(first), jnp.asarray(value - first)


@pytest.mark.parametrize("key", sorted(CASES))
def test_partial_operands_give_partial_results(key):
    equation = equation_of(key)
    rng = np.random.default_rng(0)
    for group in equation.rule.linear:
        halves = {position: summands(equation.values[position], rng) for position in group}
        parts = []
        for half in (0, 1):
            values = [halves[at][half] if at in halves else value for at, value in enumerate(equation.values)]
            parts.append(run_whole(equation, values))
        for first, second, expected in zip(*parts, equation.results, strict=True):
            assert_same(jnp.asarray(first + second), expected, max(1e-5, CASES[key].tolerance))
