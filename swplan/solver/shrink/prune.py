"""Values that can go at no loss: those without a partner, and those that another replaces."""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import compiled
from swplan.solver.shrink.pool import INTEGERS, KEPT, lines, noted, steps, taken, touch


@compiled
def _least_excess(numbers, a, b, columns, across):
    """By how much line a exceeds line b, at least; where it is infinite, it does."""
    least = np.inf
    for y in columns:
        if numbers[a + y * across] < np.inf:
            least = min(least, numbers[a + y * across] - numbers[b + y * across])
    return least


@compiled
def _add_excess(pool, half, worse):
    """Adds by how much value x costs more than value y over an edge, at least, to worse[x, y]."""
    here, there = steps(pool, half)
    at = pool.table[half >> 1]
    (kind, first), (_, columns) = lines(pool, half ^ 1), lines(pool, half)
    least = np.empty((len(first), len(first)))
    for a in range(len(first)):
        for b in range(len(first)):
            start, other = at + first[a] * here, at + first[b] * here
            least[a, b] = _least_excess(pool.numbers, start, other, columns, there)
    for x in range(len(kind)):
        for y in range(len(kind)):
            worse[x, y] += least[kind[x], kind[y]]


@compiled
def _has_partner(pool, start, count, step):
    for y in range(count):  # noqa: SIM110 (numba compiles no generators)
        if pool.numbers[start + y * step] < np.inf:
            return True
    return False


@compiled
def _supported(pool, v, stays):
    """Values with a finite cost and a partner in every neighbour."""
    for x in range(len(stays)):
        stays[x] = pool.numbers[pool.cost[v] + x] < np.inf
    half = pool.head[v]
    while half >= 0:
        here, there = steps(pool, half)
        for x in range(len(stays)):
            if stays[x]:
                stays[x] = _has_partner(pool, pool.table[half >> 1] + x * here, pool.size[pool.end[half]], there)
        half = pool.next[half]


@compiled
def _rule_out(usage, worse):
    for x in range(len(worse)):
        for y in range(len(worse)):
            if usage[x] < usage[y]:
                worse[x, y] = -np.inf


@compiled
def _uses_less(pool, v, worse):
    """Rules out that a value is replaced by one that uses more."""
    for row in range(len(pool.limit)):
        if pool.usage[row, v] >= 0:
            _rule_out(pool.numbers[pool.usage[row, v] :], worse)


@compiled
def _end_replaced(stays, worse):
    """Ends values, one after the other, that some other one replaces; of equal ones, the first stays."""
    for x in range(len(stays) - 1, -1, -1):
        for y in range(len(stays)):
            if x != y and stays[x] and stays[y] and worse[x, y] >= 0:
                stays[x] = False


@compiled
def _replaced(pool, v, stays):
    """Ends values that another replaces at no loss, whatever the others do, and at no more usage."""
    n, cost = len(stays), pool.cost[v]
    worse = np.empty((n, n))
    for x in range(n):
        for y in range(n):
            worse[x, y] = pool.numbers[cost + x] - pool.numbers[cost + y] if stays[x] and stays[y] else -np.inf
    _uses_less(pool, v, worse)
    half = pool.head[v]
    while half >= 0:
        _add_excess(pool, half, worse)
        half = pool.next[half]
    _end_replaced(stays, worse)


@compiled
def _compact(numbers, at, kept):
    for position in range(len(kept)):
        numbers[at + position] = numbers[at + kept[position]]


@compiled
def _compact_table(pool, half, before, kept):
    """Leaves a table only the lines of some values, which move to the front."""
    at, others = pool.table[half >> 1], pool.size[pool.end[half]]
    if half & 1:
        for y in range(others):
            for position in range(len(kept)):
                pool.numbers[at + y * len(kept) + position] = pool.numbers[at + y * before + kept[position]]
        return
    for position in range(len(kept)):
        for y in range(others):
            pool.numbers[at + position * others + y] = pool.numbers[at + kept[position] * others + y]


@compiled
def _keep(pool, v, stays):
    """Leaves a variable only some values."""
    kept = np.flatnonzero(stays)
    step = noted(pool, KEPT, v)
    step[2], step[3] = taken(pool, INTEGERS, len(kept)), len(kept)
    pool.integers[step[2] : step[2] + len(kept)] = kept
    _compact(pool.numbers, pool.cost[v], kept)
    for row in range(len(pool.limit)):
        if pool.usage[row, v] >= 0:
            _compact(pool.numbers, pool.usage[row, v], kept)
    half = pool.head[v]
    while half >= 0:
        _compact_table(pool, half, len(stays), kept)
        touch(pool, pool.end[half])
        half = pool.next[half]
    pool.size[v] = len(kept)
    touch(pool, v)


@compiled
def prune(pool, v):
    """Drops values without finite cost or partner, and those that another replaces."""
    stays = np.ones(pool.size[v], np.bool_)
    _supported(pool, v, stays)
    if stays.sum() > 1:
        _replaced(pool, v, stays)
    if not stays.all():
        _keep(pool, v, stays)
