"""Bounds on the minimum of a graph of costs: by messages along its edges, and by prices for what limits restrict.

For the solver, which makes choices of them. Where exact tables grow too large, every edge is shifted by messages to its
ends until the minima of the variables alone add up to as much as they can; what a value costs above the least of its
variable then says how far from the best any choice with that value is. A price on usage does the same for limits.

Sources: V. Kolmogorov, Convergent tree-reweighted message passing for energy minimization, IEEE Trans. PAMI 28 (2006),
doi:10.1109/TPAMI.2006.200 (section 5.1: along an order, forward and backward in turn). A. Geoffrion, Lagrangean
relaxation for integer programming, Mathematical Programming Study 2 (1974), doi:10.1007/BFb0120690; J. Kelley, The
cutting-plane method for solving convex programs, J. SIAM 8 (1960), doi:10.1137/0108053.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linprog

from swplan.solver.elimination import Network, Order, distinct, evaluate, merged, minimise
from swplan.solver.integer import Limits, fits, used

EVALUATIONS = 80
BISECTIONS = 10
BOX = 1e4  # the highest price, in units of the range of costs met
WIDE = 1 << 12  # tables with more entries are first made smaller, by equal rows and equal columns


@dataclass(frozen=True, slots=True)
class _Arc:
    """One direction of an edge: `table` [target kinds, source kinds], and which values are of which kind.

    `sources` are the values of the source in the order of their kinds, `starts` where each kind begins in it; `target`
    is the kind of each value of the target. None: every value is a kind of its own.
    """

    to: int
    back: int
    table: np.ndarray
    sources: np.ndarray | None = None
    starts: np.ndarray | None = None
    target: np.ndarray | None = None

    def message(self, cost: np.ndarray) -> np.ndarray:
        """For each value of the target the least of `cost` [source] and table."""
        if self.sources is None:
            return (self.table + cost).min(axis=1)
        least = np.minimum.reduceat(cost[self.sources], self.starts)
        return (self.table + least).min(axis=1)[self.target]


@dataclass(slots=True)
class Dual:
    """Messages on a network that is arc consistent, with finite costs. `bound` never falls unless costs change.

    `above[v]` [n_v]: a choice with a value costs at least `bound + above[v][value]`. `held[v]` [1 + neighbours, n_v]
    are the costs of v and the messages to it; `messages` are views into it, by arc.
    """

    held: list[np.ndarray]
    base: float
    order: list[int]
    arcs: list[_Arc]
    outgoing: list[tuple[list[int], list[int]]]
    messages: list[np.ndarray]
    bound: float = -math.inf
    above: list[np.ndarray] = field(default_factory=list)

    def ascend(self, rounds: int) -> None:
        """Passes messages forward and backward."""
        for _ in range(rounds):
            self._sweep(self.order, 0)
            self._sweep(self.order[::-1], 1)

    def charge(self, rows: Limits, prices: np.ndarray) -> None:
        """Charges so much more for a unit of usage, above the limits; the bound is anew that of the next round."""
        if not np.any(prices):
            return
        self.bound = -math.inf
        for (usage, limit), price in zip(rows, prices, strict=True):
            self.base -= float(price) * limit
            for v, vector in usage.items():
                self.held[v][0] += price * vector

    def within(self, ceiling: float) -> list[np.ndarray]:
        """The values of each variable with which a choice can be as cheap as the ceiling."""
        reach = ceiling - self.bound + 1e-9 * abs(ceiling) if ceiling < math.inf else math.inf
        return [np.flatnonzero(above <= reach) for above in self.above]

    def _sweep(self, order: Sequence[int], direction: int) -> None:
        least, above = self.base, [self.held[0][0]] * len(order)
        messages, arcs = self.messages, self.arcs
        for v in order:
            outgoing, held = self.outgoing[v][direction], np.add.reduce(self.held[v], axis=0)
            share = 1.0 / max(*map(len, self.outgoing[v]), 1)
            lowest = float(held.min())
            above[v] = held - (lowest - self.bound)  # at this moment the minima add up to the former bound or more
            least += (1.0 - share * len(outgoing)) * lowest
            held *= share
            for arc in outgoing:
                messages[arc][:] = arcs[arc].message(held - messages[arcs[arc].back])
        if least >= self.bound:
            self.bound, self.above = least, [np.maximum(cost - least, 0.0) for cost in above]


def dual(network: Network) -> Dual:
    """The dual of a network, before the first message."""
    costs, pairs, base = merged(network)
    around: list[list[int]] = [[] for _ in costs]
    for i, j in pairs:
        around[i].append(j)
        around[j].append(i)
    order = _order(around)
    rank = {v: position for position, v in enumerate(order)}
    arcs: list[_Arc] = []
    outgoing: list[tuple[list[int], list[int]]] = [([], []) for _ in costs]
    for (i, j), table in pairs.items():
        later = int(rank[i] > rank[j])
        outgoing[i][later].append(len(arcs))
        outgoing[j][1 - later].append(len(arcs) + 1)
        arcs += _arcs(i, j, table, len(arcs))
    held = [np.vstack([cost, np.zeros((len(near), len(cost)))]) for cost, near in zip(costs, around, strict=True)]
    slots = [iter(rows[1:]) for rows in held]
    messages = [next(slots[arc.to]) for arc in arcs]
    return Dual(held=held, base=base, order=order, arcs=arcs, outgoing=outgoing, messages=messages)


def _arcs(i: int, j: int, table: np.ndarray, first: int) -> tuple[_Arc, _Arc]:
    """Both directions of an edge, numbered `first` and `first + 1`."""
    if table.size <= WIDE:
        return _Arc(j, first + 1, np.ascontiguousarray(table.T)), _Arc(i, first, np.ascontiguousarray(table))
    (rows, kind_i), (columns, kind_j) = distinct(table), distinct(table.T)
    small = table[np.ix_(rows, columns)]
    sorted_i, sorted_j = (np.argsort(kind, kind="stable") for kind in (kind_i, kind_j))
    starts_i, starts_j = (np.searchsorted(np.sort(kind), np.arange(kind.max() + 1)) for kind in (kind_i, kind_j))
    there = _Arc(j, first + 1, np.ascontiguousarray(small.T), sorted_i, starts_i, kind_j)
    return there, _Arc(i, first, small, sorted_j, starts_j, kind_i)


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


def priced(network: Network, rows: Limits, prices: Sequence[float], free: bool = False) -> Network:
    """The network with usage at `prices[r]` seconds for a whole limit; `free`: with no other cost."""
    tables = [np.where(np.isfinite(table), 0.0, np.inf) for table in network.tables] if free else list(network.tables)
    slot = {scope[0]: position for position, scope in enumerate(network.scopes) if len(scope) == 1}
    for (usage, limit), price in zip(rows, prices, strict=True):
        for v, vector in usage.items():
            tables[slot[v]] = tables[slot[v]] + price / unit(limit) * vector
    return replace(network, tables=tuple(tables))


def unit(limit: float) -> float:
    """What one is in the units of a row."""
    return abs(limit) or 1.0


def charge(rows: Limits, prices: Sequence[float]) -> float:
    """What a choice pays in a priced network that uses every limit in full."""
    return sum(float(price) * limit / unit(limit) for (_, limit), price in zip(rows, prices, strict=True))


def best_prices(
    network: Network, rows: Limits, plan: Order, choices: Sequence[list[int]], until: float
) -> tuple[list[list[int]], float, np.ndarray]:
    """All choices met, the best bound, its prices: Kelley's method on the concave dual, each step by elimination."""
    met, bound, best = list(choices), -math.inf, np.zeros(len(rows))
    points = [_point(network, rows, choice) for choice in met]
    for _ in range(EVALUATIONS):
        prices, ceiling = _highest(points)
        choice, least = minimise(priced(network, rows, prices), plan)
        value = least - charge(rows, prices)
        if value > bound:
            bound, best = value, prices
        if ceiling - bound <= 1e-9 * abs(ceiling) or choice in met or time.monotonic() > until:
            break
        met.append(choice)
        points.append(_point(network, rows, choice))
    return met, bound, best


def dearer(network: Network, rows: Limits, plan: Order, prices: np.ndarray) -> list[list[int]]:
    """Best choices at a little more than the given prices: by bisection, down to where a choice just fits."""
    low, high, found = 0.0, 1.0, []
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        choice, _ = minimise(priced(network, rows, (1 + middle) * prices), plan)
        low, high = (low, middle) if fits(rows, choice) else (middle, high)
        found.append(choice)
    return found


def _point(network: Network, rows: Limits, choice: Sequence[int]) -> np.ndarray:
    """The cost of a choice, and for each row by how much it exceeds the limit, in units of the limit."""
    excess = [(used(usage, choice) - limit) / unit(limit) for usage, limit in rows]
    return np.array([evaluate(network, choice), *excess])


def _highest(points: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The prices at which the least of the lines cost + prices @ excess is highest, and that height."""
    table = np.array(points)
    scale = float(np.ptp(table[:, 0])) or abs(float(table[0, 0])) or 1.0
    lines = np.hstack([-table[:, 1:], np.ones((len(table), 1))])
    heights = (table[:, 0] - table[0, 0]) / scale
    aim = np.append(np.zeros(table.shape[1] - 1), -1.0)
    box = [(0.0, BOX)] * (table.shape[1] - 1) + [(None, None)]
    found = linprog(aim, A_ub=lines, b_ub=heights, bounds=box).x
    return found[:-1] * scale, float(found[-1] * scale + table[0, 0])
