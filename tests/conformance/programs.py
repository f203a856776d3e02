"""Random JAX programs, each made from a few numbers.

A program is a tuple of seeds, one for each of its operations: it is the same on every machine, is printed in one line,
and a smaller one is made by leaving seeds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .drafts import SIZES, Draft, Held, fit, sure
from .structure import grow, unread


@dataclass(frozen=True)
class Program:
    """A step `(state, batch) -> (new state, results)`.

    Attributes:
      seeds: of its operations.
      salt: of its inputs.
      stateful: whether it returns its state updated, so that inputs and outputs share buffers.
    """

    seeds: tuple[int, ...]
    salt: int
    stateful: bool

    @property
    def floats(self) -> tuple[str, ...]:
        """The float dtypes that it may use; in half of the programs only float32."""
        return ("float32",) if self.salt % 2 else ("float32", "float32", "bfloat16", "float16")

    @property
    def is_narrow(self) -> bool:
        """Whether any of its results may have the precision of 16-bit floats only."""
        return len(self.floats) > 1

    def inputs(self) -> tuple[list[Any], list[Any]]:
        """State and batch."""
        rng, numbers = Random(self.salt), np.random.default_rng(self.salt)

        def floating() -> Any:
            shape = tuple(rng.choice(SIZES) for _ in range(rng.choice((1, 2, 2, 3))))
            return jnp.asarray(numbers.uniform(-2, 2, shape), rng.choice(self.floats))

        state = [floating(), floating()]
        shape = (rng.choice(SIZES), rng.choice(SIZES))
        integers = jnp.asarray(numbers.integers(-20, 20, shape), jnp.int32)
        unsigned = jnp.asarray(numbers.integers(0, 2**32, shape[1:], np.uint32))
        flags = jnp.asarray(numbers.random((rng.choice(SIZES), rng.choice(SIZES))) < 0.5)
        return state, [floating(), integers, unsigned, flags, jax.random.key(self.salt)]

    def __call__(self, state: Sequence[Any], batch: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Runs the step, on arrays or while JAX traces it."""
        held = [*(Held(x, True, 2.0) for x in (*state, batch[0])), *map(sure, batch[1:])]
        draft = Draft(list(held), Random(self.salt), self.floats)
        draft.used = set(range(len(held)))
        grow(draft, self.seeds)
        results = [one.array for one in unread(draft, 8)]
        if not self.stateful:
            return [], results
        draft.rng = Random(self.salt)
        steps = [fit(draft.pick("float"), tuple(x.shape), x.dtype) for x in state]
        return [x * 0.9 + step * 0.1 for x, step in zip(state, steps, strict=True)], results


def program_of(seed: int) -> Program:
    """The program with this number."""
    rng = Random(seed)
    seeds = tuple(rng.randrange(2**32) for _ in range(rng.randint(4, 12)))
    return Program(seeds, rng.randrange(2**31), rng.random() < 0.4)
