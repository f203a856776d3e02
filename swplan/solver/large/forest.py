"""Moves that are exact on a random forest: all nodes of an induced forest at once, the others held.

Dynamic programming from leaves to roots and back; half of the nodes and more of them move together. Such subgraphs as
neighbourhoods: F. Hamze and N. de Freitas, From fields to trees, UAI 2004, arXiv:1207.4149 (there for sampling).
"""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import compiled
from swplan.solver.large.arrays import Graph
from swplan.solver.large.relax import least, relax

OUTSIDE = -1


@compiled
def _root(tree, node):
    while tree[node] != node:
        tree[node] = tree[tree[node]]
        node = tree[node]
    return node


@compiled
def _closes_circle(graph, tree, mark, node):
    """Whether two neighbours of a node are in the same tree already."""
    for slot in range(graph.slots[node], graph.slots[node + 1]):
        other = graph.other[slot]
        if tree[other] != OUTSIDE:
            root = _root(tree, other)
            if mark[root] == node:
                return True
            mark[root] = node
    return False


@compiled
def _grown(graph, order):
    """A largest forest that nodes make when they join in this order: `tree[node]` is -1 for those outside."""
    nodes = len(graph.first) - 1
    tree, mark = np.empty(nodes, np.int64), np.empty(nodes, np.int64)
    for node in range(nodes):
        tree[node], mark[node] = OUTSIDE, OUTSIDE
    for position in range(len(order)):
        node = order[position]
        if _closes_circle(graph, tree, mark, node):
            continue
        tree[node] = node
        for slot in range(graph.slots[node], graph.slots[node + 1]):
            if tree[graph.other[slot]] != OUTSIDE:
                tree[_root(tree, graph.other[slot])] = node
    return tree


@compiled
def _walk_tree(graph, tree, seen, nodes, above, count):
    """Appends the tree whose root is the last of the first `count` nodes; returns the new count."""
    head = count - 1
    while head < count:
        node = nodes[head]
        head += 1
        for slot in range(graph.slots[node], graph.slots[node + 1]):
            other = graph.other[slot]
            if tree[other] != OUTSIDE and not seen[other]:
                seen[other] = True
                above[other] = graph.twin[slot]
                nodes[count] = other
                count += 1
    return count


@compiled
def _walk(graph, tree, order, nodes, above):
    """Fills `nodes` of the forest, parents first, and `above`, the slot of each to its parent; returns how many."""
    seen = np.empty(len(tree), np.bool_)
    for node in range(len(tree)):
        seen[node], above[node] = False, OUTSIDE
    count = 0
    for position in range(len(order)):
        node = order[position]
        if tree[node] != OUTSIDE and not seen[node]:
            seen[node] = True
            nodes[count] = node
            count = _walk_tree(graph, tree, seen, nodes, above, count + 1)
    return count


@compiled
def _given_outside(graph, cost, choice, tree, node, out):
    """The costs of a node, given what is chosen outside the forest, at its place in `out`."""
    first, size = graph.first[node], graph.first[node + 1] - graph.first[node]
    for s in range(size):
        out[first + s] = cost[first + s]
    for slot in range(graph.slots[node], graph.slots[node + 1]):
        other = graph.other[slot]
        if tree[other] == OUTSIDE:
            at = graph.at[graph.twin[slot]] + choice[other] * size
            for s in range(size):
                out[first + s] += graph.table[at + s]


@compiled
def _lift(graph, slot, node, sums, best):
    """Adds the best of a node to the sums of its parent, for each strategy of that."""
    parent = graph.other[slot]
    first, size = graph.first[node], graph.first[node + 1] - graph.first[node]
    above, width = graph.first[parent], graph.first[parent + 1] - graph.first[parent]
    for t in range(width):
        best[t] = np.inf
    relax(best, 0, width, graph.table, graph.at[slot], sums[first : first + size], size)
    for t in range(width):
        sums[above + t] += best[t]


@compiled
def _decide(graph, slot, node, sums, choice, values):
    """Chooses for a node, given the choice of its parent; what is chosen stays where nothing is better."""
    first, size = graph.first[node], graph.first[node + 1] - graph.first[node]
    for s in range(size):
        values[s] = sums[first + s]
    if slot != OUTSIDE:
        at = graph.at[graph.twin[slot]] + choice[graph.other[slot]] * size
        for s in range(size):
            values[s] += graph.table[at + s]
    best = least(values, size)
    if values[best] < values[choice[node]]:
        choice[node] = best


@compiled
def _improve(graph, cost, choice, order, work):
    nodes, above = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
    tree = _grown(graph, order)
    count = _walk(graph, tree, order, nodes, above)
    sums = np.empty(graph.first[-1])
    for position in range(count):
        _given_outside(graph, cost, choice, tree, nodes[position], sums)
    for position in range(count - 1, -1, -1):
        node = nodes[position]
        if above[node] != OUTSIDE:
            _lift(graph, above[node], node, sums, work)
    for position in range(count):
        _decide(graph, above[nodes[position]], nodes[position], sums, choice, work)


def improve(graph: Graph, cost: np.ndarray, choice: np.ndarray, order: np.ndarray) -> None:
    """Moves `choice` to the best on the forest that nodes make when they join in this order; costs never rise."""
    _improve(graph, cost, choice, order, np.empty(graph.widest))
