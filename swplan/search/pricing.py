"""Prices: the time of an op under all its strategies at once, and of a resharding between all pairs of layouts.

The same functions price the search's choices and the finished device program, so the two agree. Formulas for chips and
networks are not here but in `costmodel/`; this module turns rules and strategies into the Work that they price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.collectives import collective_time_s
from swplan.costmodel.compute import time_s, turning_s
from swplan.costmodel.network import Placement
from swplan.costmodel.work import Matmul, Work
from swplan.ir.graph import Aval, Graph, Op
from swplan.ir.layout import Layout, Step, degree
from swplan.ir.rule import Dims, Rule
from swplan.ir.strategy import Strategy, operand_layout, result_layout
from swplan.passes.fusion import OnChip
from swplan.search.ways import KINDS, is_inner, path_numbers, ways


@dataclass(frozen=True, slots=True)
class Split:
    """For every strategy of a rule [S]: into how many parts each operand, each result, and the work is divided."""

    operands: tuple[np.ndarray, ...]
    results: tuple[np.ndarray, ...]
    work: np.ndarray
    factors: dict[str, np.ndarray]


@lru_cache(maxsize=65536)
def split_of(rule: Rule, options: tuple[Strategy, ...], sizes: tuple[int, ...]) -> Split:
    """How strategies of a rule divide it on one mesh [S]."""
    table = np.array(options, dtype=np.int64).reshape(len(options), len(sizes))
    factors = [
        np.where(table == position, np.array(sizes), 1).prod(axis=1, dtype=np.int64)
        for position in range(len(rule.factors))
    ]
    return _split(rule, factors, len(options))


def split_by(rule: Rule, strategy: Strategy, degrees: Sequence[np.ndarray]) -> Split:
    """How one strategy of a rule divides it on many meshes, whose axes have the sizes `degrees[axis]` [S]."""
    ones = np.ones(len(degrees[0]) if degrees else 1, np.int64)
    factors = [ones] * len(rule.factors)
    for entry, size in zip(strategy, degrees, strict=True):
        if entry >= 0:
            factors[entry] = factors[entry] * size
    return _split(rule, factors, len(ones))


def _split(rule: Rule, factors: list[np.ndarray], count: int) -> Split:
    by_value = lambda dims: _value_split(dims, factors, count)  # noqa: E731
    return Split(
        tuple(map(by_value, rule.operands)),
        tuple(map(by_value, rule.results)),
        np.prod(factors, axis=0) if factors else np.ones(count, np.int64),
        {factor.name: parts for factor, parts in zip(rule.factors, factors, strict=True)},
    )


def _value_split(dims: Dims, parts: list[np.ndarray], count: int) -> np.ndarray:
    out = np.ones(count, np.int64)
    for factor in {dim[0] for dim in dims if dim}:
        out = out * parts[factor]
    return out


def op_work(op: Op, graph: Graph, split: Split, fused: OnChip) -> Work:
    """The work of one run of an op on one device, each number an array over its strategies [S]."""
    rule, kind = op.rule, op.rule.work
    goes = fused.traffic(op)
    reads = _traffic(op.operands, split.operands, graph, goes)
    writes = _traffic(op.results, split.results, graph, goes[len(op.operands) :])
    written = sum(writes, np.zeros(len(split.work)))
    read = sum(reads, np.zeros(len(split.work)))
    if kind.traffic == "result":
        read = written
    elif kind.traffic == "none":
        read = written = np.zeros(len(split.work))
    points = rule.points / split.work
    return work_of(
        kind.unit,
        graph.avals[op.operands[0] if kind.unit == "matmul" else op.results[0]].precision,
        flops=kind.per_point * points,
        read=read,
        written=written,
        launches=int(bool(writes) and kind.unit != "free"),
        matmul=_matmul(op, graph, split) if kind.unit == "matmul" else None,
    )


def work_of(
    unit: str,
    precision: str,
    *,
    flops: np.ndarray,
    read: np.ndarray,
    written: np.ndarray,
    launches: int | np.ndarray,
    matmul: Matmul | None,
) -> Work:
    """The work of ops of one unit and precision (of a product: of its first operand); arrays over strategies [S]."""
    return Work(
        matmuls=(matmul,) if matmul is not None else (),
        vector_flops={precision: flops} if unit == "vector" else {},
        special_flops=flops if unit == "special" else 0,
        read_bytes=read,
        written_bytes=written,
        launches=launches,
        matmul_bytes=read + written if unit == "matmul" else 0,
    )


def _traffic(
    values: Sequence[int], parts: Sequence[np.ndarray], graph: Graph, goes: Sequence[bool]
) -> list[np.ndarray]:
    """Bytes of the values that go through memory, on one device [S]; scalars stay in registers."""
    moved = [(graph.avals[v], n) for v, n, does in zip(values, parts, goes, strict=False) if does]
    return [aval.bytes / n for aval, n in moved if aval.shape]


def _matmul(op: Op, graph: Graph, split: Split) -> Matmul:
    size = {factor.name: factor.size for factor in op.rule.factors}
    local = [prod((size[name] / split.factors[name] for name in names), start=1.0) for names in op.rule.work.matmul]
    batch, m, n, k = local
    return Matmul(batch=batch, m=m, n=n, k=k, precision=graph.avals[op.operands[0]].precision)


@dataclass(slots=True)
class Pricer:
    """Prices ops and reshardings on one mesh laid on a cluster.

    Attributes:
      cluster: chip and network.
      placement: the mesh on the tiers.
      graph: the program.
      fused: what does not go through memory.
    """

    cluster: Cluster
    placement: Placement
    graph: Graph
    fused: OnChip
    _moves: dict = field(default_factory=dict)
    _ops: dict = field(default_factory=dict)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the mesh axes."""
        return self.placement.sizes

    def op_s(self, op: Op, options: tuple[Strategy, ...]) -> np.ndarray:
        """Seconds of one run of an op, for each strategy [S]: equal for all of one rule that read and write alike."""
        key = (id(op.rule), id(options), self.fused.traffic(op))
        if key not in self._ops:
            work = op_work(op, self.graph, split_of(op.rule, options, self.sizes), self.fused)
            seconds = np.asarray(time_s(work, self.cluster.chip), dtype=float)
            self._ops[key] = (options, np.broadcast_to(seconds, (len(options),)))
        return self._ops[key][1]

    def step_s(self, step: Step, aval: Aval) -> tuple[float, int]:
        """Seconds of one step of a resharding of a global value, and which algorithm carries it."""
        parts = min(degree(step.before, self.sizes), degree(step.after, self.sizes))
        key = (step.kind, step.axes, is_inner(step), aval.bytes // parts)
        if key not in self._moves:
            self._moves[key] = self._step_s(step, aval.bytes // parts)
        return self._moves[key]

    def _step_s(self, step: Step, buffer_bytes: int) -> tuple[float, int]:
        if step.kind in ("slice", "mask"):
            kept = buffer_bytes // prod(self.sizes[a] for a in step.axes) if step.kind == "slice" else buffer_bytes
            work = Work(read_bytes=kept, written_bytes=kept, launches=1)
            return float(time_s(work, self.cluster.chip)), -1
        group = self.placement.group(step.axes)
        seconds, algorithm = collective_time_s(step.kind, group, buffer_bytes, self.cluster)
        return seconds + turning_s(step.kind, step.dim, buffer_bytes, group.size, self.cluster.chip), algorithm

    def reshard_s(self, aval: Aval, sources: Sequence[Layout], targets: Sequence[Layout]) -> np.ndarray:
        """Seconds to bring a global value from each source layout to each target layout [S, T]."""
        return self._reshard_table(aval, tuple(sources), tuple(targets))

    def _reshard_table(self, aval: Aval, sources: tuple[Layout, ...], targets: tuple[Layout, ...]) -> np.ndarray:
        key = (aval.bytes, sources, targets)
        if key not in self._moves:
            paths = path_numbers(sources, targets)
            self._moves[key] = self.paths_s([aval.bytes])[0][paths]
        return self._moves[key]

    def paths_s(self, whole_bytes: Sequence[int]) -> np.ndarray:
        """Seconds of every way between layouts that was asked for, by its number, for global values [values, ways]."""
        axes = len(self.sizes)
        masks = np.arange(1 << axes)
        splits = np.array([prod(s for a, s in enumerate(self.sizes) if mask >> a & 1) for mask in masks])
        buffers = (np.array(whole_bytes)[:, None] // splits).astype(float)
        rows = [self._kind_prices(*kind, int(mask), buffers) for kind in KINDS for mask in masks]
        prices = np.concatenate([np.zeros((len(buffers), 1)), *rows], axis=1)
        return prices[:, ways(axes).steps()].sum(axis=2)

    def _kind_prices(self, kind: str, dim: int, mask: int, buffers: np.ndarray) -> np.ndarray:
        axes = [a for a in range(len(self.sizes)) if mask >> a & 1]
        if kind in ("slice", "mask"):
            kept = buffers // prod(self.sizes[a] for a in axes) if kind == "slice" else buffers
            work = Work(read_bytes=kept, written_bytes=kept, launches=1)
            return np.asarray(time_s(work, self.cluster.chip))
        group = self.placement.group(axes)
        turning = turning_s(kind, dim, buffers, group.size, self.cluster.chip)
        return np.asarray(collective_time_s(kind, group, buffers, self.cluster)[0]) + turning


def layouts_of(op: Op, options: tuple[Strategy, ...], slot: int, *, result: bool) -> tuple[Layout, ...]:
    """The layout of one operand or result of an op under each of its strategies."""
    return _layouts_of(op.rule, options, slot, result)


@lru_cache(maxsize=65536)
def _layouts_of(rule: Rule, options: tuple[Strategy, ...], slot: int, result: bool) -> tuple[Layout, ...]:
    of = result_layout if result else operand_layout
    return tuple(of(rule, slot, strategy) for strategy in options)
