"""Compiled parts of `presolve`: what looks at every entry of every matrix.

Arguments are the fields of `presolve.Flat`: where strategies of nodes start, pairs of nodes, where matrices start.
"""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import compiled


@compiled
def _any_partner(table, start, step, alive, base, count):
    """Whether a strategy has an allowed pair with a living strategy of the other node."""
    for t in range(count):  # noqa: SIM110 (numba compiles no generators)
        if alive[base + t] and table[start + t * step] < np.inf:
            return True
    return False


@compiled
def _thin(table, start, step, other_step, alive, base, size, other_base, other_size):
    """Ends the strategies of one node that have no partner in the other; returns how many."""
    ended = 0
    for s in range(size):
        if alive[base + s] and not _any_partner(table, start + s * step, other_step, alive, other_base, other_size):
            alive[base + s] = False
            ended += 1
    return ended


@compiled
def make_consistent(first, alive, pairs, at, table):
    """Ends strategies without partner, until none is left."""
    ended = 1
    while ended:
        ended = 0
        for edge in range(len(pairs)):
            u, v = first[pairs[edge, 0]], first[pairs[edge, 1]]
            n, m = first[pairs[edge, 0] + 1] - u, first[pairs[edge, 1] + 1] - v
            ended += _thin(table, at[edge], m, 1, alive, u, n, v, m)
            ended += _thin(table, at[edge], 1, m, alive, v, m, u, n)


@compiled
def _copy_row(table, start, alive, base, count, out, position):
    for t in range(count):
        if alive[base + t]:
            out[position] = table[start + t]
            position += 1
    return position


@compiled
def select(first, alive, pairs, at, table, out):
    """Writes the entries of living strategies to `out`."""
    position = 0
    for edge in range(len(pairs)):
        u, v = pairs[edge]
        m = first[v + 1] - first[v]
        for s in range(first[u + 1] - first[u]):
            if alive[first[u] + s]:
                position = _copy_row(table, at[edge] + s * m, alive, first[v], m, out, position)


@compiled
def _at_most_one(table, start, step, size, other_step, other_size):
    """Whether every strategy of one node allows at most one of the other."""
    for s in range(size):
        allowed = 0
        for t in range(other_size):
            allowed += table[start + s * step + t * other_step] < np.inf
        if allowed > 1:
            return False
    return True


@compiled
def determined(first, pairs, at, table):
    """[edges, 2] whether the first node determines the second, and the second the first."""
    found = np.zeros((len(pairs), 2), np.bool_)
    for edge in range(len(pairs)):
        n = first[pairs[edge, 0] + 1] - first[pairs[edge, 0]]
        m = first[pairs[edge, 1] + 1] - first[pairs[edge, 1]]
        found[edge, 0] = _at_most_one(table, at[edge], m, n, 1, m)
        found[edge, 1] = _at_most_one(table, at[edge], 1, m, m, n)
    return found


@compiled
def _partner(table, start, step, size):
    """The one strategy that is allowed."""
    for t in range(size):
        if table[start + t * step] < np.inf:
            return t
    return 0


@compiled
def _compose(first, pairs, at, table, leader, via, node, maps, begin):
    """Fills the map of a node from that of its leader; without an edge between them, both have one strategy."""
    if via < 0:
        maps[begin[node] : begin[node + 1]] = 0
        return
    size = first[node + 1] - first[node]
    above = first[leader + 1] - first[leader]
    leads = pairs[via, 0] == leader
    for s in range(begin[node + 1] - begin[node]):
        x = maps[begin[leader] + s]
        start, step = (at[via] + x * size, 1) if leads else (at[via] + x, above)
        maps[begin[node] + s] = _partner(table, start, step, size)


@compiled
def follow(first, pairs, at, table, leader, via, order, begin, maps):
    """Fills `maps`: the strategy of each node for each strategy of its root; `order` has leaders first."""
    for position in range(len(order)):
        node = order[position]
        if leader[node] >= 0:
            _compose(first, pairs, at, table, leader[node], via[node], node, maps, begin)
        else:
            for s in range(begin[node + 1] - begin[node]):
                maps[begin[node] + s] = s


@compiled
def _add(table, start, width, rows, columns, out, to, row_step, column_step):
    """Adds the entries at (rows[s], columns[t]) of a matrix to `out`."""
    for s in range(len(rows)):
        for t in range(len(columns)):
            out[to + s * row_step + t * column_step] += table[start + rows[s] * width + columns[t]]


@compiled
def merge_tables(first, pairs, at, table, begin, maps, target, out, flipped):
    """Adds every matrix, in terms of roots, to `out` where `target` says; transposed where `flipped`."""
    for edge in range(len(pairs)):
        u, v = pairs[edge]
        rows, columns = maps[begin[u] : begin[u + 1]], maps[begin[v] : begin[v + 1]]
        steps = (1, len(rows)) if flipped[edge] else (len(columns), 1)
        if target[edge] >= 0:
            width = first[v + 1] - first[v]
            _add(table, at[edge], width, rows, columns, out, target[edge], steps[0], steps[1])


@compiled
def _is_sum(table, start, rows, columns):
    """Whether a finite matrix is exactly the sum of its first row and its first column, less the corner."""
    for s in range(rows):
        for t in range(columns):
            entry = table[start + s * columns + t]
            if not entry < np.inf or entry != table[start + s * columns] + table[start + t] - table[start]:
                return False
    return True


@compiled
def dissolve(first, cost, pairs, at, table):
    """Moves matrices that are sums of a row and a column into the costs of nodes; returns which edges are gone."""
    gone = np.zeros(len(pairs), np.bool_)
    for edge in range(len(pairs)):
        u, v = pairs[edge]
        n, m, start = first[u + 1] - first[u], first[v + 1] - first[v], at[edge]
        gone[edge] = _is_sum(table, start, n, m)
        if gone[edge]:
            for s in range(n):
                cost[first[u] + s] += table[start + s * m]
            for t in range(m):
                cost[first[v] + t] += table[start + t] - table[start]
    return gone


@compiled
def _no_dearer(table, start, other, step, count, alive, base):
    """Whether one line of a matrix is nowhere above another, as far as the strategies across live."""
    for t in range(count):  # noqa: SIM110 (numba compiles no generators)
        if alive[base + t] and table[start + t * step] > table[other + t * step]:
            return False
    return True


@compiled
def _no_more(use, begin, low, high, s, t):
    """Whether s uses no more than t in all holdings of a node."""
    for holding in range(low, high):  # noqa: SIM110 (numba compiles no generators)
        if use[begin[holding] + s] > use[begin[holding] + t]:
            return False
    return True


@compiled
def _replaces(first, cost, slots, edge_of, pairs, at, table, alive, node, s, t):
    """Whether strategy s of a node costs no more than t, whatever the neighbours do."""
    size = first[node + 1] - first[node]
    if not cost[first[node] + s] <= cost[first[node] + t]:
        return False
    for slot in range(slots[node], slots[node + 1]):
        edge = edge_of[slot]
        leads = pairs[edge, 0] == node
        other = pairs[edge, 1] if leads else pairs[edge, 0]
        width = first[other + 1] - first[other]
        line, step = (width, 1) if leads else (1, size)
        start = at[edge]
        if not _no_dearer(table, start + s * line, start + t * line, step, width, alive, first[other]):
            return False
    return True


@compiled
def _is_dominated(first, cost, slots, edge_of, pairs, at, table, alive, hold, begin, use, node, t):
    for s in range(first[node + 1] - first[node]):
        if s == t or not alive[first[node] + s] or not _no_more(use, begin, hold[node], hold[node + 1], s, t):
            continue
        if _replaces(first, cost, slots, edge_of, pairs, at, table, alive, node, s, t):
            return True
    return False


@compiled
def end_dominated(first, cost, slots, edge_of, pairs, at, table, alive, hold, begin, use):
    """Ends strategies that another of the same node replaces at no more cost and no more usage; returns how many."""
    ended = 0
    for node in range(len(first) - 1):
        for t in range(first[node + 1] - first[node]):
            if not alive[first[node] + t]:
                continue
            if _is_dominated(first, cost, slots, edge_of, pairs, at, table, alive, hold, begin, use, node, t):
                alive[first[node] + t] = False
                ended += 1
    return ended


@compiled
def depths(leader):
    """How many leaders are above each node, and the topmost of them."""
    depth, root = np.zeros(len(leader), np.int64), np.empty(len(leader), np.int64)
    for node in range(len(leader)):
        top = node
        while leader[top] >= 0:
            top = leader[top]
            depth[node] += 1
        root[node] = top
    return depth, root
