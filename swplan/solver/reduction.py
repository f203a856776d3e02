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

from swplan.solver.large.instance import starts
from swplan.solver.network import Limits, Network
from swplan.solver.shrink.pool import FIELDS, FREE, STEPS, WAITING, Pool, copied, go_back
from swplan.solver.shrink.rounds import shrink

ROUNDING = 1e-15  # relative error up to which an edge is a sum of a row and a column
OVER = 1e-12  # share of a limit that sums of usage may differ by
SPARE = 1  # edges that may be made before others are free


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """What remains: a network over the variables `nodes` of the original, limits of it, and how to go back.

    `rows` says which limits of the original the `limits` are; no choice exceeds the others.
    """

    network: Network
    limits: Limits
    rows: tuple[int, ...]
    nodes: np.ndarray
    pool: Pool

    def restore(self, choice: Sequence[int]) -> list[int]:
        """The choice in the original that a choice here stands for; their costs are the same."""
        full = np.zeros(len(self.pool.size), np.int64)
        full[self.nodes] = choice
        go_back(self.pool.log, self.pool.count[STEPS], self.pool.integers, self.pool.numbers, full)
        return full.tolist()


def reduced(network: Network, limits: Limits) -> Reduced | None:
    """The network without what can be decided now; None if no choice is finite or within the limits."""
    if 0 in network.sizes:
        return None
    pool = _pool(network, limits)
    while not shrink(pool, ROUNDING):
        pool = _grown(pool)
    return _finished(pool)


def _pool(network: Network, limits: Limits) -> Pool:
    """The problem in one pool, in which everything has room to grow."""
    variables, edges, values = len(network.sizes), len(network.pairs), len(network.costs)
    used = values + len(network.tables) + limits.usage.size
    numbers = np.zeros(2 * used + 1)
    np.concatenate([network.costs, network.tables, limits.usage.ravel()], out=numbers[:used])
    head, following, end = _lists(network.pairs, variables)
    rows = used - limits.usage.size + values * np.arange(len(limits))
    return Pool(
        count=np.array([used, 0, 0, 0, variables, edges], np.int64),
        numbers=numbers,
        integers=np.empty(values + 1, np.int64),
        log=np.empty((2 * variables + 2, FIELDS), np.int64),
        size=network.sizes.copy(),
        cost=network.first[:-1].copy(),
        base=np.array([network.base]),
        head=head,
        next=following,
        end=end,
        table=np.concatenate([values + network.at[:-1], np.zeros(SPARE, np.int64)]),
        usage=rows[:, None] + network.first[:-1],
        limit=limits.limit.copy(),
        queue=np.arange(variables),
        waits=np.ones(variables, bool),
        dirty=np.ones(variables, bool),
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
    nodes, rows = np.flatnonzero(pool.size), np.flatnonzero(np.isfinite(pool.limit))
    sizes, (pairs, halves) = pool.size[nodes], _edges(pool)
    first, at = starts(sizes), starts(sizes[pairs].prod(axis=1))
    usage, costs, tables = np.zeros((len(rows), int(first[-1]))), np.empty(int(first[-1])), np.empty(int(at[-1]))
    copied(pool, nodes, first, rows, halves, at, usage, costs, tables)
    least = np.minimum.reduceat(usage, first[:-1], axis=1) if len(nodes) else usage
    for used, limit in zip(least.tolist(), pool.limit[rows].tolist(), strict=True):
        if math.fsum(used) > limit + OVER * abs(limit):
            return None
    base = float(pool.base[0])
    network = Network(sizes=sizes, first=first, costs=costs, pairs=pairs, at=at, tables=tables, base=base)
    limits = Limits(usage=usage, limit=pool.limit[rows])
    return Reduced(network=network, limits=limits, rows=tuple(rows.tolist()), nodes=nodes, pool=pool)


def _edges(pool: Pool) -> tuple[np.ndarray, np.ndarray]:
    """The edges that are left, by what is left of variables, and the half of the variable that comes first."""
    taken = np.ones(len(pool.table), bool)
    edge = int(pool.count[FREE])
    while edge >= 0:
        taken[edge] = False
        edge = int(pool.next[2 * edge])
    edges, number = np.flatnonzero(taken), np.cumsum(pool.size > 0) - 1
    ends = number[np.stack([pool.end[2 * edges + 1], pool.end[2 * edges]], axis=1)]
    halves, pairs = 2 * edges + (ends[:, 0] > ends[:, 1]), np.sort(ends, axis=1)
    order = np.lexsort(pairs.T[::-1])
    return pairs[order], halves[order]
