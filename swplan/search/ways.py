"""Ways between layouts: from every layout to every other one, as numbers of lists of steps that are priced once.

For pricing.py and frame.py. No mesh size and no network is known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from swplan.costmodel.compute import TURNED
from swplan.ir.layout import Layout, Step, reshard

KINDS = tuple((kind, 0) for kind in ("slice", "mask", "all_reduce", "all_to_all", *TURNED)) + tuple(
    (kind, 1) for kind in TURNED
)
"""Kinds of steps, and whether they are along an inner dim, where that counts."""


def is_inner(step: Step) -> int:
    """1 where it counts that a step is along an inner dim, and it is; else 0."""
    return int(step.kind in TURNED and step.dim > 0)


@dataclass(slots=True)
class Ways:
    """The distinct ways between layouts that were met, on meshes of so many axes: positions of steps in their prices.

    The way with number 0 has no steps.
    """

    numbers: dict[tuple[int, ...], int] = field(default_factory=lambda: {(): 0})

    def steps(self) -> np.ndarray:
        """[ways, steps], padded with the step that costs nothing."""
        longest = max(map(len, self.numbers))
        return np.array([(*way, *(0,) * (longest - len(way))) for way in self.numbers], np.int64).reshape(
            len(self.numbers), longest
        )


@cache
def ways(axes: int) -> Ways:
    """Those on meshes of so many axes."""
    return Ways()


ENTRIES = 32
"""More than the entries that two layouts can have after inner dims are renamed, those below zero among them."""


@lru_cache(maxsize=65536)
def path_numbers(sources: tuple[Layout, ...], targets: tuple[Layout, ...]) -> np.ndarray:
    """For each pair of layouts the number of the way from one to the other; 0: they are equal [S, T].

    Of layouts that differ in the names of inner dims only, all ways are one: no step depends on these names.
    """
    (some, sources_at), (others, targets_at) = _distinct(sources), _distinct(targets)
    shape, axes = (len(some), len(others)), len(sources[0])
    ends = np.array(some).reshape(len(some), 1, axes), np.array(others).reshape(1, len(others), axes)
    joined = np.concatenate([np.broadcast_to(end, (*shape, axes)) for end in ends], axis=2)
    pairs = _renamed(joined.reshape(len(some) * len(others), 2 * axes))
    codes = (pairs + ENTRIES // 2) @ ENTRIES ** np.arange(2 * axes)
    _, first, at = np.unique(codes, return_index=True, return_inverse=True)
    numbers = [_path_number(tuple(row[:axes]), tuple(row[axes:])) for row in pairs[first].tolist()]
    return np.array(numbers, np.int64)[at].reshape(shape)[sources_at[:, None], targets_at]


def _distinct(layouts: Sequence[Layout]) -> tuple[list[Layout], np.ndarray]:
    """The different layouts, and which of them each is."""
    numbers: dict[Layout, int] = {}
    at = np.array([numbers.setdefault(layout, len(numbers)) for layout in layouts], np.int64)
    return list(numbers), at


def _renamed(rows: np.ndarray) -> np.ndarray:
    """Rows of entries in which inner dims have the names 1, 2, ... in the order in which they come."""
    named, count = rows.copy(), np.zeros(len(rows), np.int64)
    for column in range(rows.shape[1]):
        fresh = rows[:, column] > 0
        for before in range(column):
            same = fresh & (rows[:, before] == rows[:, column])
            named[same, column] = named[same, before]
            fresh &= ~same
        count += fresh
        named[fresh, column] = count[fresh]
    return named


@lru_cache(maxsize=200_000)
def _path_number(source: Layout, target: Layout) -> int:
    numbers = ways(len(source)).numbers
    return numbers.setdefault(tuple(_step_index(step, len(source)) for step in reshard(source, target)), len(numbers))


@lru_cache(maxsize=65536)
def _step_index(step: Step, axes: int) -> int:
    held = sum(1 << a for a in range(axes) if step.before[a] >= 0 and step.after[a] >= 0)
    if step.kind == "all_to_all":
        held |= sum(1 << a for a in step.axes)
    mask = sum(1 << a for a in step.axes)
    return 1 + (KINDS.index((step.kind, is_inner(step))) * (1 << axes) + mask) * (1 << axes) + held
