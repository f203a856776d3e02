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
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled, inner
from swplan.solver.large.instance import starts
from swplan.solver.large.relax import relax
from swplan.solver.network import Limits, Network
from swplan.solver.shrink.pool import kinds_of

WIDE = 1 << 12  # tables with more entries are first made smaller, by equal rows and equal columns

STILL = 1e-9  # share of the bound by which a round should raise it


class Arcs(NamedTuple):
    """Edges as two arcs each, sorted by the ranks of where they start and then of where they end.

    Values of one kind have equal rows (columns) in the table of an edge; in narrow tables each is a kind of its own.

    Attributes:
      first: [n + 1] where the values of each variable start.
      order: [n] the variables, by their ranks.
      start: [n + 1] where the arcs of each rank start.
      middle: [n] its first arc to a later rank.
      twin: [arcs] the same edge in the other direction.
      at: [arcs] where the table of the edge starts in `table`.
      table: [entries] of every edge, a row for each kind at the earlier of its ranks.
      kinds: [arcs] how many kinds there are here.
      where: [arcs + 1] where the numbers of an arc start, one for each value here, in `kind` and among messages.
      kind: [numbers] the kind of each value.
    """

    first: np.ndarray
    order: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    twin: np.ndarray
    at: np.ndarray
    table: np.ndarray
    kinds: np.ndarray
    where: np.ndarray
    kind: np.ndarray


@inner
def _gather(arcs, cost, messages, rank, first, size, held):
    """The costs of a variable and all messages to it; returns the least."""
    for x in range(size):
        held[x] = cost[first + x]
    for arc in range(arcs.start[rank], arcs.start[rank + 1]):
        for x in range(size):
            held[x] += messages[arcs.where[arc] + x]
    lowest = held[0]
    for x in range(1, size):
        lowest = held[x] if held[x] < lowest else lowest
    return lowest


@inner
def _least_of_rows(table, at, costs, columns, found, rows):
    """The least of each row of a matrix plus the costs of its columns: of four rows at a time, none waits for another.

    So both directions go along the same numbers: a matrix and its transpose would not stay in the caches.
    """
    whole = rows // 4 * 4
    for row in range(0, whole, 4):
        a = at + row * columns
        b, c, d = a + columns, a + 2 * columns, a + 3 * columns
        first, second, third, fourth = np.inf, np.inf, np.inf, np.inf
        for column in range(columns):
            cost = costs[column]
            first, second = min(first, table[a + column] + cost), min(second, table[b + column] + cost)
            third, fourth = min(third, table[c + column] + cost), min(fourth, table[d + column] + cost)
        found[row], found[row + 1], found[row + 2], found[row + 3] = first, second, third, fourth
    for row in range(whole, rows):
        found[row] = np.inf
        for column in range(columns):
            found[row] = min(found[row], table[at + row * columns + column] + costs[column])


@inner
def _send(arcs, messages, arc, backward, held, size, share, near, far):
    """Sends a message: for each value there the least over the values here."""
    twin = arcs.twin[arc]
    own, there, here, away = arcs.where[arc], arcs.where[twin], arcs.kinds[arc], arcs.kinds[twin]
    for a in range(here):
        near[a] = np.inf
    for x in range(size):
        a, rest = arcs.kind[own + x], share * held[x] - messages[own + x]
        near[a] = rest if rest < near[a] else near[a]
    if backward:
        _least_of_rows(arcs.table, arcs.at[arc], near, here, far, away)
    else:
        far[:away] = np.inf
        relax(far, 0, away, arcs.table, arcs.at[arc], near, here)
    for y in range(arcs.where[twin + 1] - there):
        messages[there + y] = far[arcs.kind[there + y]]


@inner
def _sweep(arcs, cost, messages, backward, base, bound, above, lines):
    """Passes messages on, once from each variable; returns the new bound, and fills what values cost above it."""
    held, near, far = lines
    least, count = base, len(arcs.order)
    for step in range(count):
        rank = count - 1 - step if backward else step
        low, middle, high = arcs.start[rank], arcs.middle[rank], arcs.start[rank + 1]
        begin, end = (low, middle) if backward else (middle, high)
        share = 1.0 / max(middle - low, high - middle, 1)
        first, size = arcs.first[arcs.order[rank]], arcs.first[arcs.order[rank] + 1] - arcs.first[arcs.order[rank]]
        lowest = _gather(arcs, cost, messages, rank, first, size, held)
        for x in range(size):  # at this moment the minima add up to the former bound or more
            above[first + x] = held[x] - lowest + bound
        least += (1.0 - share * (end - begin)) * lowest
        for arc in range(begin, end):
            _send(arcs, messages, arc, backward, held, size, share, near, far)
    for x in range(len(above)):
        above[x] = max(above[x] - least, 0.0)
    return least


@compiled
def _ascend(arcs, cost, messages, rounds, base, bound, above, enough):
    """Sweeps forward and backward while that helps; returns the bound, and fills what values cost above it."""
    widest = 0
    for v in range(len(arcs.order)):
        widest = max(widest, arcs.first[v + 1] - arcs.first[v])
    lines, found = (np.empty(widest), np.empty(widest), np.empty(widest)), np.empty_like(above)
    for _ in range(rounds):
        before = bound
        for backward in (False, True):
            least = _sweep(arcs, cost, messages, backward, base, bound, found, lines)
            if least >= bound:
                bound = least
                above[:] = found
        if bound >= enough or bound - before <= STILL * abs(bound):
            break
    return bound


@dataclass(slots=True)
class Messages:
    """Messages on a network that is arc consistent, with finite costs. `bound` never falls unless costs change.

    A choice with a value costs at least `bound` and what `above` [values] says of the value.
    """

    arcs: Arcs
    cost: np.ndarray
    sent: np.ndarray
    base: float
    above: np.ndarray
    bound: float = -math.inf

    def ascend(self, rounds: int, enough: float = math.inf) -> None:
        """Passes messages forward and backward, until the bound is enough or stands still."""
        self.bound = _ascend(self.arcs, self.cost, self.sent, rounds, self.base, self.bound, self.above, enough)

    def charge(self, rows: Limits, prices: np.ndarray) -> None:
        """Charges so much more for a unit of usage, above the limits; the bound is anew that of the next round."""
        if not np.any(prices):
            return
        self.bound = -math.inf
        for usage, limit, price in zip(rows.usage, rows.limit.tolist(), prices.tolist(), strict=True):
            self.base -= price * limit
            self.cost += price * usage

    def within(self, ceiling: float) -> list[np.ndarray]:
        """The values of each variable with which a choice can be as cheap as the ceiling."""
        reach = ceiling - self.bound + 1e-9 * abs(ceiling) if ceiling < math.inf else math.inf
        first, near = self.arcs.first, np.flatnonzero(self.above <= reach)
        of = np.searchsorted(near, first)
        return [near[of[v] : of[v + 1]] - first[v] for v in range(len(first) - 1)]


def messages_of(network: Network) -> Messages:
    """The messages of a network, before the first one is sent."""
    arcs = _arcs(network)
    sent, above = np.zeros(int(arcs.where[-1])), np.zeros_like(network.costs)
    return Messages(arcs=arcs, cost=network.costs.copy(), sent=sent, base=network.base, above=above)


def _arcs(network: Network) -> Arcs:
    """The arcs of the pairs, along an order of the variables."""
    count, edges = len(network.sizes), len(network.pairs)
    order = np.array(_order(network), np.int64)
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    ends = rank[np.concatenate([network.pairs, network.pairs[:, ::-1]])]
    arcs = np.lexsort(ends.T[::-1])  # as numbers of pairs, those in the other direction after all in the first
    twin = np.empty(2 * edges, np.int64)
    twin[arcs] = np.arange(2 * edges)
    twin = twin[(arcs + edges) % max(2 * edges, 1)]
    here, there = ends[arcs].T
    where = starts(network.sizes[order[here]])
    kind, kinds = np.empty(int(where[-1]), np.int64), np.empty(2 * edges, np.int64)
    _name_kinds(network, arcs, where, kind, kinds)
    at, start = starts(kinds * kinds[twin] * (here < there)), starts(np.bincount(here, minlength=count))
    found = Arcs(
        first=network.first,
        order=order,
        start=start,
        middle=start[:-1] + np.bincount(here[there < here], minlength=count),
        twin=twin,
        at=np.where(here < there, at[:-1], at[twin]),
        table=np.empty(int(at[-1])),
        kinds=kinds,
        where=where,
        kind=kind,
    )
    _fill(network, arcs, found)
    return found


@inner
def _steps(network, arc):
    """Of an arc: where its table starts, the values at each end, and from one to the next, here and there."""
    pair = arc % len(network.pairs)
    at, rows, columns = network.at[pair], network.sizes[network.pairs[pair, 0]], network.sizes[network.pairs[pair, 1]]
    return (at, rows, columns, columns, 1) if arc == pair else (at, columns, rows, 1, columns)


@compiled
def _name_kinds(network, arcs, where, kind, kinds):
    """Fills in the kind of each value on each arc, and how many there are."""
    for number in range(len(arcs)):
        at, size, others, here, there = _steps(network, arcs[number])
        own = kind[where[number] : where[number + 1]]
        if size * others > WIDE:
            kinds[number] = kinds_of(network.tables, at, size, here, others, there, own, np.empty(size, np.int64))
        else:
            own[:], kinds[number] = np.arange(size), size


@compiled
def _fill(network, arcs, found):
    """Fills in the table of each edge: of every kind the first value."""
    for number in np.flatnonzero(found.twin > np.arange(len(arcs))):
        at, size, others, here, there = _steps(network, arcs[number])
        own, away, to, kinds = found.where[number], found.where[found.twin[number]], found.at[number], 0
        for x in range(size):
            if found.kind[own + x] == kinds:
                _fill_row(network.tables, at + x * here, others, there, found, away, to)
                to, kinds = to + found.kinds[found.twin[number]], kinds + 1


@inner
def _fill_row(tables, start, others, there, found, away, to):
    kinds = 0
    for y in range(others):
        if found.kind[away + y] == kinds:
            found.table[to + kinds] = tables[start + y * there]
            kinds += 1


def _order(network: Network) -> list[int]:
    """Always the variable of which the largest share of neighbours came before, then the most recently touched."""
    around: list[list[int]] = [[] for _ in network.sizes]
    for i, j in network.pairs.tolist():
        around[i].append(j)
        around[j].append(i)
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
