"""Every planted wrong rewrite is noticed by one of a few fixed programs under fixed plans; `-rP` shows by which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from .mutants import MUTANTS, Mutant
from .plans import RandomPlan, differences, lower_plan, run_plain


@dataclass(frozen=True)
class Fixed:
    """A program written by hand, with the face of a random one."""

    name: str
    step: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    stateful: bool = False
    is_narrow: bool = False

    def inputs(self) -> list[Any]:
        numbers = np.random.default_rng(7)
        return [jnp.asarray(numbers.uniform(-1, 1, shape), jnp.float32) for shape in self.shapes]

    def __call__(self, *arguments: Any) -> Any:
        return self.step(*arguments)


def layers(x, first, second):
    """Two layers and their gradients."""

    def loss(first, second):
        return jnp.mean((jnp.tanh(x @ first) @ second + x) ** 2)

    return jax.value_and_grad(loss, (0, 1))(first, second)


def loops(x, weight):
    """Sums and products carried by a scan, one forward and one backward."""

    def body(carry, row):
        carry = carry * 0.5 + jnp.sum(weight * row, 0)
        return carry, carry[:, None] * row

    return lax.scan(body, x[0], x), lax.scan(body, x[0], x, reverse=True)


def picks(x, table):
    """Indices, counting and random numbers."""
    indices = jnp.argsort(x[0])
    noise = jax.random.normal(jax.random.key(3), (8, 16))
    counted = lax.broadcasted_iota(jnp.float32, (8, 16), 1) + lax.broadcasted_iota(jnp.float32, (8, 16), 0)
    return table[indices] * 0.5, jnp.zeros((16, 8)).at[indices].add(table), noise + counted, x.T + x.mean()


def turns(x, y):
    """Shapes, and equations that differ in their params alone."""
    left, right = jnp.sum(x, 0), jnp.sum(x, 1)
    both = left[:, None] * right + jnp.cumsum(x, 0) * jnp.max(y, 1)
    return both.reshape(4, 2, 8).transpose(2, 0, 1) * 0.1, x @ y + x, jnp.cumsum(y, 1) - y.T


PROGRAMS = (
    Fixed("layers", layers, ((8, 8), (8, 16), (16, 8))),
    Fixed("turns", turns, ((8, 8), (8, 8))),
    Fixed("loops", loops, ((4, 16), (8, 16))),
    Fixed("picks", picks, ((8, 16), (16, 8))),
)
PLANS = (
    RandomPlan((2, 4), (1, 0), 1),
    RandomPlan((2, 2, 2), (0, 2, 1), 2),
    RandomPlan((4, 2), (0, 1), 3),
    RandomPlan((8,), (0,), 4),
)
PAIRS = [(program, plan) for plan in PLANS for program in PROGRAMS]
NAMES = [f"{program.name} on {'x'.join(map(str, plan.sizes))}" for program, plan in PAIRS]


@cache
def expected(program: Fixed) -> list[Any]:
    return run_plain(program)


@cache
def unchanged(pair: int) -> str:
    """The lowered step of a pair as swplan makes it."""
    return lower_plan(*PAIRS[pair]).lowered.as_text()


def notices(pair: int) -> bool:
    """Whether a pair gives other results than it should; not asked where nothing changed, or nothing runs any more."""
    program, plan = PAIRS[pair]
    try:
        planned = lower_plan(program, plan)
    except (TypeError, ValueError, AssertionError):
        return False
    if planned.lowered.as_text() == unchanged(pair):
        return False
    return bool(differences(program, expected(program), list(planned.compile()(*planned.inputs))))


@pytest.fixture(scope="module", autouse=True)
def before_any_mutant():
    for pair in range(len(PAIRS)):
        unchanged(pair)


@pytest.mark.parametrize("pair", range(len(PAIRS)), ids=NAMES)
def test_the_pairs_are_right_without_mutants(pair):
    program, plan = PAIRS[pair]
    planned = lower_plan(program, plan)
    assert not differences(program, expected(program), list(planned.compile()(*planned.inputs)))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.label)
def test_a_wrong_rewrite_is_noticed(mutant: Mutant, monkeypatch, record_property):
    mutant.plant(monkeypatch)
    found = next((name for pair, name in enumerate(NAMES) if notices(pair)), None)
    assert found, f"no pair notices that {mutant.label}"
    record_property("noticed by", found)
    print(f"{mutant.label}: noticed by '{found}'")
