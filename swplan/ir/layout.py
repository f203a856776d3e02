"""Layouts: where every mesh axis lies on a value, and the collectives that lead from one layout to another.

A layout is a tuple with one entry for each mesh axis: the dim that the axis splits, or `REPLICATED`, or `SUM`,
`MAX`, `MIN` for a value of which every device along the axis holds a part that is still to be joined. Where several
axes
split one dim, the axis with the lower number is the major one, so a layout is one small tuple and equality is equality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

REPLICATED, SUM, MAX, MIN = -1, -2, -3, -4
PENDING = {"sum": SUM, "max": MAX, "min": MIN}
JOIN = {SUM: "sum", MAX: "max", MIN: "min"}

Layout = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One local operation or collective of a resharding.

    kind: "slice" (keep the own block), "mask" (all but the first device hold zeros), "all_reduce", "reduce_scatter",
    "all_gather", "all_to_all". `axes` are mesh axes, major first; `dim` is the dim that is split or joined (for
    all_to_all the dim that is newly split, and `source_dim` the one that is joined); `join` the reduction.
    """

    kind: str
    axes: tuple[int, ...]
    dim: int = -1
    source_dim: int = -1
    join: str = "sum"
    before: Layout = ()
    after: Layout = ()


def replicated(axes: int) -> Layout:
    """The layout in which every device holds the whole value."""
    return (REPLICATED,) * axes


def shift(layout: Layout, by: int) -> Layout:
    """The layout of the same value with `by` dims put in front (or removed, if negative)."""
    return tuple(entry + by if entry >= 0 else entry for entry in layout)


def degree(layout: Layout, sizes: Sequence[int]) -> int:
    """Into how many parts a layout splits a value."""
    return prod(size for entry, size in zip(layout, sizes, strict=True) if entry >= 0)


def local_shape(shape: Sequence[int], layout: Layout, sizes: Sequence[int]) -> tuple[int, ...]:
    """The shape that one device holds.

    Raises:
      AssertionError: a dim is not divisible; the search offers no such layout, so this is our bug.
    """
    local = list(shape)
    for entry, size in zip(layout, sizes, strict=True):
        if entry >= 0:
            assert local[entry] % size == 0, (
                f"swplan bug: dim {entry} of {tuple(shape)} is not divisible: {layout} {sizes}"
            )
            local[entry] //= size
    return tuple(local)


def divides(shape: Sequence[int], layout: Layout, sizes: Sequence[int]) -> bool:
    """Whether every dim can be split evenly by its axes."""
    local = list(shape)
    for entry, size in zip(layout, sizes, strict=True):
        if entry >= 0:
            if entry >= len(local) or local[entry] % size:
                return False
            local[entry] //= size
    return True


def spec(layout: Layout, rank: int, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """For each dim, the names of the axes that split it, major first."""
    return tuple(tuple(names[a] for a, entry in enumerate(layout) if entry == dim) for dim in range(rank))


@lru_cache(maxsize=200_000)
def reshard(source: Layout, target: Layout) -> tuple[Step, ...]:
    """The steps that lead from one layout to another, smallest buffers first.

    Greedy and canonical, so that what is priced is what runs: split locally, reduce-scatter, all-reduce (all axes in
    one), all-to-all, and gather only what stands in the way. A gathered axis that the target needs is split again.
    """
    current, steps = source, []
    while current != target:
        steps.append(_step(current, target))
        current = steps[-1].after
        assert len(steps) <= 4 * len(target) + 4, f"swplan bug: no way from {source} to {target}"
    return tuple(steps)


class _Move(NamedTuple):
    """A step but for the layouts between which it leads; see `Step`."""

    kind: str
    axes: tuple[int, ...]
    dim: int = -1
    source_dim: int = -1
    join: str = "sum"


@lru_cache(maxsize=200_000)
def _step(current: Layout, target: Layout) -> Step:
    """The next step: many ways end alike, since none remembers where it began."""
    move = _next_move(current, target)
    entry = {"all_reduce": REPLICATED, "all_gather": REPLICATED, "mask": SUM}.get(move.kind, move.dim)
    after = tuple([entry if axis in move.axes else held for axis, held in enumerate(current)])
    return Step(*move, current, after)


def _next_move(current: Layout, target: Layout) -> _Move:
    changed = [a for a, entry in enumerate(target) if current[a] != entry]
    entering = [a for a in changed if target[a] >= 0 and _can_enter(a, current, target)]
    for kind, entry in (("slice", REPLICATED), ("reduce_scatter", SUM)):
        ready = [a for a in entering if current[a] == entry]
        if ready:
            return _Move(kind, (ready[0],), target[ready[0]])
    for pending in (SUM, MAX, MIN):
        waiting = tuple([a for a in changed if current[a] == pending])
        if waiting:
            return _Move("all_reduce", waiting, join=JOIN[pending])
    masked = [a for a in changed if current[a] == REPLICATED and target[a] == SUM]
    if masked:
        return _Move("mask", (masked[0],))
    moving = [a for a in entering if _can_leave(a, current)]
    if moving:
        return _Move("all_to_all", (moving[-1],), target[moving[-1]], current[moving[-1]])
    return _gather(current, target, changed)


def _can_leave(axis: int, current: Layout) -> bool:
    return current[axis] >= 0 and current[axis] not in current[axis + 1 :]


def _can_enter(axis: int, current: Layout, target: Layout) -> bool:
    """Whether no minor axis splits the dim, and of the major ones those that shall."""
    dim = target[axis]
    return dim not in current[axis + 1 :] and all([(current[a] == dim) == (target[a] == dim) for a in range(axis)])


def _gather(current: Layout, target: Layout, changed: list[int]) -> _Move:
    """Gathers the minor-most axes that stand in the way, all that split the same dim in one collective."""
    in_way = {a for a in changed if current[a] >= 0}
    for axis in changed:
        dims = {current[axis], target[axis]}
        in_way |= {b for b in range(axis + 1, len(current)) if current[b] >= 0 and current[b] in dims}
    last = max(a for a in in_way if _can_leave(a, current))
    dim, axes = current[last], [last]
    for axis in range(last - 1, -1, -1):
        if current[axis] == dim:
            if axis not in in_way or target[axis] >= 0:
                break
            axes.insert(0, axis)
    if target[last] >= 0:
        axes = [last]
    return _Move("all_gather", tuple(axes), dim)
