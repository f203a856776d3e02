"""Detail of one strategy: what a device computes and exchanges in a step, dearest first, each with what it takes.

The same rows as `pricing` prices, one strategy at a time: without overlap and pipelines their times add up to the
step time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.collectives import algorithm_names, collective_time_s
from swplan.costmodel.compute import breakdown, turning_s
from swplan.costmodel.network import Group
from swplan.costmodel.work import Work
from swplan.estimate.batch import PIPE, Batch
from swplan.estimate.groups import members_per_tier
from swplan.estimate.kernels import work_of
from swplan.estimate.pricing import Cause, Prices, runs
from swplan.estimate.result import Exchange, MeshAxis, OpPrice
from swplan.estimate.rows import MICRO, MoveRow, OpRow, Place
from swplan.estimate.schedule import border_bytes
from swplan.ir.device import Compute, walk_device
from swplan.search.pricing import split_by

LOCAL = ("slice", "mask")
"""Steps of a resharding for which devices exchange nothing."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One strategy, looked at row by row.

    Attributes:
        prices: of its kind.
        batch: it alone.
        cluster: the network.
    """

    prices: Prices
    batch: Batch
    cluster: Cluster

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the template, in the order of its layouts."""
        return self.prices.axes

    def sizes(self, is_batch: bool) -> list[float]:
        """Sizes of the axes of the template."""
        return [float(size[0]) for size in self.prices.sizes(self.batch, is_batch)]

    def degree(self, axis: str) -> int:
        """Size of an axis."""
        return int(self.batch.degree(axis)[0])

    def times(self, place: Place) -> float:
        """How often the fullest pipeline stage does in a step what stands at a place, as multiples of its count."""
        found = float(runs(Cause(place.stage, "", place.layered, place.rate), self.batch)[0])
        return found * self.share() if place.layered else found

    def share(self) -> float:
        """The part of the layers that the fullest pipeline stage holds."""
        layers, chunks = max(1, self.prices.rows.layers), int(self.batch.interleave[0])
        return -(-layers // (self.degree(PIPE) * chunks)) * chunks / layers

    def stages(self, place: Place) -> int:
        """Into how many parts pipeline stages divide what works on all layers at once."""
        return self.degree(PIPE) if place.stacked else 1

    def group(self, axes: frozenset[str]) -> Group:
        """The devices that differ along some axes."""
        members = members_per_tier(self.cluster, self.batch.degrees, self.batch.order, axes)
        return Group(per_tier=tuple(int(count) for count in members[:, 0]))

    def tiers(self, group: Group) -> tuple[str, ...]:
        """Names of the tiers that a group crosses."""
        pairs = zip(self.cluster.tiers, group.per_tier, strict=True)
        return tuple(tier.name for tier, count in pairs if count > 1)


def mesh_of(detail: Detail) -> tuple[MeshAxis, ...]:
    """The axes of the mesh, innermost first."""
    return tuple(
        MeshAxis(name=axis, size=detail.degree(axis), position=i, tiers=detail.tiers(detail.group(frozenset({axis}))))
        for i, axis in enumerate(detail.batch.order)
    )


def ops_of(detail: Detail) -> tuple[OpPrice, ...]:
    """Ops, and local parts of reshardings, dearest first."""
    sources = _sources(detail)
    totals: dict[tuple, list[float]] = defaultdict(lambda: [0.0] * 4)
    for row in detail.prices.rows.ops:
        work, source = _work(detail, row), sources[_key(row.op, row.split)]
        _add(totals, detail, row, work, (row.op.primitive, source, row.place.stage))
    for row in detail.prices.rows.moves:
        if row.step.kind in LOCAL:
            size = _move_bytes(detail, row)
            work = Work(read_bytes=size, written_bytes=size, launches=1)
            over = " and ".join(detail.axes[axis] for axis in row.step.axes)
            _add(totals, detail, row, work, (f"{row.step.kind} over {over}", "", row.place.stage))
    rows = (_op_price(key, total) for key, total in totals.items() if total[3] > 0)
    return tuple(sorted(rows, key=lambda op: (-op.time_s, op.primitive, op.source, op.stage)))


def _op_price(key: tuple, total: list[float]) -> OpPrice:
    primitive, source, stage, binding = key
    count, flops, moved, seconds = total
    return OpPrice(
        primitive=primitive,
        source=source,
        stage=stage,
        count=max(1, round(count)),
        flops=flops,
        bytes=moved,
        time_s=seconds,
        binding=binding,
    )


def _add(totals: dict, detail: Detail, row: OpRow | MoveRow, work: Work, key: tuple[str, ...]) -> None:
    parts = breakdown(work, detail.prices.chip)
    times, stages = row.count * detail.times(row.place), detail.stages(row.place)
    flops = sum(map(_number, work.flops.values())) + _number(work.special_flops)
    overhead_s = _number(parts.overhead_s)
    seconds = (_number(parts.time_s) - overhead_s) / stages + overhead_s
    entry = totals[*key, str(np.asarray(parts.binding).reshape(-1)[0])]
    for i, amount in enumerate((1.0, flops / stages, _number(work.bytes) / stages, seconds)):
        entry[i] += amount * times


def _work(detail: Detail, row: OpRow) -> Work:
    rows = detail.prices.rows
    split = split_by(row.op.rule, row.split, detail.prices.sizes(detail.batch, row.place.rate == MICRO))
    return work_of(row, rows, split)


def _number(value: float | np.ndarray) -> float:
    return float(np.asarray(value).reshape(-1)[0])


def _key(op: object, split: Sequence[int]) -> tuple:
    return id(op.rule), tuple(split), op.stage


def _sources(detail: Detail) -> dict[tuple, str]:
    """Where the ops of each row stand in the user's program: the first line, and how many others."""
    lines: dict[tuple, dict[str, None]] = defaultdict(dict)
    for op, _ in walk_device(detail.prices.rows.template.program.top):
        if isinstance(op, Compute):
            lines[_key(op.op, op.strategy)][op.op.source] = None
    return {key: _lines_text(list(found)) for key, found in lines.items()}


def _lines_text(lines: list[str]) -> str:
    others = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return lines[0] + others


def exchanges_of(detail: Detail) -> tuple[Exchange, ...]:
    """Exchanges with their algorithms, equal ones counted together, dearest first."""
    totals: dict[tuple, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for kind, dim, axes, stage, size, count in (*_moves(detail), *_handed_on(detail)):
        group = detail.group(frozenset(axes))
        if group.size > 1 and size > 0:
            seconds, algorithm = collective_time_s(kind, group, size, detail.cluster)
            entry = totals[kind, axes, stage, size, algorithm_names(kind)[algorithm]]
            entry[0] += count
            entry[1] += count * (seconds + turning_s(kind, dim, size, group.size, detail.cluster.chip))
    rows = (_exchange(detail, key, total) for key, total in totals.items())
    return tuple(sorted(rows, key=lambda e: (-e.time_s, e.kind, e.axes, e.bytes)))


def _exchange(detail: Detail, key: tuple, total: list[float]) -> Exchange:
    kind, axes, stage, size, algorithm = key
    group = detail.group(frozenset(axes))
    return Exchange(
        kind=kind,
        axes=axes,
        group_size=group.size,
        tiers=detail.tiers(group),
        bytes=size,
        count=max(1, round(total[0])),
        algorithm=algorithm,
        time_s=total[1],
        stage=stage,
    )


Move = tuple[str, int, tuple[str, ...], str, int, float]


def _moves(detail: Detail) -> Iterator[Move]:
    for row in detail.prices.rows.moves:
        if row.step.kind not in LOCAL:
            axes = tuple(detail.axes[axis] for axis in row.step.axes)
            count = row.count * detail.times(row.place)
            yield row.step.kind, row.step.dim, axes, row.place.stage, _move_bytes(detail, row), count


def _move_bytes(detail: Detail, row: MoveRow) -> int:
    """Bytes of one device, as `search.pricing` counts them: of a slice, what it keeps."""
    sizes = detail.sizes(row.is_batch)
    parts = (
        prod(size for entry, size in zip(layout, sizes, strict=True) if entry >= 0)
        for layout in (row.step.before, row.step.after)
    )
    whole = row.whole_bytes // (min(parts) * detail.stages(row.place))
    return int(whole // prod(sizes[axis] for axis in row.step.axes)) if row.step.kind == "slice" else int(whole)


def _handed_on(detail: Detail) -> Iterator[Move]:
    """What pipeline stages hand on to one another, in both directions."""
    if detail.degree(PIPE) > 1:
        size = int(border_bytes(detail.prices, detail.batch)[0])
        count = float(detail.batch.interleave[0] * detail.batch.micro[0])
        for stage in ("forward", "backward"):
            yield "permute", 0, (PIPE,), stage, size, count
