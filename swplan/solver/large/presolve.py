"""A smaller instance with the same best choices: what can be decided before any search.

In rounds, until nothing changes: strategies fall that have no partner, that no room is left for, or that another
replaces at no more cost and usage; a node that its neighbour determines joins it, with what it holds; matrices that
are sums of a row and a column dissolve. Of the contest's instance A, 290 of 34,932 nodes are left, in half a second.

Sources. Arc consistency: A. Mackworth, Consistency in networks of relations, Artificial Intelligence 8 (1977),
doi:10.1016/0004-3702(77)90007-8. Dominance: R. Goldstein, Biophysical Journal 66 (1994),
doi:10.1016/S0006-3495(94)80923-3, here with usage. `solver/reduction.py` does the same and more for small problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swplan.solver.large import presolve_kernels as kernels
from swplan.solver.large.instance import Instance, held, spread, starts

ROUNDING = 1e-9  # share of the limit within which sums of bytes that are no integers are taken for equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """The problem while it shrinks. A node stands for original nodes, its members, which it determines.

    Attributes:
      first, cost: [n + 1], [strategies] as in an instance.
      pairs, at, table: the edges; no two join the same nodes.
      start: [n + 1] where the members of each node start.
      member: [members] the original node.
      begin: [members + 1] where the numbers of a member start: one for each strategy of its node.
      use: [numbers] bytes that the member holds.
      pick: [numbers] the strategy that it takes.
      intervals: [original nodes, 2].
      limit: most bytes held at any time.
    """

    first: np.ndarray
    cost: np.ndarray
    pairs: np.ndarray
    at: np.ndarray
    table: np.ndarray
    start: np.ndarray
    member: np.ndarray
    begin: np.ndarray
    use: np.ndarray
    pick: np.ndarray
    intervals: np.ndarray
    limit: float

    @property
    def nodes(self) -> int:
        """How many nodes are left."""
        return len(self.first) - 1

    @property
    def owner(self) -> np.ndarray:
        """[members] the node of each member."""
        return np.repeat(np.arange(self.nodes), np.diff(self.start))

    def restored(self, choice: Sequence[int]) -> list[int]:
        """The choice of the instance that a choice here stands for."""
        full = np.empty(len(self.member), np.int64)
        full[self.member] = self.pick[self.begin[:-1] + np.asarray(choice)[self.owner]]
        return full.tolist()

    def extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """[members] the least and the most that each member holds."""
        return np.minimum.reduceat(self.use, self.begin[:-1]), np.maximum.reduceat(self.use, self.begin[:-1])


def presolved(instance: Instance) -> Flat | None:
    """What is left of an instance with at least one node; None if no choice is allowed by pairs and limit."""
    flat = _merged(_flat(instance))
    while True:
        size = (flat.nodes, len(flat.pairs), len(flat.cost))
        pruned = _pruned(flat)
        if pruned is None:
            return None
        flat = _dissolved(_merged(pruned))
        if (flat.nodes, len(flat.pairs), len(flat.cost)) == size:
            return flat


def _flat(instance: Instance) -> Flat:
    """The instance, every node its own member."""
    n, sizes = instance.nodes, np.diff(instance.first)
    return Flat(
        first=instance.first,
        cost=instance.costs,
        pairs=instance.pairs,
        at=instance.at,
        table=instance.table,
        start=np.arange(n + 1),
        member=np.arange(n),
        begin=instance.first,
        use=instance.usages,
        pick=spread(np.zeros(n, np.int64), sizes),
        intervals=instance.intervals,
        limit=instance.limit,
    )


def _pruned(flat: Flat) -> Flat | None:
    """Without strategies that cannot be, or need not be, chosen; None if a node has no other."""
    alive = np.isfinite(flat.cost) & _roomy(flat)
    kernels.make_consistent(flat.first, alive, flat.pairs, flat.at, flat.table)
    if not np.logical_or.reduceat(alive, flat.first[:-1]).all():
        return None
    ends = flat.pairs.T.ravel()
    order = np.argsort(ends, kind="stable")
    edge_of = order % max(1, len(flat.pairs))
    slots = starts(np.bincount(ends, minlength=flat.nodes))
    graph = (flat.first, flat.cost, slots, edge_of, flat.pairs, flat.at, flat.table)
    kernels.end_dominated(*graph, alive, flat.start, flat.begin, flat.use)
    return _kept(flat, alive)


def _roomy(flat: Flat) -> np.ndarray:
    """[strategies] whether there is room for what one holds, if all other nodes hold their least."""
    least, _ = flat.extremes()
    spans = flat.intervals[flat.member]
    room = flat.limit - held(spans, least)
    most = _least_within(room, spans) + least + ROUNDING * flat.limit
    lengths = np.diff(flat.begin)
    fits = flat.use <= np.repeat(np.where(spans[:, 1] > spans[:, 0], most, np.inf), lengths)
    tight = np.flatnonzero(~fits)
    roomy = np.ones(len(flat.cost), bool)
    strategy = spread(flat.first[flat.owner], lengths)
    roomy[strategy[tight]] = False
    return roomy


def _least_within(values: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """The least value within each of the spans [start, end); infinite where a span is empty."""
    found = np.full(len(spans), np.inf)
    length = spans[:, 1] - spans[:, 0]
    width, level = 1, values
    while width <= length.max(initial=0):
        here = (length >= width) & (length < 2 * width)
        low, high = spans[here, 0], spans[here, 1] - width
        found[here] = np.minimum(level[low], level[high])
        level = np.minimum(level[:-width], level[width:]) if len(level) > width else level
        width *= 2
    return found


def _kept(flat: Flat, alive: np.ndarray) -> Flat:
    """The problem over living strategies."""
    sizes = np.add.reduceat(alive, flat.first[:-1], dtype=np.int64)
    n, m = sizes[flat.pairs].T
    table = np.empty(int((n * m).sum()))
    kernels.select(flat.first, alive, flat.pairs, flat.at, flat.table, table)
    number = alive[spread(flat.first[flat.owner], np.diff(flat.begin))]
    return replace(
        flat,
        first=starts(sizes),
        cost=flat.cost[alive],
        at=starts(n * m),
        table=table,
        begin=starts(sizes[flat.owner]),
        use=flat.use[number],
        pick=flat.pick[number],
    )


def _leaders(flat: Flat) -> tuple[np.ndarray, np.ndarray]:
    """For each node the one that determines it, and the edge by which it does; -1 for none. No circles.

    The first node with one strategy determines all others that have one.
    """
    leader, via = np.full(flat.nodes, -1), np.full(flat.nodes, -1)
    sizes = np.diff(flat.first)
    fixed = np.flatnonzero(sizes == 1)
    leader[fixed[1:]] = fixed[:1]
    tree = np.where(leader < 0, np.arange(flat.nodes), leader)

    def top(node: int) -> int:
        while tree[node] != node:
            tree[node] = node = tree[tree[node]]
        return node

    found = kernels.determined(flat.first, flat.pairs, flat.at, flat.table)
    for edge in np.flatnonzero(found.any(axis=1) & (sizes[flat.pairs] > 1).all(axis=1)).tolist():
        for side in (0, 1):
            head, follower = int(flat.pairs[edge, side]), int(flat.pairs[edge, 1 - side])
            if found[edge, side] and leader[follower] < 0 and top(head) != top(follower):
                leader[follower], via[follower] = head, edge
                tree[top(follower)] = top(head)
    return leader, via


def _merged(flat: Flat) -> Flat:
    """Nodes that others determine join them; edges of the same nodes add up."""
    leader, via = _leaders(flat)
    depth, root = kernels.depths(leader)
    sizes = np.diff(flat.first)[root]
    begin = starts(sizes)
    maps = np.empty(begin[-1], np.int64)
    order = np.argsort(depth, kind="stable")
    kernels.follow(flat.first, flat.pairs, flat.at, flat.table, leader, via, order, begin, maps)
    roots = np.flatnonzero(leader < 0)
    number = np.empty(flat.nodes, np.int64)
    number[roots] = np.arange(len(roots))
    into = number[root]
    return _joined(_with_edges(flat, into, begin, maps, starts(sizes[roots])), flat, into, begin, maps)


def _with_edges(flat: Flat, into: np.ndarray, begin: np.ndarray, maps: np.ndarray, first: np.ndarray) -> Flat:
    """Costs and edges in terms of the nodes `into` which all go."""
    sizes = np.diff(first)
    strategy = spread(first[into], np.diff(begin))
    own = spread(flat.first[:-1], np.diff(begin)) - spread(np.zeros(flat.nodes, np.int64), np.diff(begin)) + maps
    cost = np.bincount(strategy, weights=flat.cost[own], minlength=int(first[-1]))
    ends = into[flat.pairs]
    inner, flipped = ends[:, 0] == ends[:, 1], ends[:, 0] > ends[:, 1]
    keys = np.sort(ends, axis=1) @ [len(sizes), 1]
    distinct, which = np.unique(keys[~inner], return_inverse=True)
    pairs = np.stack([distinct // len(sizes), distinct % len(sizes)], axis=1)
    at = starts(sizes[pairs[:, 0]] * sizes[pairs[:, 1]])
    target = np.full(len(ends), -1)
    target[~inner] = at[which]
    table = np.zeros(at[-1])
    kernels.merge_tables(flat.first, flat.pairs, flat.at, flat.table, begin, maps, target, table, flipped)
    for edge in np.flatnonzero(inner):
        u, v = flat.pairs[edge]
        row, column = maps[begin[u] : begin[u + 1]], maps[begin[v] : begin[v + 1]]
        own = flat.table[flat.at[edge] + row * (flat.first[v + 1] - flat.first[v]) + column]
        cost[first[into[u]] : first[into[u] + 1]] += own
    return replace(flat, first=first, cost=cost, pairs=pairs, at=at, table=table)


def _joined(merged: Flat, flat: Flat, into: np.ndarray, begin: np.ndarray, maps: np.ndarray) -> Flat:
    """The merged problem with the members of `flat`, sorted by node."""
    order = np.argsort(into[flat.owner], kind="stable")
    owner = flat.owner[order]
    lengths = np.diff(begin)[owner]
    source = np.repeat(flat.begin[:-1][order], lengths) + maps[spread(begin[:-1][owner], lengths)]
    return replace(
        merged,
        start=starts(np.bincount(into[owner], minlength=merged.nodes)),
        member=flat.member[order],
        begin=starts(lengths),
        use=flat.use[source],
        pick=flat.pick[source],
    )


def _dissolved(flat: Flat) -> Flat:
    """Without edges whose matrices are sums of a row and a column."""
    cost = flat.cost.copy()
    stays = ~kernels.dissolve(flat.first, cost, flat.pairs, flat.at, flat.table)
    lengths = np.diff(flat.at)
    return replace(
        flat,
        cost=cost,
        pairs=flat.pairs[stays],
        at=starts(lengths[stays]),
        table=flat.table[np.repeat(stays, lengths)],
    )
