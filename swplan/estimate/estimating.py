"""Estimates: what a program costs under strategies, many at once. Templates are made once for each kind of strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from swplan.costmodel.chip import Chip
from swplan.costmodel.cluster import Cluster
from swplan.errors import UsageError
from swplan.estimate.batch import PIPE, Batch, alike
from swplan.estimate.capacity import slots_of
from swplan.estimate.memory import Moments, bytes_of, moments_of
from swplan.estimate.pricing import Prices, Sorted, prices, sort_rows
from swplan.estimate.recompute import again
from swplan.estimate.rows import Rows, rows_of
from swplan.estimate.schedule import Parts, step_parts
from swplan.estimate.strategy import Strategy
from swplan.estimate.template import examples, template
from swplan.ir.graph import Graph, walk
from swplan.passes.partition import Choices
from swplan.search.subject import Subject, subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Costs of strategies of one kind, each an array over them [S].

    Attributes:
        parts: seconds of a step by part; see `schedule.PARTS`.
        peak_bytes: memory of one device.
        by_role: the same at the peak, by role.
    """

    parts: Parts
    peak_bytes: np.ndarray
    by_role: dict[str, np.ndarray]

    @property
    def step_time_s(self) -> np.ndarray:
        """Seconds of a step [S]."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Kind:
    """What strategies share that are priced together; all but their degrees."""

    order: tuple[str, ...]
    split: frozenset[str]
    zero: int
    overlap: tuple[str, ...]
    sequence: bool
    attention: str
    recompute: str
    launch: str
    capacity: float

    @classmethod
    def of(cls, strategy: Strategy) -> Kind:
        """The kind of a strategy."""
        split = {axis for axis, size in strategy.mesh if size > 1 and axis != "pipe"}
        split |= {"data"} if strategy.micro_batches > 1 or strategy.global_batch else set()
        order = tuple(axis for axis, _ in strategy.mesh)
        same = (getattr(strategy, field) for field in cls.__slots__[2:])
        return cls(order, frozenset(split), *same)


@dataclass(slots=True)
class Estimator:
    """Prices strategies of one program on one chip.

    Attributes:
        graph: the program, in the precision in which it runs.
        cluster: the chip, and a number of devices that strategies need not have.
        known: decisions by kind of strategy; may be shared with estimators of the same program with other shapes.
    """

    graph: Graph
    cluster: Cluster
    known: dict[Kind, Choices] = field(default_factory=dict)
    _subject: Subject | None = None
    _rows: dict[Kind, tuple[Sorted, Moments]] = field(default_factory=dict)
    _prices: dict[tuple[Kind, Chip], Prices] = field(default_factory=dict)

    @property
    def subject(self) -> Subject:
        """The program prepared for decisions."""
        if self._subject is None:
            self._subject = subject(self.graph, self.cluster)
        return self._subject

    def rows(self, strategy: Strategy) -> tuple[Sorted, Moments]:
        """Rows and moments for the kind of a strategy.

        Raises:
            UsageError: the program has nothing that an axis could split.
        """
        kind = Kind.of(strategy)
        if kind not in self._rows:
            made = template(self.subject, strategy, self.known.get(kind))
            self.known.setdefault(kind, made.choices)
            is_rated = self.cluster.chip.attention_efficiency > 0
            rows = again(rows_of(made), strategy, is_rated)
            check_splits(rows, strategy)
            self._rows[kind] = sort_rows(rows), moments_of(rows, strategy)
        return self._rows[kind]

    def prices(self, strategy: Strategy, chip: Chip) -> Prices:
        """Prices of the rows of a kind of strategy on a chip."""
        key = Kind.of(strategy), chip
        if key not in self._prices:
            self._prices[key] = prices(self.rows(strategy)[0], chip)
        return self._prices[key]

    def costs(self, strategies: Sequence[Strategy], cluster: Cluster | None = None) -> Costs:
        """Costs of strategies of one kind, on this cluster or another of the same chip.

        Raises:
            UsageError: one has another number of devices than the cluster, or does not go with the program.
        """
        first, target = strategies[0], cluster or self.cluster
        for strategy in strategies:
            check(strategy, target)
            assert Kind.of(strategy) == Kind.of(first), "swplan bug: strategies of several kinds priced together"
        return self.costs_at(first, self.batch(strategies), target)

    def costs_at(self, kind: Strategy, batch: Batch, cluster: Cluster | None = None) -> Costs:
        """Costs of a batch of strategies of the kind of one, on this cluster or another of the same chip.

        Raises:
            UsageError: one has another number of devices than the cluster, or does not go with the program.
        """
        target = cluster or self.cluster
        check_batch(batch, kind, target)
        rows, moments = self.rows(kind)
        if PIPE in batch.degrees and batch.degrees[PIPE].max() > 1 and not rows.rows.layers:
            raise UsageError(f"strategy {kind}: pipeline stages share layers, and no layers are scanned here")
        return costs_of(self.prices(kind, target.chip), moments, batch, target, kind)

    def batch(self, strategies: Sequence[Strategy]) -> Batch:
        """Strategies of one kind as arrays."""
        number = lambda of: np.array([of(strategy) for strategy in strategies], np.int64)  # noqa: E731
        degrees = {axis: number(lambda s, axis=axis: s.degree(axis)) for axis, _ in strategies[0].mesh}
        global_batch = number(lambda s: s.global_batch)
        micro, interleave = number(lambda s: s.micro_batches), number(lambda s: s.interleave)
        return self.batch_at(strategies[0], degrees, micro=micro, interleave=interleave, global_batch=global_batch)

    def batch_at(
        self,
        kind: Strategy,
        degrees: Mapping[str, np.ndarray],
        *,
        micro: np.ndarray,
        interleave: np.ndarray,
        global_batch: np.ndarray | int = 0,
    ) -> Batch:
        """Strategies of the kind of one, given as arrays [S]; nothing is made for each of them.

        Args:
            kind: whose mesh gives the order of the axes, and whose other properties all have.
            degrees: sizes of each axis of its mesh.
            micro: micro-batches.
            interleave: chunks of a pipeline stage.
            global_batch: examples of a step; 0 for those of the traced program.
        """
        rows = examples(self.graph)
        parts = degrees.get("data", 1) * micro
        return Batch(
            order=tuple(axis for axis, _ in kind.mesh),
            degrees=degrees,
            micro=micro,
            parts=np.where(global_batch, rows * parts / np.maximum(global_batch, 1), parts),
            interleave=interleave,
            zero=kind.zero,
        )


def check(strategy: Strategy, cluster: Cluster) -> None:
    """Checks that a strategy has as many devices as a cluster.

    Raises:
        UsageError: it has not.
    """
    if strategy.devices != cluster.devices:
        raise UsageError(
            f"strategy {strategy} has {strategy.devices:,} devices, the cluster {cluster.spec!r} has "
            f"{cluster.devices:,}; change mesh= or the cluster"
        )


def check_batch(batch: Batch, kind: Strategy, cluster: Cluster) -> None:
    """Checks that all strategies of a batch have as many devices as a cluster, and split along the same axes.

    Raises:
        UsageError: one has another number of devices.
    """
    devices = prod(batch.degrees.values()) * np.ones(batch.count, np.int64)
    for other in np.unique(devices[devices != cluster.devices])[:1]:
        raise UsageError(f"one like {kind} has {other:,} devices, the cluster {cluster.spec!r} {cluster.devices:,}")
    for axis, size in kind.mesh:
        own = batch.degrees[axis]
        assert axis == PIPE or ((own > 1) == (size > 1)).all(), "swplan bug: strategies of several kinds in a batch"


def check_splits(rows: Rows, strategy: Strategy) -> None:
    """Checks that every axis of a strategy splits something; the model axis, a product.

    Raises:
        UsageError: one does not.
    """
    for position, axis in enumerate(rows.template.axes):
        if all(row.split[position] < 0 for row in rows.ops if axis != "model" or row.op.rule.work.unit == "matmul"):
            degree = f"{axis}:{strategy.degree(axis)}"
            raise UsageError(
                f"strategy {strategy}: {degree} splits nothing, since nothing that the axis {axis} may split can be "
                f"divided by {strategy.degree(axis)}; choose another degree"
            )


def costs_of(made: Prices, moments: Moments, batch: Batch, cluster: Cluster, strategy: Strategy) -> Costs:
    """Costs of a batch of strategies of the kind of one."""
    like = alike(batch)
    parts = step_parts(made, batch, like, cluster, strategy.overlap, eager=strategy.launch == "eager")
    peak, by_role = bytes_of(moments, batch, like)
    return Costs(parts=parts, peak_bytes=peak, by_role=by_role)


def product_flops(graph: Graph, capacity: float = 0.0) -> float:
    """Operations of all matrix products that a step needs, on all devices together: not what is made again.

    Args:
        graph: the program.
        capacity: slots of experts for each choice of a token, where not those of the program (0).
    """
    slots = slots_of(graph) if capacity else None
    total = 0.0
    for op, trips in walk(graph.top):
        again = op.stage == "backward" and op.results and graph.role(op.results[0]) != "gradient"
        if op.rule is not None and op.rule.work.unit == "matmul" and not again:
            flops = op.rule.points * int(op.rule.work.per_point) * trips
            total += flops * slots.scale(capacity) if slots and slots.hold(op, graph) else flops
    return total
