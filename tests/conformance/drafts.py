"""What a random program is grown from: the values made so far, and how an operation picks its operands among them.

Two promises keep a comparison with tolerances meaningful. A float is *exact* if it only moved since it was an input or
a constant; integers and bools are made of exact values alone, so that a sum in another order never turns into another
index or branch. And every value has a known *bound*, which is kept small: nothing overflows, not even in float16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from random import Random
from typing import Any

import jax
import jax.numpy as jnp

SIZES = (2, 3, 4, 4, 5, 6, 8, 8, 8, 12, 16, 16)
LARGEST, HIGHEST_RANK, BOUND = 2048, 4, 16.0


class Unfit(Exception):
    """An operation finds no operands here; another one is tried."""


@dataclass(frozen=True, slots=True)
class Held:
    """A value of the program."""

    array: Any
    exact: bool = False
    bound: float = 2.0

    @property
    def kind(self) -> str:
        """One of "float", "int", "bool", "key"."""
        dtype = self.array.dtype
        if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
            return "key"
        return "float" if jnp.issubdtype(dtype, jnp.floating) else "bool" if jnp.issubdtype(dtype, jnp.bool_) else "int"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


def moved(held: Held, array: Any) -> Held:
    """The same elements elsewhere."""
    return replace(held, array=array)


def near(array: Any, bound: float) -> Held:
    """A float that was computed, so that it may differ by rounding; squashed where it could grow too large."""
    return Held(array, False, bound) if bound <= BOUND else Held(jnp.tanh(array), False, 1.0)


def sure(array: Any) -> Held:
    """An integer or a bool that was computed from exact values."""
    return Held(array, True, 0.0)


@dataclass(slots=True)
class Draft:
    """A program that grows.

    Attributes:
      pool: its values so far.
      rng: makes all choices of the operation that is added now.
      floats: the float dtypes that it may use.
      depth: how many regions it lies in.
      smooth: whether it is differentiated, so that kinks must lie at exact values.
      used: positions in the pool that something read.
    """

    pool: list[Held]
    rng: Random
    floats: tuple[str, ...]
    depth: int = 0
    smooth: bool = False
    used: set[int] = field(default_factory=set)

    def pick(
        self, *kinds: str, ranks: Sequence[int] = range(HIGHEST_RANK + 1), test: Callable[[Held], bool] | None = None
    ) -> Held:
        """One of the values that fit; a late one as often as all the others together."""
        fits = [
            at
            for at, held in enumerate(self.pool)
            if held.kind in kinds and len(held.shape) in ranks and (test is None or test(held))
        ]
        if not fits:
            raise Unfit
        at = self.rng.choice(fits[-4:] if self.rng.random() < 0.5 else fits)
        self.used.add(at)
        return self.pool[at]

    def exact(self, *kinds: str, ranks: Sequence[int] = range(HIGHEST_RANK + 1)) -> Held:
        """One of the exact values."""
        return self.pick(*kinds, ranks=ranks, test=lambda held: held.exact)

    def kinked(self, ranks: Sequence[int] = range(HIGHEST_RANK + 1)) -> Held:
        """A float for an operation with kinks."""
        return self.pick("float", ranks=ranks, test=lambda held: held.exact or not self.smooth)

    def index(self) -> Any:
        """An int32 scalar between -16 and 16, known when the program runs."""
        held = self.pick("int")
        scalar = held.array if not held.shape else jnp.max(held.array)
        return (scalar % 17).astype(jnp.int32) * self.rng.choice((1, 1, -1))

    def indices(self, shape: tuple[int, ...], limit: int) -> Any:
        """int32 indices [shape] within `limit`, of values where there are some."""
        return (fit(self.pick("int"), shape, jnp.int32) % limit).astype(jnp.int32)

    def axis(self, held: Held) -> int:
        """A dim of a value."""
        return self.rng.randrange(len(held.shape))

    def axes(self, held: Held) -> tuple[int, ...]:
        """One dim or more."""
        rank = len(held.shape)
        return tuple(sorted(self.rng.sample(range(rank), self.rng.randint(1, rank))))

    def below(self, rng_seed: int, pool: list[Held], smooth: bool = False) -> Draft:
        """The draft of a region inside this one."""
        return Draft(pool, Random(rng_seed), self.floats, self.depth + 1, self.smooth or smooth)


def checked(held: Held) -> Held:
    """The value, unless it is too large for a small program."""
    if len(held.shape) > HIGHEST_RANK or not 0 < prod(held.shape) <= LARGEST:
        raise Unfit
    return held


def cast(held: Held, dtype: Any) -> Any:
    """The array in another dtype, small if it becomes a float. Only exact floats become anything but a float."""
    dtype = jnp.dtype(dtype)
    floating = jnp.issubdtype(dtype, jnp.floating)
    if held.kind == "int" and floating:
        return ((held.array % 16).astype(jnp.int32) - 8).astype(dtype)
    assert held.exact or floating, "a rounding error would become an integer"
    return held.array.astype(dtype)


def fit(held: Held, shape: tuple[int, ...], dtype: Any) -> Any:
    """The array, or what is left of it, in another shape and dtype."""
    array = cast(held, dtype)
    if array.shape == shape:
        return array
    if array.size == prod(shape):
        return array.reshape(shape)
    if len(array.shape) <= len(shape) and all(
        a in (1, b) for a, b in zip(array.shape[::-1], shape[::-1], strict=False)
    ):
        return jnp.broadcast_to(array, shape)
    if array.dtype == bool:
        return jnp.broadcast_to(jnp.any(array), shape)
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.broadcast_to(jnp.mean(array) if floating else jnp.sum(array), shape).astype(dtype)
