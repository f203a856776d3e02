"""Many ops with all their strategies at once: what is known of their work before a mesh has sizes.

For space.py, which prices a whole program on one mesh after the other: a strategy says which mesh axes split what, so
the bytes, points and dims of every op become a few long arrays over which the axes of a mesh multiply. The formulas are
those of pricing.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import numpy as np

from swplan.costmodel.chip import Chip
from swplan.costmodel.compute import time_s
from swplan.costmodel.work import Matmul
from swplan.ir.graph import Graph, Op
from swplan.ir.rule import Dims, Rule
from swplan.ir.strategy import NOTHING, Strategy
from swplan.passes.fusion import OnChip
from swplan.search.pricing import work_of

Options = tuple[Strategy, ...]


def degrees_of(sizes: Sequence[int]) -> np.ndarray:
    """For every set of axes, as the bits of its position, into how many parts they split [2 ** axes]."""
    return np.array([prod(n for axis, n in enumerate(sizes) if mask >> axis & 1) for mask in range(1 << len(sizes))])


def axes_on(options: Sequence[tuple[int, ...]], entries: Iterable[int]) -> np.ndarray:
    """For every option the set of axes that lie on some of these entries, as bits [S]."""
    table, bits = _table(options)
    lies = np.zeros(ENTRIES, np.int64)
    lies[list(entries)] = 1
    return lies[table] @ bits


ENTRIES = 256
"""More than the entries that an option can have, those below zero counted from the end."""


@lru_cache(maxsize=4096)
def _table(options: Sequence[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(options, dtype=np.int64).reshape(len(options), -1)
    assert table.max(initial=0) < ENTRIES // 2 and table.min(initial=0) > -ENTRIES // 2, "swplan bug: so many factors"
    return table, 1 << np.arange(table.shape[1])


@dataclass(slots=True)
class _Terms:
    """Bytes of values that are split by sets of axes, by the positions to whose sum they belong."""

    positions: list[np.ndarray] = field(default_factory=list)
    sizes: list[np.ndarray] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)

    def add(self, first: int, whole_bytes: int, masks: np.ndarray) -> None:
        self.positions.append(np.arange(first, first + len(masks)))
        self.sizes.append(np.full(len(masks), float(whole_bytes)))
        self.masks.append(masks)

    def joined(self) -> _Sum:
        some = len(self.positions) > 0
        join = lambda parts, kind: np.concatenate(parts) if some else np.zeros(0, kind)  # noqa: E731
        return _Sum(join(self.positions, np.int64), join(self.sizes, float), join(self.masks, np.int64))


@dataclass(frozen=True, slots=True)
class _Sum:
    """The same as arrays."""

    positions: np.ndarray
    sizes: np.ndarray
    masks: np.ndarray

    def over(self, degrees: np.ndarray, count: int) -> np.ndarray:
        """The sum at each position, on a mesh."""
        return np.bincount(self.positions, self.sizes / degrees[self.masks], minlength=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """Positions of ops of one unit and precision, and what only they have.

    `dims` are those of (batch, m, n, k), each a list of (extents, sets of axes that split them).
    """

    unit: str
    precision: str
    positions: np.ndarray
    dims: tuple[tuple[tuple[np.ndarray, np.ndarray], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Ops and their options, one after the other; entry i has positions `first[i]` to `first[i + 1]`."""

    first: np.ndarray
    points: np.ndarray
    per_point: np.ndarray
    splits: np.ndarray
    launches: np.ndarray
    reads: _Sum
    writes: _Sum
    takes: _Sum
    makes: _Sum
    is_product: np.ndarray
    kinds: tuple[_Kind, ...]

    def seconds(self, sizes: Sequence[int], chip: Chip) -> np.ndarray:
        """Of one run of each op under each option [positions]."""
        degrees = degrees_of(sizes)
        count = int(self.first[-1])
        points = self.points / degrees[self.splits]
        read, written = self.reads.over(degrees, count), self.writes.over(degrees, count)
        found = np.zeros(count)
        for kind in self.kinds:
            at = kind.positions
            work = work_of(
                kind.unit,
                kind.precision,
                flops=self.per_point[at] * points[at],
                read=read[at],
                written=written[at],
                launches=self.launches[at],
                matmul=_matmul(kind, degrees),
            )
            found[at] = time_s(work, chip)
        return found

    def held(self, sizes: Sequence[int]) -> np.ndarray:
        """Bytes that one device must hold while it runs each op under each option, at least [positions].

        All operands and results of a product; of any other op, which may write over what it reads, the more of the two.
        """
        degrees, count = degrees_of(sizes), int(self.first[-1])
        taken, made = self.takes.over(degrees, count), self.makes.over(degrees, count)
        return np.where(self.is_product, taken + made, np.maximum(taken, made))


def _matmul(kind: _Kind, degrees: np.ndarray) -> Matmul | None:
    if kind.unit != "matmul":
        return None
    batch, m, n, k = (prod((size / degrees[mask] for size, mask in dim), start=1.0) for dim in kind.dims)
    return Matmul(batch=batch, m=m, n=n, k=k, precision=kind.precision)


def stack_of(entries: Sequence[tuple[Op, Options]], graph: Graph, fused: OnChip) -> Stack:
    """Stacks ops with their options."""
    first = np.concatenate([[0], np.cumsum([len(options) for _, options in entries], dtype=np.int64)])
    reads, writes, takes, makes = _Terms(), _Terms(), _Terms(), _Terms()
    splits, launches, known = [], [], {}
    for (op, options), start in zip(entries, first.tolist(), strict=False):
        key = (id(op.rule), id(options))
        if key not in known:
            known[key] = _masks(op.rule, options)
        splits.append(axes_on(options, range(len(op.rule.factors))))
        written = _traffic(op, graph, fused, start, known[key], reads, writes)
        launches.append(int(written and op.rule.work.unit != "free"))
        _holding(op, graph, fused, start, known[key], takes, makes)
    spread = lambda numbers, kind: np.repeat(np.array(numbers, kind), np.diff(first))  # noqa: E731
    ops = [op for op, _ in entries]
    return Stack(
        first=first,
        points=spread([op.rule.points for op in ops], float),
        per_point=spread([op.rule.work.per_point for op in ops], float),
        splits=np.concatenate(splits) if splits else np.zeros(0, np.int64),
        launches=spread(launches, np.int64),
        reads=reads.joined(),
        writes=writes.joined(),
        takes=takes.joined(),
        makes=makes.joined(),
        is_product=spread([op.rule.work.unit == "matmul" for op in ops], bool),
        kinds=_kinds(entries, first, graph),
    )


def _masks(rule: Rule, options: Options) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each operand, and for each result, the axes that split it under each option [S]."""
    of = lambda dims: axes_on(options, _heads(dims))  # noqa: E731
    return list(map(of, rule.operands)), list(map(of, rule.results))


def _heads(dims: Dims) -> set[int]:
    return {dim[0] for dim in dims if dim and dim[0] > NOTHING}


def _traffic(
    op: Op, graph: Graph, fused: OnChip, start: int, masks: tuple[list, list], reads: _Terms, writes: _Terms
) -> bool:
    """Notes what an op moves through memory; whether it writes anything. Scalars stay in registers."""
    goes, kind = fused.traffic(op), op.rule.work.traffic
    moved = lambda values, parts, does: [  # noqa: E731
        (graph.avals[v].bytes, mask)
        for v, mask, d in zip(values, parts, does, strict=False)
        if d and graph.avals[v].shape
    ]
    read = moved(op.operands, masks[0], goes)
    written = moved(op.results, masks[1], goes[len(op.operands) :])
    for terms, found in ((reads, written if kind == "result" else read), (writes, written)):
        for size, mask in found if kind != "none" else ():
            terms.add(start, size, mask)
    return bool(written)


def _holding(
    op: Op, graph: Graph, fused: OnChip, start: int, masks: tuple[list, list], takes: _Terms, makes: _Terms
) -> None:
    """Notes what an op must hold."""
    for v, mask in dict(zip(op.operands, masks[0], strict=True)).items():
        if v not in fused:
            takes.add(start, graph.avals[v].bytes, mask)
    for v, mask in zip(op.results, masks[1], strict=True):
        if v not in fused:
            makes.add(start, graph.avals[v].bytes, mask)


def _kinds(entries: Sequence[tuple[Op, Options]], first: np.ndarray, graph: Graph) -> tuple[_Kind, ...]:
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (op, _) in enumerate(entries):
        unit = op.rule.work.unit
        value = op.operands[0] if unit == "matmul" else op.results[0]
        groups.setdefault((unit, graph.avals[value].precision), []).append(number)
    return tuple(
        _Kind(
            unit=unit,
            precision=precision,
            positions=np.concatenate([np.arange(first[i], first[i + 1]) for i in members]),
            dims=_dims([entries[i] for i in members]) if unit == "matmul" else (),
        )
        for (unit, precision), members in groups.items()
    )


def _dims(entries: Sequence[tuple[Op, Options]]) -> tuple[tuple[tuple[np.ndarray, np.ndarray], ...], ...]:
    """For batch, m, n and k of products: extents and the axes that split them [positions]."""
    found = []
    for part in range(4):
        deepest = max(len(op.rule.work.matmul[part]) for op, _ in entries)
        columns = [[_dim(op.rule, options, part, level) for op, options in entries] for level in range(deepest)]
        found.append(tuple(tuple(np.concatenate(parts) for parts in zip(*column, strict=True)) for column in columns))
    return tuple(found)


def _dim(rule: Rule, options: Options, part: int, level: int) -> tuple[np.ndarray, np.ndarray]:
    names = rule.work.matmul[part]
    if level >= len(names):
        return np.ones(len(options)), np.zeros(len(options), np.int64)
    position = next(i for i, factor in enumerate(rule.factors) if factor.name == names[level])
    return np.full(len(options), float(rule.factors[position].size)), axes_on(options, (position,))
