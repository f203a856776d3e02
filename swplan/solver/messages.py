"""Messages along the edges of a graph of costs: a bound on all choices, and how far from it every single value is.

For bounds.py. Every edge is shifted by messages to its ends until the minima of the variables alone add up to as much
as they can; what a value costs above the least of its variable then says how far from the best any choice with that
value is. Sweeps are compiled (compiled.py) and work on flat arrays, in which variables stand in the order of sweeps.

Source: V. Kolmogorov, Convergent tree-reweighted message passing for energy minimization, IEEE Trans. PAMI 28 (2006),
doi:10.1109/TPAMI.2006.200 (section 5.1: along an order, forward and backward in turn).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled, inner
from swplan.solver.elimination import Network, distinct, merged
from swplan.solver.integer import Limits

WIDE = 1 << 12  # tables with more entries are first made smaller, by equal rows and equal columns


class Arcs(NamedTuple):
    """Edges as two arcs each, sorted by where they start and then by where they end.

    Values of one kind have equal rows (columns) in the table of an edge; in narrow tables each is a kind of its own.

    Attributes:
      first: [n + 1] where the values of each variable start.
      start: [n + 1] where the arcs of each variable start.
      middle: [n] its first arc to a later variable.
      twin: [arcs] the same edge in the other direction.
      at: [arcs] where the table [kinds here, kinds there] starts in `table`.
      table: [entries].
      kinds: [arcs] how many kinds there are here.
      where: [arcs + 1] where the numbers of an arc start, one for each value here, in `kind` and among messages.
      kind: [numbers] the kind of each value.
    """

    first: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    twin: np.ndarray
    at: np.ndarray
    table: np.ndarray
    kinds: np.ndarray
    where: np.ndarray
    kind: np.ndarray


@inner
def _gather(arcs, cost, messages, v, held):
    """The costs of a variable and all messages to it; returns the least."""
    first, size = arcs.first[v], arcs.first[v + 1] - arcs.first[v]
    for x in range(size):
        held[x] = cost[first + x]
    for arc in range(arcs.start[v], arcs.start[v + 1]):
        for x in range(size):
            held[x] += messages[arcs.where[arc] + x]
    lowest = held[0]
    for x in range(1, size):
        lowest = held[x] if held[x] < lowest else lowest
    return lowest


@inner
def _send(arcs, messages, arc, held, size, share, near, far):
    """Sends a message: for each value there the least over the values here."""
    twin = arcs.twin[arc]
    own, there, here, away = arcs.where[arc], arcs.where[twin], arcs.kinds[arc], arcs.kinds[twin]
    for a in range(here):
        near[a] = np.inf
    for x in range(size):
        a, rest = arcs.kind[own + x], share * held[x] - messages[own + x]
        near[a] = rest if rest < near[a] else near[a]
    for b in range(away):
        far[b] = np.inf
    for a in range(here):
        row, low = arcs.at[arc] + a * away, near[a]
        for b in range(away):
            sum_ = arcs.table[row + b] + low
            far[b] = sum_ if sum_ < far[b] else far[b]
    for y in range(arcs.where[twin + 1] - there):
        messages[there + y] = far[arcs.kind[there + y]]


@compiled
def _sweep(arcs, cost, messages, backward, base, bound, above, held, near, far):
    """Passes messages on, once from each variable; returns the new bound, and fills what values cost above it."""
    least, count = base, len(arcs.middle)
    for step in range(count):
        v = count - 1 - step if backward else step
        low, middle, high = arcs.start[v], arcs.middle[v], arcs.start[v + 1]
        begin, end = (low, middle) if backward else (middle, high)
        share = 1.0 / max(middle - low, high - middle, 1)
        lowest, size = _gather(arcs, cost, messages, v, held), arcs.first[v + 1] - arcs.first[v]
        for x in range(size):  # at this moment the minima add up to the former bound or more
            above[arcs.first[v] + x] = held[x] - lowest + bound
        least += (1.0 - share * (end - begin)) * lowest
        for arc in range(begin, end):
            _send(arcs, messages, arc, held, size, share, near, far)
    for x in range(len(above)):
        above[x] = max(above[x] - least, 0.0)
    return least


@dataclass(slots=True)
class Messages:
    """Messages on a network that is arc consistent, with finite costs. `bound` never falls unless costs change.

    `above[v]` [n_v]: a choice with a value costs at least `bound + above[v][value]`. `rank[v]` is the position of a
    variable in the arrays.
    """

    arcs: Arcs
    cost: np.ndarray
    sent: np.ndarray
    base: float
    rank: np.ndarray
    bound: float = -math.inf
    above: list[np.ndarray] = field(default_factory=list)

    def ascend(self, rounds: int) -> None:
        """Passes messages forward and backward."""
        for _ in range(rounds):
            self._sweep(backward=False)
            self._sweep(backward=True)

    def charge(self, rows: Limits, prices: np.ndarray) -> None:
        """Charges so much more for a unit of usage, above the limits; the bound is anew that of the next round."""
        if not np.any(prices):
            return
        self.bound = -math.inf
        for (usage, limit), price in zip(rows, prices, strict=True):
            self.base -= float(price) * limit
            for v, vector in usage.items():
                first = self.arcs.first[self.rank[v]]
                self.cost[first : first + len(vector)] += price * vector

    def within(self, ceiling: float) -> list[np.ndarray]:
        """The values of each variable with which a choice can be as cheap as the ceiling."""
        reach = ceiling - self.bound + 1e-9 * abs(ceiling) if ceiling < math.inf else math.inf
        return [np.flatnonzero(above <= reach) for above in self.above]

    def _sweep(self, *, backward: bool) -> None:
        above, widest = np.empty_like(self.cost), int(np.diff(self.arcs.first).max(initial=0))
        held, near, far = np.empty((3, widest))
        least = _sweep(self.arcs, self.cost, self.sent, backward, self.base, self.bound, above, held, near, far)
        if least >= self.bound:
            first = self.arcs.first
            self.bound = least
            self.above = [above[first[r] : first[r + 1]] for r in self.rank]


def messages_of(network: Network) -> Messages:
    """The messages of a network, before the first one is sent."""
    costs, pairs, base = merged(network)
    around: list[list[int]] = [[] for _ in costs]
    for i, j in pairs:
        around[i].append(j)
        around[j].append(i)
    order = _order(around)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    sizes = np.array([len(costs[v]) for v in order], np.int64)
    tables = {(int(rank[i]), int(rank[j])): table for (i, j), table in pairs.items()}
    arcs = _arcs(sizes, tables)
    cost = np.concatenate([costs[v] for v in order]) if order else np.zeros(0)
    return Messages(arcs=arcs, cost=cost, sent=np.zeros(arcs.where[-1]), base=base, rank=rank)


def _arcs(sizes: np.ndarray, tables: dict[tuple[int, int], np.ndarray]) -> Arcs:
    """The arcs of edges [n_i, n_j] between ranks i and j."""
    sides: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}  # by arc: its table, and the kinds of its values
    for (i, j), table in tables.items():
        small, rows, columns = _kinds(table)
        sides[i, j], sides[j, i] = (small, rows), (small.T, columns)
    names = sorted(sides)
    number = {name: arc for arc, name in enumerate(names)}
    ends = np.array(names, np.int64).reshape(-1, 2)
    matrices = [sides[name][0] for name in names]
    kinds = [sides[name][1] for name in names]
    start = np.searchsorted(ends[:, 0], np.arange(len(sizes) + 1))
    earlier = np.bincount(ends[ends[:, 1] < ends[:, 0], 0], minlength=len(sizes))
    return Arcs(
        first=_starts(sizes),
        start=start,
        middle=start[:-1] + earlier,
        twin=np.array([number[j, i] for i, j in names], np.int64),
        at=_starts([matrix.size for matrix in matrices])[:-1],
        table=np.concatenate([matrix.ravel() for matrix in matrices]) if matrices else np.zeros(0),
        kinds=np.array([len(matrix) for matrix in matrices], np.int64),
        where=_starts([len(kind) for kind in kinds]),
        kind=np.concatenate(kinds) if kinds else np.zeros(0, np.int64),
    )


def _kinds(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A table of the kinds of rows and of columns, and the kind of each row and of each column."""
    if table.size <= WIDE:
        return table, np.arange(len(table)), np.arange(table.shape[1])
    (rows, row_kind), (columns, column_kind) = distinct(table), distinct(table.T)
    return table[np.ix_(rows, columns)], row_kind, column_kind


def _starts(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _order(around: list[list[int]]) -> list[int]:
    """Always the variable of which the largest share of neighbours came before, then the most recently touched."""
    found: list[int] = []
    count, placed = [0] * len(around), [False] * len(around)
    heap: list[tuple[float, int, int]] = [(0.0, 0, v) for v in range(len(around))]
    while heap:
        _, _, v = heapq.heappop(heap)
        if placed[v]:
            continue
        placed[v] = True
        found.append(v)
        for w in around[v]:
            count[w] += 1
            heapq.heappush(heap, (-count[w] / len(around[w]), -len(found), w))
    return found
