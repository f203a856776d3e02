"""Moves a choice towards another, connected piece by connected piece, where that pays and memory allows it.

What two choices differ in falls into pieces of the graph that do not touch: each changes the cost by itself, and is
taken or left by itself. Memory is exact: no row rises above its limit, or above where it is if it exceeds that.

The idea is that of partition crossover: D. Whitley, D. Hains and A. Howe, Tunneling between optima: partition crossover
for the traveling salesman problem, GECCO 2009.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled
from swplan.solver.large.arrays import Graph, Memory

NOISE = 1e-12  # of the change in cost: no gain


class Piece(NamedTuple):
    """Work space: `nodes` [n], `seen` [n] the piece in which a node was, `change` [rows + 1] zeros between uses."""

    nodes: np.ndarray
    seen: np.ndarray
    change: np.ndarray


def work_space(nodes: int, rows: int) -> Piece:
    """Space for `shift`; it may serve many calls, one at a time."""
    return Piece(np.empty(nodes, np.int64), np.empty(nodes, np.int64), np.zeros(rows + 1))


@compiled
def _collect(graph, choice, goal, piece, node):
    """The nodes of the piece that contains a node, at the start of `piece.nodes`; returns how many."""
    piece.nodes[0], piece.seen[node] = node, node
    count, head = 1, 0
    while head < count:
        here = piece.nodes[head]
        head += 1
        for slot in range(graph.slots[here], graph.slots[here + 1]):
            other = graph.other[slot]
            if choice[other] != goal[other] and piece.seen[other] < 0:
                piece.nodes[count], piece.seen[other] = other, node
                count += 1
    return count


@compiled
def _change(graph, cost, choice, goal, node):
    """What moving a node changes, edges to other moving nodes counted by the lower one only."""
    first = graph.first[node]
    change = cost[first + goal[node]] - cost[first + choice[node]]
    for slot in range(graph.slots[node], graph.slots[node + 1]):
        other = graph.other[slot]
        if choice[other] != goal[other] and other < node:
            continue
        at, width = graph.at[slot], graph.first[other + 1] - graph.first[other]
        change += graph.table[at + goal[node] * width + goal[other]]
        change -= graph.table[at + choice[node] * width + choice[other]]
    return change


@compiled
def _hold(memory, choice, goal, piece, count):
    """Writes what a piece changes in memory to `piece.change`, as differences; returns the rows [low, high)."""
    low, high = len(memory.limit), 0
    for position in range(count):
        node = piece.nodes[position]
        for holding in range(memory.start[node], memory.start[node + 1]):
            at = memory.at[holding]
            amount = memory.use[at + goal[node]] - memory.use[at + choice[node]]
            if amount != 0.0:
                piece.change[memory.low[holding]] += amount
                piece.change[memory.high[holding]] -= amount
                low = memory.low[holding] if memory.low[holding] < low else low
                high = memory.high[holding] if memory.high[holding] > high else high
    return low, high


@compiled
def _fits(memory, held, change, low, high):
    """Whether no row rises above its limit or where it is."""
    rise = 0.0
    for row in range(low, high):
        rise += change[row]
        if rise > 0.0 and held[row] + rise > memory.limit[row]:
            return False
    return True


@compiled
def _take(choice, goal, held, piece, count, low, high):
    rise = 0.0
    for row in range(low, high):
        rise += piece.change[row]
        held[row] += rise
    for position in range(count):
        choice[piece.nodes[position]] = goal[piece.nodes[position]]


@compiled
def _try(graph, memory, cost, choice, goal, held, piece, node):
    """Moves the piece that contains a node, if that pays and fits; returns whether it did."""
    count = _collect(graph, choice, goal, piece, node)
    gain, size = 0.0, 0.0
    for position in range(count):
        change = _change(graph, cost, choice, goal, piece.nodes[position])
        gain -= change
        size += abs(change)
    if not gain > NOISE * size:
        return False
    low, high = _hold(memory, choice, goal, piece, count)
    fits = _fits(memory, held, piece.change, low, high)
    if fits:
        _take(choice, goal, held, piece, count, low, high)
    for row in range(low, high + 1):
        piece.change[row] = 0.0
    return fits


@compiled
def shift(
    graph: Graph,
    memory: Memory,
    cost: np.ndarray,
    choice: np.ndarray,
    goal: np.ndarray,
    held: np.ndarray,
    piece: Piece,
) -> int:
    """Moves `choice` towards `goal` and keeps `held`, what it holds; returns how many pieces moved.

    `cost` [strategies] says what pays: with memory priced, room has its price too.
    """
    moved = 0
    for node in range(len(choice)):
        piece.seen[node] = -1
    for node in range(len(choice)):
        if choice[node] != goal[node] and piece.seen[node] < 0:
            moved += _try(graph, memory, cost, choice, goal, held, piece, node)
    return moved
