"""Sweeps of messages, which raise a lower bound on the cost of all choices and suggest a choice.

Sequential tree-reweighted message passing (TRW-S): V. Kolmogorov, Convergent tree-reweighted message passing for energy
minimization, IEEE PAMI 28 (2006), doi:10.1109/TPAMI.2006.200, in the order of the nodes. Every matrix must allow each
strategy some partner (`presolve`): then messages are finite. The bound is valid after every sweep.
"""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import compiled
from swplan.solver.large.arrays import Graph
from swplan.solver.large.relax import least, relax


@compiled
def _settle(values, start, width):
    """Takes the least of some values off all of them, and returns it."""
    low = values[start]
    for t in range(1, width):
        low = values[start + t] if values[start + t] < low else low
    for t in range(width):
        values[start + t] -= low
    return low


@compiled
def _send(graph, messages, slot, gathered, costs, size, share):
    """Sends a message over a slot; returns what was taken off it."""
    start, own = graph.where[graph.twin[slot]], graph.where[slot]
    width = graph.where[graph.twin[slot] + 1] - start
    for t in range(width):
        messages[start + t] = np.inf
    for s in range(size):
        costs[s] = share * gathered[s] - messages[own + s]
    relax(messages, start, width, graph.table, graph.at[slot], costs, size)
    return _settle(messages, start, width)


@compiled
def _gather(graph, cost, messages, node, gathered):
    """Sums the costs of a node and all messages to it; returns the least sum, which is taken off."""
    first, size = graph.first[node], graph.first[node + 1] - graph.first[node]
    for s in range(size):
        gathered[s] = cost[first + s]
    for slot in range(graph.slots[node], graph.slots[node + 1]):
        for s in range(size):
            gathered[s] += messages[graph.where[slot] + s]
    return _settle(gathered, 0, size)


@compiled
def _pass_on(graph, messages, node, gathered, costs, backward):
    """Sends the messages of a node in one direction; returns what was taken off them."""
    low, middle, high = graph.slots[node], graph.middle[node], graph.slots[node + 1]
    size = graph.first[node + 1] - graph.first[node]
    more = middle - low if middle - low > high - middle else high - middle
    share = 1.0 / more if more > 0 else 1.0
    begin, end = (low, middle) if backward else (middle, high)
    taken = 0.0
    for slot in range(begin, end):
        taken += _send(graph, messages, slot, gathered, costs, size, share)
    return taken


@compiled
def _sweep(graph, cost, messages, gathered, costs):
    nodes = len(graph.first) - 1
    for node in range(nodes):
        _gather(graph, cost, messages, node, gathered)
        _pass_on(graph, messages, node, gathered, costs, False)
    bound = 0.0
    for node in range(nodes - 1, -1, -1):
        bound += _gather(graph, cost, messages, node, gathered)
        bound += _pass_on(graph, messages, node, gathered, costs, True)
    return bound


def sweep(graph: Graph, cost: np.ndarray, messages: np.ndarray) -> float:
    """One sweep forward and one backward; returns the bound."""
    return _sweep(graph, cost, messages, np.empty(graph.widest), np.empty(graph.widest))


@compiled
def _suggest(graph, cost, messages, node, choice, gathered):
    """The best strategy of a node, given what was chosen for earlier nodes and the messages of later ones."""
    first, size = graph.first[node], graph.first[node + 1] - graph.first[node]
    for s in range(size):
        gathered[s] = cost[first + s]
    for slot in range(graph.slots[node], graph.slots[node + 1]):
        other = graph.other[slot]
        values, start = messages, graph.where[slot]
        if other < node:
            values, start = graph.table, graph.at[graph.twin[slot]] + choice[other] * size
        for s in range(size):
            gathered[s] += values[start + s]
    return least(gathered, size)


@compiled
def _suggest_all(graph, cost, messages, choice, gathered):
    for node in range(len(choice)):
        choice[node] = _suggest(graph, cost, messages, node, choice, gathered)


def suggested(graph: Graph, cost: np.ndarray, messages: np.ndarray) -> np.ndarray:
    """The choice that messages suggest, node by node."""
    choice = np.zeros(len(graph.first) - 1, np.int64)
    _suggest_all(graph, cost, messages, choice, np.empty(graph.widest))
    return choice
