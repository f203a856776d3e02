"""A smaller problem with the same minimum, and the way back from its choices: exact reductions of a graph of costs.

For the solver, before anything that takes time. A variable that its neighbour determines is absorbed by it; one with
at most two neighbours is minimised out; values fall that have no finite partner or that another value replaces at no
loss; edges that are sums of a row and a column dissolve. What uses a limited resource is not minimised out.

Sources. Arc consistency: A. Mackworth, Consistency in networks of relations, Artificial Intelligence 8 (1977),
doi:10.1016/0004-3702(77)90007-8. Dominance: R. Goldstein, Efficient rotamer elimination applied to protein
side-chains, Biophysical Journal 66 (1994), doi:10.1016/S0006-3495(94)80923-3. Two neighbours: T. Schiex, Arc
consistency for soft constraints, CP 2000, doi:10.1007/3-540-45349-0_30, and elimination.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from swplan.solver.elimination import Network, distinct, merged
from swplan.solver.integer import Limits, undominated
from swplan.solver.tables import determines, is_sum, min_plus

ROUNDING = 1e-15  # relative error up to which an edge is a sum of a row and a column
SMALL = 1 << 15  # sums with fewer entries are made at once, without looking for equal rows first


@dataclass(frozen=True, slots=True)
class _Kept:
    """Variable `v` kept only these values."""

    v: int
    values: np.ndarray

    def undo(self, choice: dict[int, int]) -> None:
        choice[self.v] = int(self.values[choice[self.v]])


@dataclass(frozen=True, slots=True)
class _Follows:
    """Variable `v` takes the value `partner[x]` when its leader takes `x`."""

    v: int
    leader: int
    partner: np.ndarray

    def undo(self, choice: dict[int, int]) -> None:
        choice[self.v] = int(self.partner[choice[self.leader]])


@dataclass(frozen=True, slots=True)
class _Answers:
    """Variable `v` takes its best value given its neighbours."""

    v: int
    cost: np.ndarray
    around: tuple[tuple[int, np.ndarray], ...]

    def undo(self, choice: dict[int, int]) -> None:
        choice[self.v] = int(sum((table[:, choice[w]] for w, table in self.around), self.cost).argmin())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What remains: a network over the variables `nodes` of the original, limits of it, and how to go back.

    `rows` says which limits of the original the `limits` are; no choice exceeds the others.
    """

    network: Network
    limits: Limits
    rows: tuple[int, ...]
    nodes: tuple[int, ...]
    log: tuple[_Kept | _Follows | _Answers, ...]

    def restore(self, choice: Sequence[int]) -> list[int]:
        """The choice in the original that a choice here stands for; their costs are the same."""
        full = dict(zip(self.nodes, choice, strict=True))
        for step in reversed(self.log):
            step.undo(full)
        return [full[v] for v in sorted(full)]


@dataclass(slots=True)
class _Graph:
    """The problem while it shrinks; `around[v][w]` is the table of v and w, a row for each value of v."""

    costs: dict[int, np.ndarray]
    around: dict[int, dict[int, np.ndarray]]
    usages: list[dict[int, np.ndarray]]
    limits: list[float]
    rows: list[int]
    base: float
    log: list[_Kept | _Follows | _Answers] = field(default_factory=list)

    def connect(self, v: int, w: int, table: np.ndarray) -> None:
        """Adds a table [n_v, n_w]."""
        table = self.around[v][w] + table if w in self.around[v] else table
        self.around[v][w], self.around[w][v] = table, table.T

    def disconnect(self, v: int) -> dict[int, np.ndarray]:
        """Takes all tables of v out."""
        tables, self.around[v] = self.around[v], {}
        for w in tables:
            del self.around[w][v]
        return tables

    def uses(self, v: int) -> bool:
        """Whether any limit knows v."""
        return any(v in usage for usage in self.usages)

    def keep(self, v: int, values: np.ndarray) -> None:
        """Leaves v only these values."""
        self.log.append(_Kept(v, values))
        self.costs[v] = self.costs[v][values]
        for w in self.around[v]:
            table = self.around[v][w][values]
            self.around[v][w], self.around[w][v] = table, table.T
        for usage in self.usages:
            if v in usage:
                usage[v] = usage[v][values]


def reduced(network: Network, limits: Limits = ()) -> Reduced | None:
    """The network without what can be decided now; None if no choice is finite or within the limits."""
    if 0 in network.sizes:
        return None
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        graph = _shrunk(network, limits)
    return None if graph is None else _finished(graph)


def _shrunk(network: Network, limits: Limits) -> _Graph | None:
    nodes, pairs, base = merged(network)
    usages = [dict(usage) for usage, _ in limits]
    costs, around = dict(enumerate(nodes)), {v: {} for v in range(len(nodes))}
    graph = _Graph(costs, around, usages, [limit for _, limit in limits], list(range(len(limits))), base)
    for (i, j), table in pairs.items():
        graph.connect(i, j, table)
    dirty = set(graph.costs)
    while dirty:
        _settle(graph)
        dirty = _structure(graph, dirty)
        dirty = {w for v in sorted(dirty) if v in graph.costs for w in _prune(graph, v)}
        if any(len(cost) == 0 for cost in graph.costs.values()):
            return None
    _settle(graph)
    return graph


def _settle(graph: _Graph) -> None:
    """Drops what a limit has in constants, and limits that nothing exceeds."""
    tight = []
    for usage, limit, row in zip(graph.usages, graph.limits, graph.rows, strict=True):
        constant = [v for v, vector in usage.items() if np.ptp(vector) == 0]
        limit -= math.fsum(float(usage.pop(v)[0]) for v in constant)
        if math.fsum(float(vector.max()) for vector in usage.values()) > limit:
            tight.append((usage, limit, row))
    graph.usages, graph.limits, graph.rows = ([item[part] for item in tight] for part in range(3))


def _finished(graph: _Graph) -> Reduced | None:
    """The graph as a network; None if that is infinite or a limit is out of reach."""
    if not math.isfinite(graph.base):
        return None
    for usage, limit in zip(graph.usages, graph.limits, strict=True):
        if math.fsum(float(vector.min()) for vector in usage.values()) > limit + 1e-12 * abs(limit):
            return None
    nodes = tuple(sorted(graph.costs))
    number = {v: position for position, v in enumerate(nodes)}
    scopes: list[tuple[int, ...]] = [(), *((number[v],) for v in nodes)]
    tables = [np.array(graph.base), *(graph.costs[v] for v in nodes)]
    for v in nodes:
        for w in sorted(w for w in graph.around[v] if w > v):
            scopes.append((number[v], number[w]))
            tables.append(graph.around[v][w])
    network = Network(sizes=tuple(len(graph.costs[v]) for v in nodes), scopes=tuple(scopes), tables=tuple(tables))
    usages = [{number[v]: vector for v, vector in usage.items()} for usage in graph.usages]
    limits = tuple(zip(usages, graph.limits, strict=True))
    return Reduced(network=network, limits=limits, rows=tuple(graph.rows), nodes=nodes, log=tuple(graph.log))


def _structure(graph: _Graph, active: set[int]) -> set[int]:
    """Removes variables and edges until none can be; returns what is to be pruned: all active ones that changed."""
    dirty, waiting = set(active), sorted(active, reverse=True)
    while waiting:
        v = waiting.pop()
        if v not in graph.costs:
            continue
        touched = _dissolve(graph, v) | _remove(graph, v)
        dirty |= touched
        waiting.extend(sorted(touched - set(waiting[-8:]), reverse=True))
    return dirty


def _remove(graph: _Graph, v: int) -> set[int]:
    """Removes v if that costs nothing; returns the neighbours, whose tables changed."""
    if len(graph.costs[v]) == 1:
        return _fix(graph, v)
    leader = next((w for w in sorted(graph.around[v]) if determines(graph.around[w][v])), None)
    if leader is not None:
        return _absorb(graph, leader, v)
    if len(graph.around[v]) <= 2 and not graph.uses(v):
        return _eliminate(graph, v)
    return set()


def _fix(graph: _Graph, v: int) -> set[int]:
    """Removes a variable with one value."""
    graph.base += float(graph.costs[v][0])
    for position, usage in enumerate(graph.usages):
        graph.limits[position] -= float(usage.pop(v)[0]) if v in usage else 0.0
    graph.log.append(_Answers(v, graph.costs.pop(v), ()))
    tables = graph.disconnect(v)
    for w, table in tables.items():
        graph.costs[w] = graph.costs[w] + table[0]
    return set(tables)


def _absorb(graph: _Graph, leader: int, v: int) -> set[int]:
    """Removes a variable that its neighbour determines; its other edges become edges of the leader."""
    tables = graph.disconnect(v)
    own = tables.pop(leader).T
    partner = np.isfinite(own).argmax(axis=1)
    graph.costs[leader] = graph.costs[leader] + own[np.arange(len(own)), partner] + graph.costs.pop(v)[partner]
    for usage in graph.usages:
        if v in usage:
            usage[leader] = usage.get(leader, 0.0) + usage.pop(v)[partner]
    for w, table in tables.items():
        graph.connect(leader, w, table[partner])
    graph.log.append(_Follows(v, leader, partner))
    return {leader, *tables}


def _eliminate(graph: _Graph, v: int) -> set[int]:
    """Removes a variable with at most two neighbours: its best cost, for each pair of values of these."""
    tables, cost = graph.disconnect(v), graph.costs.pop(v)
    graph.log.append(_Answers(v, cost, tuple(tables.items())))
    if len(tables) == 2:
        (i, first), (j, second) = tables.items()
        graph.connect(i, j, _product(first.T + cost, second))
    elif tables:
        ((i, table),) = tables.items()
        graph.costs[i] = graph.costs[i] + (table.T + cost).min(axis=1)
    else:
        graph.base += float(cost.min())
    return set(tables)


def _product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The minimum over k of first[i, k] + second[k, j]."""
    if first.size * second.shape[1] <= SMALL:
        return min_plus(first, second)
    (rows, i), (columns, j) = distinct(first), distinct(second.T)
    return min_plus(first[rows], second[:, columns])[i][:, j]


def _dissolve(graph: _Graph, v: int) -> set[int]:
    """Removes the edges of v that are the sum of a row and a column; returns the neighbours that lost one."""
    lost = {w: parts for w in graph.around[v] if (parts := _parts(graph.around[v][w])) is not None}
    for w, (row, column) in lost.items():
        del graph.around[v][w], graph.around[w][v]
        graph.costs[v], graph.costs[w] = graph.costs[v] + row, graph.costs[w] + column
    return set(lost)


def _parts(table: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The row costs and column costs that add up to a table, if any do."""
    return (table[:, 0], table[0] - table[0, 0]) if is_sum(table, ROUNDING) else None


def _prune(graph: _Graph, v: int) -> set[int]:
    """Drops values of v without finite cost or partner, and those that another replaces; returns who is touched."""
    supported = np.isfinite(graph.costs[v])
    for table in graph.around[v].values():
        supported = supported & np.isfinite(table).any(axis=1)
    values = np.flatnonzero(supported)
    if len(values) > 1:
        tables = [table[values] for table in graph.around[v].values()]
        values = values[undominated(graph.costs[v][values], tables, [u[v][values] for u in graph.usages if v in u])]
    if len(values) == len(supported):
        return set()
    graph.keep(v, values)
    return {v, *graph.around[v]}
