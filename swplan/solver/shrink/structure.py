"""Variables and edges that can go at no loss: what a neighbour determines, and what has few neighbours."""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import inner
from swplan.solver.shrink.pool import (
    ANSWERS,
    BEGIN,
    FLOATS,
    FOLLOWS,
    INTEGERS,
    WAITING,
    connected,
    degree,
    disconnect,
    lines,
    noted,
    room,
    steps,
    taken,
    touch,
    uses,
)

SMALL = 1 << 15
"""Sums of two tables and costs that are made at once."""


@inner
def _is_sum(pool, half, rounding):
    """Whether a finite table is the sum of a row and a column, but for rounding."""
    at, numbers = pool.table[half >> 1], pool.numbers
    n, m = pool.size[pool.end[half | 1]], pool.size[pool.end[half & -2]]
    a, b, c, d = numbers[at], numbers[at + n * m - 1], numbers[at + (n - 1) * m], numbers[at + m - 1]
    if not abs(a + b - c - d) <= rounding * (abs(a) + abs(b) + abs(c) + abs(d)) < np.inf:
        return False
    largest, error = 0.0, 0.0
    for x in range(n):
        row, left = at + x * m, numbers[at + x * m] - numbers[at]
        for y in range(m):
            entry = numbers[row + y]
            largest, error = max(largest, abs(entry)), max(error, abs(entry - left - numbers[at + y]))
    return error <= rounding * largest < np.inf


@inner
def _dissolve(pool, v, rounding):
    """Removes the edges of a variable that are sums of a row and a column."""
    half = pool.head[v]
    while half >= 0:
        after = pool.next[half]
        if _is_sum(pool, half, rounding):
            w, at = pool.end[half], pool.table[half >> 1]
            here, there = steps(pool, half)
            for x in range(pool.size[v]):
                pool.numbers[pool.cost[v] + x] += pool.numbers[at + x * here]
            for y in range(pool.size[w]):
                pool.numbers[pool.cost[w] + y] += pool.numbers[at + y * there] - pool.numbers[at]
            disconnect(pool, half)
            touch(pool, w)
            pool.dirty[v] = True
        half = after


@inner
def _allows_one(pool, half):
    """Whether each value of the variable of a half allows at most one of the other."""
    here, there = steps(pool, half)
    at, w = pool.table[half >> 1], pool.end[half]
    for x in range(pool.size[pool.end[half ^ 1]]):
        allowed = 0
        for y in range(pool.size[w]):
            allowed += pool.numbers[at + x * here + y * there] < np.inf
        if allowed > 1:
            return False
    return True


@inner
def _leading(pool, v):
    """The half of the neighbour with the lowest number that determines a variable; -1: none does."""
    found, half = -1, pool.head[v]
    while half >= 0:
        if (found < 0 or pool.end[half] < pool.end[found ^ 1]) and _allows_one(pool, half ^ 1):
            found = half ^ 1
        half = pool.next[half]
    return found


@inner
def _answer(pool, v):
    """Notes that a variable takes its best value given its neighbours, of which there are at most two."""
    step = noted(pool, ANSWERS, v)
    step[2], step[3], step[4], step[8] = pool.size[v], pool.cost[v], -1, -1
    half, field = pool.head[v], 4
    while half >= 0:
        step[field], step[field + 1] = pool.end[half], pool.table[half >> 1]
        step[field + 2], step[field + 3] = steps(pool, half)
        half, field = pool.next[half], field + 4


@inner
def _fix(pool, v):
    """Removes a variable with one value."""
    step = noted(pool, ANSWERS, v)
    step[2], step[3], step[4], step[8] = 1, pool.cost[v], -1, -1
    pool.base[0] += pool.numbers[pool.cost[v]]
    for row in range(len(pool.limit)):
        if pool.usage[row, v] >= 0:
            pool.limit[row] -= pool.numbers[pool.usage[row, v]]
    while pool.head[v] >= 0:
        half = pool.head[v]
        w, at = pool.end[half], pool.table[half >> 1]
        for y in range(pool.size[w]):
            pool.numbers[pool.cost[w] + y] += pool.numbers[at + y]
        disconnect(pool, half)
        touch(pool, w)
    pool.size[v] = 0


@inner
def _partners(pool, half, start):
    """For each value of the variable of a half the one that it allows of the other."""
    here, there = steps(pool, half)
    at, w = pool.table[half >> 1], pool.end[half]
    for x in range(pool.size[pool.end[half ^ 1]]):
        pool.integers[start + x] = 0
        for y in range(pool.size[w]):
            if pool.numbers[at + x * here + y * there] < np.inf:
                pool.integers[start + x] = y


@inner
def _join_usage(pool, leader, v, partner):
    for row in range(len(pool.limit)):
        theirs, ours = pool.usage[row, v], pool.usage[row, leader]
        if theirs < 0:
            continue
        if ours < 0:
            ours = pool.usage[row, leader] = taken(pool, FLOATS, pool.size[leader])
            pool.numbers[ours : ours + pool.size[leader]] = 0.0
        for x in range(pool.size[leader]):
            pool.numbers[ours + x] += pool.numbers[theirs + pool.integers[partner + x]]


@inner
def _inherit(pool, leader, half, partner):
    """Adds the table of a half to the edge that the leader has with the other end."""
    w, at = pool.end[half], pool.table[half >> 1]
    here, there = steps(pool, half)
    own = connected(pool, leader, w)
    to = pool.table[own >> 1]
    step, across = steps(pool, own)
    for x in range(pool.size[leader]):
        row = at + pool.integers[partner + x] * here
        for y in range(pool.size[w]):
            pool.numbers[to + x * step + y * across] += pool.numbers[row + y * there]


@inner
def _absorb(pool, half):
    """Removes the variable at the other end of a half, which that of the half determines."""
    leader, v, at = pool.end[half ^ 1], pool.end[half], pool.table[half >> 1]
    here, there = steps(pool, half)
    partner = taken(pool, INTEGERS, pool.size[leader])
    _partners(pool, half, partner)
    step = noted(pool, FOLLOWS, v)
    step[2], step[3] = leader, partner
    for x in range(pool.size[leader]):
        y = pool.integers[partner + x]
        pool.numbers[pool.cost[leader] + x] += pool.numbers[at + x * here + y * there] + pool.numbers[pool.cost[v] + y]
    _join_usage(pool, leader, v, partner)
    disconnect(pool, half)
    while pool.head[v] >= 0:
        other = pool.head[v]
        touch(pool, pool.end[other])
        _inherit(pool, leader, other, partner)
        disconnect(pool, other)
    pool.size[v] = 0
    touch(pool, leader)


@inner
def _best_given(pool, v, half):
    """Adds to the costs of the only neighbour what a variable costs at best, for each of its values."""
    w, at = pool.end[half], pool.table[half >> 1]
    here, there = steps(pool, half)
    for y in range(pool.size[w]):
        least = np.inf
        for x in range(pool.size[v]):
            least = min(least, pool.numbers[pool.cost[v] + x] + pool.numbers[at + x * here + y * there])
        pool.numbers[pool.cost[w] + y] += least


@inner
def _row_into(pool, row, half, value, costs):
    """Writes what the values of the variable of a half cost with a value of the other end; `costs` of them included."""
    here, there = steps(pool, half)
    at = pool.table[half >> 1] + value * there
    for x in range(len(row)):
        row[x] = pool.numbers[at + x * here] + costs[x]


@inner
def _least_sum(a, b):
    least = np.inf
    for x in range(len(a)):
        least = min(least, a[x] + b[x])
    return least


@inner
def _min_plus(pool, first, second, v):
    """The least over the values of a variable between two halves of it, for kinds of values at their ends."""
    (kind, one), (other_kind, other) = lines(pool, first), lines(pool, second)
    costs = pool.numbers[pool.cost[v] : pool.cost[v] + pool.size[v]]
    none = np.zeros(len(costs))
    rows, columns = np.empty((len(one), len(costs))), np.empty((len(other), len(costs)))
    for k in range(len(one)):
        _row_into(pool, rows[k], first, one[k], costs)
    for k in range(len(other)):
        _row_into(pool, columns[k], second, other[k], none)
    least = np.empty((len(one), len(other)))
    for k in range(len(one)):
        for other_k in range(len(other)):
            least[k, other_k] = _least_sum(rows[k], columns[other_k])
    return least, kind, other_kind


@inner
def _eliminate(pool, v):
    """Removes a variable with at most two neighbours: its best cost, for each pair of values of these."""
    _answer(pool, v)
    first = pool.head[v]
    if first < 0:
        pool.base[0] += pool.numbers[pool.cost[v] : pool.cost[v] + pool.size[v]].min()
        pool.size[v] = 0
        return
    i, second = pool.end[first], pool.next[first]
    touch(pool, i)
    if second < 0:
        _best_given(pool, v, first)
        disconnect(pool, first)
        pool.size[v] = 0
        return
    j = pool.end[second]
    touch(pool, j)
    least, kind, other_kind = _min_plus(pool, first, second, v)
    disconnect(pool, first)
    disconnect(pool, second)
    pool.size[v] = 0
    own = connected(pool, i, j)
    at = pool.table[own >> 1]
    step, across = steps(pool, own)
    for x in range(len(kind)):
        for y in range(len(other_kind)):
            pool.numbers[at + x * step + y * across] += least[kind[x], other_kind[y]]


@inner
def _is_small(pool, v):
    """Whether a variable with at most two neighbours may be minimised out before its values are pruned."""
    entries, half = pool.size[v], pool.head[v]
    while half >= 0:
        entries, half = entries * pool.size[pool.end[half]], pool.next[half]
    return entries <= SMALL


@inner
def _remove(pool, v):
    """Removes a variable if that costs nothing."""
    if pool.size[v] == 1:
        _fix(pool, v)
        return
    half = _leading(pool, v)
    if half >= 0:
        _absorb(pool, half)
    elif degree(pool, v) <= 2 and not uses(pool, v) and (_is_small(pool, v) or not pool.dirty[v]):
        _eliminate(pool, v)


@inner
def structure(pool, rounding):
    """Removes variables and edges while any waits to be looked at; whether there was room."""
    while pool.count[WAITING] > 0:
        v = pool.queue[pool.count[BEGIN]]
        if pool.size[v] > 0 and not room(pool, v):
            return False
        pool.count[BEGIN] = (pool.count[BEGIN] + 1) % len(pool.queue)
        pool.count[WAITING] -= 1
        pool.waits[v] = False
        if pool.size[v] > 0:
            _dissolve(pool, v, rounding)
            _remove(pool, v)
    return True
