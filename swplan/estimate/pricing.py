"""Prices rows at many degrees at once: the same functions as for a finished plan, on arrays over strategies [S].

Ops whose work and traffic are divided alike cost `seconds / parts`: they are added up before any strategy is looked
at. What is left (products, exchanges) is priced row by row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from swplan.costmodel.chip import Chip
from swplan.costmodel.cluster import Cluster
from swplan.costmodel.compute import time_s, turning_s
from swplan.costmodel.work import Count, Matmul, Work
from swplan.estimate.batch import PIPE, Batch, distinct, parts_of
from swplan.estimate.groups import lines_of, members_per_tier
from swplan.estimate.kernels import work_of
from swplan.estimate.rows import GATHER, MICRO, MoveRow, OpRow, Place, Rows
from swplan.ir.layout import Layout
from swplan.search.pricing import Split, split_by


class Cause(NamedTuple):
    """What a time is for: the place in the step, and the axis of an exchange ("" for work of the device itself)."""

    stage: str
    axis: str
    layered: bool
    rate: str


Seconds = dict[Cause, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Rows sorted for pricing, before any chip.

    Attributes:
        rows: what was sorted.
        groups: of ops that are divided alike: cause, axes that divide, whether micro-batches do.
        group: the group of each such op [R].
        work: of each undivided, numbers [R, 1].
        count: runs of each [R].
        mixed: the other ops.
        issued: cause -> ops and exchanges that the host starts.
    """

    rows: Rows
    groups: tuple[tuple[Cause, frozenset[str], bool], ...]
    group: np.ndarray
    work: Work
    count: np.ndarray
    mixed: tuple[OpRow, ...]
    issued: Mapping[Cause, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Times of all rows of a template on a chip.

    Attributes:
        sorted: what is priced.
        chip: the target.
        uniform: seconds of each group, undivided [G].
        launches: seconds of each group that nothing divides [G].
    """

    sorted: Sorted
    chip: Chip
    uniform: np.ndarray
    launches: np.ndarray

    @property
    def rows(self) -> Rows:
        """The rows."""
        return self.sorted.rows

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the template."""
        return self.rows.template.axes

    def sizes(self, batch: Batch, is_batch: bool) -> list[np.ndarray]:
        """Sizes of the axes of layouts [S]: what depends on the batch is also divided by micro-batches."""
        own = [batch.degree(axis) for axis in self.axes]
        if is_batch and "data" in self.axes:
            own[self.axes.index("data")] = batch.parts
        return own


def sort_rows(rows: Rows) -> Sorted:
    """Sorts rows by what divides them."""
    axes = rows.template.axes
    groups: dict[tuple[Cause, frozenset[str], bool], int] = {}
    uniform, mixed, issued = [], [], defaultdict(float)
    for move in rows.moves:
        issued[cause_of(move.place, _axis_of(move, axes))] += move.count
    for row in rows.ops:
        issued[cause_of(row.place, "")] += launches(row, rows) * row.count
        split = split_by(row.op.rule, row.split, [np.array([2 + 2 * a]) for a in range(len(axes))])
        if _is_uniform(row, split, rows):
            uniform.append((groups.setdefault(_group(row, axes), len(groups)), _whole_work(row, rows), row.count))
        else:
            mixed.append(row)
    return Sorted(
        rows=rows,
        groups=tuple(groups),
        group=np.array([group for group, _, _ in uniform], int),
        work=_stacked([work for _, work, _ in uniform], 1),
        count=np.array([count for _, _, count in uniform]),
        mixed=tuple(mixed),
        issued=issued,
    )


def prices(made: Sorted, chip: Chip) -> Prices:
    """Adds up, group by group, what a chip needs for what is divided alike."""
    launch_s = made.work.launches[:, 0] * chip.op_overhead_s * made.count
    seconds = time_s(made.work, chip)[:, 0] * made.count - launch_s
    by_group = lambda x: np.bincount(made.group, weights=x, minlength=len(made.groups))  # noqa: E731
    return Prices(sorted=made, chip=chip, uniform=by_group(seconds), launches=by_group(launch_s))


def _stacked(works: Sequence[Work], count: int) -> Work:
    """Works of one sort (no products, or one each in the same precision) as one: its numbers are arrays [R, S].

    Args:
        works: of `count` strategies each.
        count: how many.
    """

    def number(of: Callable[[Work], Count]) -> np.ndarray:
        table = np.empty((len(works), count))
        for row, work in zip(table, works, strict=True):
            row[:] = of(work)
        return table

    precisions = sorted({precision for work in works for precision in work.vector_flops})
    return Work(
        matmuls=(_product(works, number),) if works and works[0].matmuls else (),
        vector_flops={p: number(lambda work, p=p: work.vector_flops.get(p, 0.0)) for p in precisions},
        special_flops=number(lambda work: work.special_flops),
        read_bytes=number(lambda work: work.read_bytes),
        written_bytes=number(lambda work: work.written_bytes),
        launches=number(lambda work: work.launches),
        matmul_bytes=number(lambda work: work.matmul_bytes),
    )


def _product(works: Sequence[Work], number: Callable[[Callable[[Work], Count]], np.ndarray]) -> Matmul:
    sides = {side: number(lambda work, side=side: getattr(work.matmuls[0], side)) for side in ("batch", "m", "n", "k")}
    first = works[0].matmuls[0]
    return Matmul(**sides, precision=first.precision, fused=first.fused)


def launches(row: OpRow, rows: Rows) -> int:
    """Kernels that one run of an op starts."""
    return int(row.op.rule.work.unit != "free" and any(v not in rows.template.fused for v in row.op.results))


def _is_uniform(row: OpRow, split: Split, rows: Rows) -> bool:
    """Whether everything that an op reads, writes and does is divided by the same axes."""
    if row.op.rule.work.unit == "matmul":
        return False
    goes, avals = rows.template.fused.traffic(row.op), rows.template.graph.avals
    values = zip((*row.op.operands, *row.op.results), (*split.operands, *split.results), goes, strict=True)
    parts = {int(n[0]) for v, n, does in values if does and avals[v].shape}
    return parts <= {int(split.work[0])}


def _group(row: OpRow, axes: tuple[str, ...]) -> tuple[Cause, frozenset[str], bool]:
    own = frozenset(axis for axis, entry in zip(axes, row.split, strict=True) if entry >= 0)
    own |= {PIPE} if row.place.stacked else frozenset()
    return cause_of(row.place, ""), own, row.place.rate == MICRO


def _whole_work(row: OpRow, rows: Rows) -> Work:
    whole = split_by(row.op.rule, row.split, [np.array([1])] * len(rows.template.axes))
    return work_of(row, rows, whole)


def cause_of(place: Place, axis: str) -> Cause:
    """What the time of a row at a place is for."""
    return Cause(place.stage, axis, place.layered, place.rate)


def seconds_of(made: Prices, batch: Batch, cluster: Cluster) -> Seconds:
    """Seconds of all runs of a step as if there were one micro-batch's worth of each [S], by cause."""
    found: Seconds = defaultdict(lambda: np.zeros(batch.count))
    for (cause, axes, is_micro), seconds, launch_s in zip(made.sorted.groups, made.uniform, made.launches, strict=True):
        found[cause] += seconds / parts_of(axes, batch, is_micro) + launch_s
    for row, seconds in _op_seconds(made, batch):
        found[cause_of(row.place, "")] += seconds * row.count / (batch.degree(PIPE) if row.place.stacked else 1)
    exchanges = _Exchanges(made, batch, cluster)
    for row in made.rows.moves:
        found[cause_of(row.place, _axis_of(row, made.axes))] += exchanges.seconds(row) * row.count
    return found


def _op_seconds(made: Prices, batch: Batch) -> Iterator[tuple[OpRow, np.ndarray]]:
    """Seconds of one run [S] of each op that has a part of its own; those whose work is of one sort together."""
    for is_batch in (False, True):
        sizes = made.sizes(batch, is_batch)
        first, which = distinct([*sizes, np.zeros(batch.count)])
        small = [size[first] for size in sizes]
        sorts: dict[tuple[str, bool], list[tuple[OpRow, Work]]] = defaultdict(list)
        for row in made.sorted.mixed:
            if (row.place.rate == MICRO) == is_batch:
                split = split_by(row.op.rule, row.split, small)
                work = work_of(row, made.rows, split)
                sorts[work.matmuls[0].precision if work.matmuls else "", row.is_inside].append((row, work))
        for found in sorts.values():
            seconds = time_s(_stacked([work for _, work in found], len(first)), made.chip)
            yield from ((row, own[which]) for (row, _), own in zip(found, seconds, strict=True))


def _axis_of(row: MoveRow, axes: tuple[str, ...]) -> str:
    """The axis that an exchange is counted for: `data` where it sums what examples left, else the first."""
    if row.step.kind in ("slice", "mask"):
        return "local"
    names = [axes[a] for a in row.step.axes]
    if names == ["replica"]:
        return "replica"
    return "data" if row.sums or "data" in names else names[0]


@dataclass(slots=True)
class _Exchanges:
    """Prices of exchanges on the meshes of one batch of strategies; equal groups are looked up once."""

    made: Prices
    batch: Batch
    cluster: Cluster
    lines: dict = field(default_factory=dict)

    def seconds(self, row: MoveRow) -> np.ndarray:
        """Seconds of one run [S]."""
        sizes = self.made.sizes(self.batch, row.is_batch)
        parts = np.minimum(self.degree(row.step.before, sizes), self.degree(row.step.after, sizes))
        parts = parts * self.batch.degree(PIPE) if row.place.stacked else parts
        buffer_bytes = row.whole_bytes // parts
        if row.step.kind in ("slice", "mask"):
            for axis in row.step.axes if row.step.kind == "slice" else ():
                buffer_bytes = buffer_bytes // sizes[axis]
            work = Work(read_bytes=buffer_bytes, written_bytes=buffer_bytes, launches=1)
            return np.asarray(time_s(work, self.made.chip))
        alpha_s, beta_s_per_byte = self.line(row)
        own = self.made.sizes(self.batch, is_batch=False)
        members = np.prod([own[axis] for axis in row.step.axes], axis=0)
        times = (alpha_s + beta_s_per_byte * buffer_bytes).min(axis=0)
        times = times + turning_s(row.step.kind, row.step.dim, buffer_bytes, members, self.made.chip)
        return np.where(buffer_bytes > 0, times, 0.0)

    def degree(self, layout: Layout, sizes: list[np.ndarray]) -> np.ndarray:
        """Into how many parts a layout splits a value [S]."""
        parts = np.ones(self.batch.count, np.int64)
        for entry, size in zip(layout, sizes, strict=True):
            parts = parts * size if entry >= 0 else parts
        return parts

    def line(self, row: MoveRow) -> tuple[np.ndarray, np.ndarray]:
        """The lines of all algorithms [A, S] for the groups of an exchange."""
        axes = frozenset(self.made.axes[a] for a in row.step.axes)
        key = (row.step.kind, axes)
        if key not in self.lines:
            members = self.members(axes)
            self.lines[key] = lines_of(row.step.kind, members, self.cluster)
        return self.lines[key]

    def members(self, axes: frozenset[str]) -> np.ndarray:
        """Members per tier [T, S]."""
        if axes not in self.lines:
            self.lines[axes] = members_per_tier(self.cluster, self.batch.degrees, self.batch.order, axes)
        return self.lines[axes]


def runs(cause: Cause, batch: Batch) -> np.ndarray:
    """How often a step does what belongs to a cause, as multiples of its count [S]."""
    if cause.rate == MICRO or (cause.rate == GATHER and batch.zero == 3):
        return batch.micro
    return np.ones(batch.count, np.int64)
