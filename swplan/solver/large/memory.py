"""Compiled arithmetic of costs and memory: what a choice costs and holds, and costs with memory priced."""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import compiled
from swplan.solver.large.arrays import Graph, Memory


@compiled
def cost_of(graph: Graph, cost: np.ndarray, choice: np.ndarray) -> float:
    """The cost of a choice, with costs of strategies other than those of the graph."""
    total = 0.0
    for node in range(len(choice)):
        total += cost[graph.first[node] + choice[node]]
        for slot in range(graph.slots[node], graph.slots[node + 1]):
            other = graph.other[slot]
            if other > node:
                width = graph.first[other + 1] - graph.first[other]
                total += graph.table[graph.at[slot] + choice[node] * width + choice[other]]
    return total


def profile_of(memory: Memory, choice: np.ndarray) -> np.ndarray:
    """[rows] what a choice holds."""
    change = np.zeros(len(memory.limit) + 1)
    _add_changes(memory, choice, change)
    return np.cumsum(change)[:-1]


@compiled
def _add_changes(memory, choice, held):
    """Adds what a choice holds at the first row of every holding, and takes it off after the last."""
    for node in range(len(choice)):
        for holding in range(memory.start[node], memory.start[node + 1]):
            amount = memory.use[memory.at[holding] + choice[node]]
            held[memory.low[holding]] += amount
            held[memory.high[holding]] -= amount


@compiled
def charge(graph: Graph, memory: Memory, reach: np.ndarray, cost: np.ndarray) -> None:
    """Fills `cost` [strategies] with costs and the prices of what is held; `reach` [rows + 1] sums prices of rows."""
    for strategy in range(len(cost)):
        cost[strategy] = graph.cost[strategy]
    for node in range(len(graph.first) - 1):
        first, size = graph.first[node], graph.first[node + 1] - graph.first[node]
        for holding in range(memory.start[node], memory.start[node + 1]):
            price, at = reach[memory.high[holding]] - reach[memory.low[holding]], memory.at[holding]
            for s in range(size):
                cost[first + s] += price * memory.use[at + s]
