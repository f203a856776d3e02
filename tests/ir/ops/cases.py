"""The registry of cases: for every primitive, small functions whose trace contains it with dims worth splitting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import jax
import numpy as np


@dataclass(frozen=True, slots=True)
class Case:
    """One function that contains a primitive.

    Attributes:
      arguments: descriptions, made into arrays by `arrays`.
      tolerance: relative, of the largest entry; integers are compared exactly.
      since: the JAX version that first has the primitive.
    """

    primitive: str
    label: str
    function: Callable[..., Any]
    arguments: Sequence[Any]
    tolerance: float = 2e-6
    since: tuple[int, ...] = (0, 10)

    @property
    def exists(self) -> bool:
        return jax.__version_info__ >= self.since

    def arrays(self) -> list[Any]:
        rng = np.random.default_rng(crc32(f"{self.primitive} {self.label}".encode()))
        return [argument(rng) for argument in self.arguments]


CASES: dict[str, Case] = {}


def case(primitive: str, function: Callable[..., Any], *arguments: Any, label: str = "", **options: Any) -> None:
    """Registers a case; several of one primitive need labels."""
    key = f"{primitive}:{label}" if label else primitive
    assert key not in CASES, f"two cases are called {key}"
    CASES[key] = Case(primitive, label, function, arguments, **options)


def real(*shape: int, low: float = 0.1, high: float = 0.9, dtype: str = "float32") -> Callable[..., Any]:
    """Uniform numbers, by default where every special function is defined."""
    return lambda rng: rng.uniform(low, high, shape).astype(dtype)


def signed(*shape: int) -> Callable[..., Any]:
    """Normal float32 numbers."""
    return lambda rng: rng.normal(size=shape).astype("float32")


def integers(*shape: int, low: int = 0, high: int = 100, dtype: str = "int32") -> Callable[..., Any]:
    """Integers in [low, high)."""
    return lambda rng: rng.integers(low, high, shape).astype(dtype)


def bools(*shape: int) -> Callable[..., Any]:
    """Fair bools."""
    return lambda rng: rng.integers(0, 2, shape).astype(bool)


def complexes(*shape: int) -> Callable[..., Any]:
    """Normal complex64 numbers."""
    return lambda rng: (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("complex64")


def permutation(size: int) -> Callable[..., Any]:
    """Each of 0 ... size - 1 once."""
    return lambda rng: rng.permutation(size).astype("int32")


def positive(*batch: int, size: int) -> Callable[..., Any]:
    """Symmetric positive definite float32 matrices [*batch, size, size]."""

    def make(rng: np.random.Generator) -> np.ndarray:
        root = rng.normal(size=(*batch, size, size))
        return (root @ np.swapaxes(root, -1, -2) + size * np.eye(size)).astype("float32")

    return make


def keys(*shape: int, impl: str | None = None) -> Callable[..., Any]:
    """Typed PRNG keys."""

    def make(rng: np.random.Generator) -> Any:
        key = jax.random.key(int(rng.integers(1000)), impl=impl)
        return jax.random.split(key, shape) if shape else key

    return make
