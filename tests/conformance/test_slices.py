"""A slice of a slice that starts outside, which XLA's simplifier reads at the wrong place (openxla/xla#49121).

jax 0.10.2 merges the slice that swplan takes of a value with one that the program takes of it, and forgets that the
start of either is clamped. A scatter of one index is such a slice. Random programs found it.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from .plans import RandomPlan, mistakes, run_plan
from .test_mutants import Fixed

STEPS = {
    "dynamic_slice": lambda x, at: lax.dynamic_slice(x, (at.astype(jnp.int32)[0],), (8,)),
    "set": lambda x, at: x.at[at.astype(jnp.int32)[0]].set(5.0, mode="drop"),
    "max": lambda x, at: x.at[at.astype(jnp.int32)].max(5.0, mode="drop"),
}


class Outside(Fixed):
    """A program that is given 16 numbers and an index that is too large."""

    def inputs(self):
        return [jnp.asarray(np.random.default_rng(0).uniform(-1, 1, 16), jnp.float32), jnp.full(2, 20.0)]


@pytest.mark.parametrize("name", STEPS)
def test_a_slice_of_a_slice_is_read_at_the_right_place(name):
    program = Outside(name, STEPS[name], ())
    for seed in range(6):
        assert not mistakes(program, run_plan(program, RandomPlan((2, 2, 2), (0, 1, 2), seed)))
