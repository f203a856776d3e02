"""The arrays that compiled kernels of this package work on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from swplan.solver.large.instance import starts


class Graph(NamedTuple):
    """Costs of n nodes and of their pairs. Every edge has two slots, one at each end.

    Attributes:
      first: [n + 1] where the strategies of each node start.
      cost: [strategies].
      slots: [n + 1] where the slots of each node start.
      middle: [n] its first slot to a later node.
      other: [slots] the node at the other end; rising within a node.
      twin: [slots] the slot of the same edge at the other end.
      at: [slots] where the matrix starts in `table`: a row for each strategy of this end.
      table: [entries] matrices; equal ones are held once, so that they stay in the caches.
      where: [slots + 1] where the message of a slot starts: a number for each strategy of this end.
    """

    first: np.ndarray
    cost: np.ndarray
    slots: np.ndarray
    middle: np.ndarray
    other: np.ndarray
    twin: np.ndarray
    at: np.ndarray
    table: np.ndarray
    where: np.ndarray

    @property
    def widest(self) -> int:
        """The most strategies of a node."""
        return int(np.diff(self.first).max())


class Memory(NamedTuple):
    """What strategies hold. A node has holdings, each over a range of rows; a row is a time at which memory may bind.

    Attributes:
      start: [n + 1] where the holdings of each node start.
      low: [holdings] first row.
      high: [holdings] row after the last.
      at: [holdings + 1] where the bytes of a holding start in `use`: one number for each strategy of its node.
      use: [numbers] bytes beyond the least that the node holds.
      limit: [rows] bytes left for what is beyond the least.
    """

    start: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at: np.ndarray
    use: np.ndarray
    limit: np.ndarray


def graph_of(first: np.ndarray, cost: np.ndarray, pairs: np.ndarray, at: np.ndarray, table: np.ndarray) -> Graph:
    """The graph of edges `pairs` [m, 2] whose matrices start at `at` in `table`."""
    sizes, edges = np.diff(first), len(pairs)
    ends = np.concatenate([pairs[:, 0], pairs[:, 1]])
    order = np.lexsort((np.concatenate([pairs[:, 1], pairs[:, 0]]), ends))
    position = np.empty_like(order)
    position[order] = np.arange(2 * edges)
    twin = np.concatenate([np.arange(edges, 2 * edges), np.arange(edges)])
    slots = starts(np.bincount(ends, minlength=len(sizes)))
    pool, there = _pooled(sizes, pairs, at, table)
    return Graph(
        first=first,
        cost=cost,
        slots=slots,
        middle=slots[:-1] + np.bincount(pairs.max(axis=1, initial=0), minlength=len(sizes)),
        other=ends[twin][order],
        twin=position[twin][order],
        at=there[order],
        table=pool,
        where=starts(sizes[ends[order]]),
    )


def _pooled(sizes: np.ndarray, pairs: np.ndarray, at: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every distinct matrix once, in both orientations, and where those of each edge start: [2 m]."""
    known: dict[tuple[int, bytes], tuple[int, int]] = {}
    parts, total = [np.zeros(0)], 0
    there = np.empty((2, len(pairs)), np.int64)
    for edge, (u, v) in enumerate(pairs.tolist()):
        matrix = table[at[edge] : at[edge + 1]]
        key = (int(sizes[u]), matrix.tobytes())
        if key not in known:
            known[key] = (total, total + matrix.size)
            parts += [matrix, matrix.reshape(sizes[u], sizes[v]).T.ravel()]
            total += 2 * matrix.size
        there[:, edge] = known[key]
    return np.concatenate(parts), there.ravel()
