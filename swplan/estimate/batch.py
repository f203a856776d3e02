"""Batches: strategies of one kind as arrays, to be priced together.

Much of what a strategy costs depends on its mesh and on how the examples are divided, not on the rest: `alike` finds
the strategies that share both, so that one of each is priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

PIPE = "pipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Strategies of one kind: the same axes in the same order, other degrees.

    Attributes:
        order: axes of the mesh, innermost on the network first.
        degrees: sizes of the axes [S], for every axis of the mesh.
        micro: micro-batches [S].
        parts: into how many parts the program's examples are divided along the data axis, by devices and in time [S].
        interleave: chunks of layers of a pipeline stage [S].
        zero: see `Strategy`.
    """

    order: tuple[str, ...]
    degrees: Mapping[str, np.ndarray]
    micro: np.ndarray
    parts: np.ndarray
    interleave: np.ndarray
    zero: int

    @property
    def count(self) -> int:
        """How many strategies."""
        return len(self.micro)

    def degree(self, axis: str) -> np.ndarray:
        """Sizes of an axis [S]; ones where the mesh does not have it."""
        return self.degrees[axis] if axis in self.degrees else np.ones(self.count, np.int64)

    def at(self, positions: np.ndarray) -> Batch:
        """The strategies at some positions."""
        return Batch(
            order=self.order,
            degrees={axis: sizes[positions] for axis, sizes in self.degrees.items()},
            micro=self.micro[positions],
            parts=self.parts[positions],
            interleave=self.interleave[positions],
            zero=self.zero,
        )


def parts_of(axes: Iterable[str], batch: Batch, is_batch: bool) -> np.ndarray:
    """Into how many parts some axes divide a value [S]."""
    parts = np.ones(batch.count)
    for axis in sorted(axes):
        parts = parts * (batch.parts if is_batch and axis == "data" else batch.degree(axis))
    return parts


class Alike(NamedTuple):
    """One strategy for every mesh and division of the examples [D], and which of them is like each [S]."""

    batch: Batch
    which: np.ndarray


def alike(batch: Batch) -> Alike:
    """Finds those with the same mesh and division of the examples."""
    first, which = distinct([*batch.degrees.values(), batch.parts])
    return Alike(batch.at(first), which)


def distinct(columns: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of columns [S] without repetition: the position of one of each kind [D], and the kind of every row [S]."""
    kinds, which = 1, np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, own = np.unique(column, return_inverse=True)
        if len(values) > 1:
            found, which = np.unique(which * len(values) + own.reshape(-1), return_inverse=True)
            kinds = len(found)
    first = np.zeros(kinds, np.int64)
    first[which] = np.arange(len(which))
    return first, which
