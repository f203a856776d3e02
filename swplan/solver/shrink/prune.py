"""Values that can go at no loss: those without a partner, and those that another replaces.

The inner loops are handed the numbers and where tables begin, not the whole pool: every call counts its arrays anew.
"""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import inner
from swplan.solver.shrink.pool import INTEGERS, KEPT, degree, noted, steps, taken, touch

AT, HERE, THERE, OTHERS = range(4)


@inner
def _around(pool, v):
    """For each edge of a variable where its table starts, the steps from value to value, and how many are there."""
    edges = np.empty((degree(pool, v), 4), np.int64)
    half = pool.head[v]
    for edge in edges:
        edge[HERE], edge[THERE] = steps(pool, half)
        edge[AT], edge[OTHERS] = pool.table[half >> 1], pool.size[pool.end[half]]
        half = pool.next[half]
    return edges


@inner
def _uses_of(pool, v):
    """Where the usages of a variable start, in each row that knows it."""
    return np.array([at for at in pool.usage[:, v] if at >= 0], np.int64)


@inner
def _has_partner(numbers, start, count, step):
    for other in range(count):  # noqa: SIM110 (numba compiles no generators)
        if numbers[start + other * step] < np.inf:
            return True
    return False


@inner
def _support(numbers, cost, edges, stays):
    """Ends values without a finite cost, or without a partner in some neighbour."""
    for x in range(len(stays)):
        stays[x] = numbers[cost + x] < np.inf
        for edge in edges:
            start = edge[AT] + x * edge[HERE]
            stays[x] = stays[x] and _has_partner(numbers, start, edge[OTHERS], edge[THERE])


@inner
def _favourites(numbers, cost, edges, columns):
    """What a value costs at best, and by which values of the neighbours, edge by edge; `cost` is where its own is."""
    best = numbers[cost]
    for e in range(len(edges)):
        start, step, column = edges[e, AT], edges[e, THERE], 0
        for other in range(1, edges[e, OTHERS]):
            if numbers[start + other * step] < numbers[start + column * step]:
                column = other
        columns[e] = column
        best += numbers[start + column * step]
    return best


@inner
def _cost_with(numbers, cost, y, edges, columns, most):
    """What value y costs with these values of the neighbours, or something above `most`."""
    total = numbers[cost + y]
    for e in range(len(edges)):
        if total > most:
            break
        total += numbers[edges[e, AT] + y * edges[e, HERE] + columns[e] * edges[e, THERE]]
    return total


@inner
def _uses_more(numbers, uses, y, x):
    """Whether value y uses more of some row than x."""
    for at in uses:  # noqa: SIM110 (numba compiles no generators)
        if numbers[at + y] > numbers[at + x]:
            return True
    return False


@inner
def _slack_left(numbers, x, y, others, step, column, slack):
    """What is left of the slack where a neighbour chooses what suits y least; below zero: less than nothing.

    Line x of the table exceeds line y by the slack with `column`; where it is infinite, it exceeds it by any amount.
    """
    least = numbers[x + column * step] - numbers[y + column * step]
    for other in range(others):
        excess = numbers[x + other * step] - numbers[y + other * step]
        if excess < least and numbers[x + other * step] < np.inf:
            slack -= least - excess
            least = excess
            if slack < 0:
                break
    return slack


@inner
def _replaces(numbers, y, x, edges, columns, slack):
    """Whether value y costs no more than x, whatever the neighbours choose; with `columns` it costs `slack` less."""
    for e in range(len(edges)):
        if slack < 0:
            break
        start, here, there = edges[e, AT], edges[e, HERE], edges[e, THERE]
        slack = _slack_left(numbers, start + x * here, start + y * here, edges[e, OTHERS], there, columns[e], slack)
    return slack >= 0


@inner
def _is_replaced(numbers, cost, x, edges, uses, stays, columns):
    """Whether another value that stays replaces x at no loss and no more usage."""
    own = edges.copy()
    own[:, AT] += x * own[:, HERE]
    best = _favourites(numbers, cost + x, own, columns)
    for y in range(len(stays)):
        if x == y or not stays[y]:
            continue
        slack = best - _cost_with(numbers, cost, y, edges, columns, best)
        if slack >= 0 and not _uses_more(numbers, uses, y, x) and _replaces(numbers, y, x, edges, columns, slack):
            return True
    return False


@inner
def _end_replaced(numbers, cost, edges, uses, stays):
    """Ends values, one after the other, that another replaces; of equal ones, the first stays."""
    columns = np.empty(len(edges), np.int64)
    for x in range(len(stays) - 1, -1, -1):
        if stays[x] and _is_replaced(numbers, cost, x, edges, uses, stays, columns):
            stays[x] = False


@inner
def _compact(numbers, at, kept):
    for position in range(len(kept)):
        numbers[at + position] = numbers[at + kept[position]]


@inner
def _compact_columns(numbers, at, rows, before, kept):
    for row in range(rows):
        for position in range(len(kept)):
            numbers[at + row * len(kept) + position] = numbers[at + row * before + kept[position]]


@inner
def _compact_rows(numbers, at, columns, kept):
    for position in range(len(kept)):
        for column in range(columns):
            numbers[at + position * columns + column] = numbers[at + kept[position] * columns + column]


@inner
def _keep(pool, v, stays):
    """Leaves a variable only some values: in its tables, their lines move to the front."""
    kept = np.flatnonzero(stays)
    step = noted(pool, KEPT, v)
    step[2], step[3] = taken(pool, INTEGERS, len(kept)), len(kept)
    pool.integers[step[2] : step[2] + len(kept)] = kept
    _compact(pool.numbers, pool.cost[v], kept)
    for at in _uses_of(pool, v):
        _compact(pool.numbers, at, kept)
    half = pool.head[v]
    while half >= 0:
        at, others = pool.table[half >> 1], pool.size[pool.end[half]]
        if half & 1:
            _compact_columns(pool.numbers, at, others, len(stays), kept)
        else:
            _compact_rows(pool.numbers, at, others, kept)
        touch(pool, pool.end[half])
        half = pool.next[half]
    pool.size[v] = len(kept)
    touch(pool, v)


@inner
def prune(pool, v):
    """Drops values without finite cost or partner, and those that another replaces."""
    stays, edges = np.ones(pool.size[v], np.bool_), _around(pool, v)
    _support(pool.numbers, pool.cost[v], edges, stays)
    if stays.sum() > 1:
        _end_replaced(pool.numbers, pool.cost[v], edges, _uses_of(pool, v), stays)
    if not stays.all():
        _keep(pool, v, stays)
