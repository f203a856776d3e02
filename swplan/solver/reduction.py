"""A smaller problem with the same minimum, and the way back from its choices: exact reductions of a graph of costs.

For the solver, before anything that takes time. A variable that its neighbour determines is absorbed by it; one with
at most two neighbours is minimised out; values fall that have no finite partner or that another value replaces at no
loss; edges that are sums of a row and a column dissolve. What uses a limited resource is not minimised out. The
reductions themselves are compiled: the package `shrink`.

Sources. Arc consistency: A. Mackworth, Consistency in networks of relations, Artificial Intelligence 8 (1977),
doi:10.1016/0004-3702(77)90007-8. Dominance: R. Goldstein, Efficient rotamer elimination applied to protein
side-chains, Biophysical Journal 66 (1994), doi:10.1016/S0006-3495(94)80923-3. Two neighbours: T. Schiex, Arc
consistency for soft constraints, CP 2000, doi:10.1007/3-540-45349-0_30, and elimination.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swplan.solver.elimination import Network, Pairs, merged
from swplan.solver.integer import Limits
from swplan.solver.shrink.pool import FIELDS, FREE, STEPS, WAITING, Pool, go_back
from swplan.solver.shrink.rounds import shrink

ROUNDING = 1e-15  # relative error up to which an edge is a sum of a row and a column
SPARE = 1  # edges that may be made before others are free


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What remains: a network over the variables `nodes` of the original, limits of it, and how to go back.

    `rows` says which limits of the original the `limits` are; no choice exceeds the others.
    """

    network: Network
    limits: Limits
    rows: tuple[int, ...]
    nodes: tuple[int, ...]
    pool: Pool

    def restore(self, choice: Sequence[int]) -> list[int]:
        """The choice in the original that a choice here stands for; their costs are the same."""
        full = np.zeros(len(self.pool.size), np.int64)
        full[list(self.nodes)] = choice
        go_back(self.pool.log, self.pool.count[STEPS], self.pool.integers, self.pool.numbers, full)
        return full.tolist()


def reduced(network: Network, limits: Limits = ()) -> Reduced | None:
    """The network without what can be decided now; None if no choice is finite or within the limits."""
    if 0 in network.sizes:
        return None
    nodes, pairs, base = merged(network)
    pool = _pool(nodes, pairs, base, limits)
    while not shrink(pool, ROUNDING):
        pool = _grown(pool)
    return _finished(pool)


def _pool(nodes: Sequence[np.ndarray], pairs: Pairs, base: float, limits: Limits) -> Pool:
    """The problem in flat arrays."""
    size, edges = np.array([len(cost) for cost in nodes], np.int64), len(pairs)
    usages = [[(v, vector) for v, vector in usage.items()] for usage, _ in limits]
    parts = [*nodes, *pairs.values(), *(vector for usage in usages for _, vector in usage)]
    starts = np.concatenate([[0], np.cumsum([part.size for part in parts], dtype=np.int64)])
    numbers = np.zeros(2 * int(starts[-1]) + 1)
    numbers[: starts[-1]] = np.concatenate([part.ravel() for part in parts]) if parts else 0.0
    usage = np.full((len(limits), len(size)), -1, np.int64)
    where = iter(starts[len(nodes) + edges :].tolist())
    for row, vectors in enumerate(usages):
        for v, _ in vectors:
            usage[row, v] = next(where)
    ends = np.array(list(pairs), np.int64).reshape(-1, 2)
    head, following, end = _lists(ends, len(size))
    return Pool(
        count=np.array([starts[-1], 0, 0, 0, len(size), edges], np.int64),
        numbers=numbers,
        integers=np.empty(int(size.sum()) + 1, np.int64),
        log=np.empty((2 * len(size) + 2, FIELDS), np.int64),
        size=size,
        cost=starts[: len(nodes)].copy(),
        base=np.array([base]),
        head=head,
        next=following,
        end=end,
        table=np.concatenate([starts[len(nodes) : len(nodes) + edges], np.zeros(SPARE, np.int64)]),
        usage=usage,
        limit=np.array([limit for _, limit in limits], float),
        queue=np.arange(len(size)),
        waits=np.ones(len(size), bool),
        dirty=np.ones(len(size), bool),
    )


def _lists(ends: np.ndarray, variables: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first half of every variable, the next one of every half (of spare edges: the next of these), and its end."""
    edges = len(ends)
    owner = ends.ravel()
    head, following = np.full(variables, -1), np.full(2 * (edges + SPARE), -1)
    order = np.lexsort((np.arange(2 * edges), owner))
    same = owner[order[:-1]] == owner[order[1:]]
    following[order[:-1][same]] = order[1:][same]
    first = np.concatenate([[True], ~same]) if edges else np.zeros(0, bool)
    head[owner[order[first]]] = order[first]
    end = np.concatenate([ends[:, ::-1].ravel(), np.full(2 * SPARE, -1)])
    return head, following, end


def _grown(pool: Pool) -> Pool:
    """The same with more room."""
    doubled = lambda part: np.concatenate([part, np.zeros_like(part)])  # noqa: E731
    return pool._replace(numbers=doubled(pool.numbers), integers=doubled(pool.integers), log=doubled(pool.log))


def _finished(pool: Pool) -> Reduced | None:
    """What is left as a network; None if that is infinite, has no choice, or a limit is out of reach."""
    if pool.count[WAITING] or not math.isfinite(pool.base[0]):
        return None
    nodes = np.flatnonzero(pool.size)
    number = np.full(len(pool.size), -1)
    number[nodes] = np.arange(len(nodes))
    part = lambda start, v: pool.numbers[start : start + pool.size[v]]  # noqa: E731
    rows = np.flatnonzero(np.isfinite(pool.limit)).tolist()
    limits = []
    for row in rows:
        held = np.flatnonzero((pool.usage[row] >= 0) & (pool.size > 0))
        usage = {int(number[v]): part(pool.usage[row, v], v) for v in held}
        if math.fsum(float(vector.min()) for vector in usage.values()) > _reach(pool.limit[row]):
            return None
        limits.append((usage, float(pool.limit[row])))
    pairs = sorted(_edges(pool, number))
    network = Network(
        sizes=tuple(pool.size[nodes].tolist()),
        scopes=((), *((v,) for v in range(len(nodes))), *(scope for scope, _ in pairs)),
        tables=(pool.base[0], *(part(pool.cost[v], v) for v in nodes), *(_table(pool, half) for _, half in pairs)),
    )
    return Reduced(network=network, limits=tuple(limits), rows=tuple(rows), nodes=tuple(nodes.tolist()), pool=pool)


def _reach(limit: float) -> float:
    return limit + 1e-12 * abs(limit)


def _edges(pool: Pool, number: np.ndarray) -> list[tuple[tuple[int, int], int]]:
    """The edges that are left, by what is left of variables, and the half of the variable that comes first."""
    taken = np.ones(len(pool.table), bool)
    edge = int(pool.count[FREE])
    while edge >= 0:
        taken[edge] = False
        edge = int(pool.next[2 * edge])
    edges = np.flatnonzero(taken)
    rows, columns = number[pool.end[2 * edges + 1]], number[pool.end[2 * edges]]
    halves = 2 * edges + (rows > columns)
    both = zip(np.minimum(rows, columns).tolist(), np.maximum(rows, columns).tolist(), strict=True)
    return list(zip(both, halves.tolist(), strict=True))


def _table(pool: Pool, half: int) -> np.ndarray:
    """The table of an edge, a row for each value of the variable of a half."""
    rows, columns = pool.size[pool.end[half | 1]], pool.size[pool.end[half & -2]]
    start = pool.table[half >> 1]
    table = pool.numbers[start : start + rows * columns].reshape(rows, columns)
    return table.T if half & 1 else table
