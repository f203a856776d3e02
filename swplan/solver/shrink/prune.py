"""Values that can go at no loss: those without a partner, and those that another replaces.

What a value costs with those of all neighbours is first brought into a row of its own, since every pair of values is
compared. The inner loops are handed these rows, not the whole pool: every call counts its arrays anew.
"""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import inner
from swplan.solver.shrink.pool import INTEGERS, KEPT, degree, noted, steps, taken, touch


@inner
def _rows(pool, v):
    """A row for each value of a variable, and where each neighbour starts in it."""
    first = np.zeros(degree(pool, v) + 1, np.int64)
    half, edge = pool.head[v], 0
    while half >= 0:
        first[edge + 1] = first[edge] + pool.size[pool.end[half]]
        half, edge = pool.next[half], edge + 1
    rows = np.empty((pool.size[v], first[-1]))
    half, edge = pool.head[v], 0
    while half >= 0:
        _bring(pool, half, rows, first[edge])
        half, edge = pool.next[half], edge + 1
    return rows, first


@inner
def _bring(pool, half, rows, column):
    """Brings the table of an edge into the rows."""
    at, (here, there) = pool.table[half >> 1], steps(pool, half)
    others, numbers = pool.size[pool.end[half]], pool.numbers
    for x in range(len(rows)):
        start = at + x * here
        for y in range(others):
            rows[x, column + y] = numbers[start + y * there]


@inner
def _uses_of(pool, v):
    """Where the usages of a variable start, in each row that knows it."""
    return np.array([at for at in pool.usage[:, v] if at >= 0], np.int64)


@inner
def _has_partner(rows, x, begin, end):
    for place in range(begin, end):  # noqa: SIM110 (numba compiles no generators)
        if rows[x, place] < np.inf:
            return True
    return False


@inner
def _support(numbers, cost, rows, first, stays):
    """Ends values without a finite cost, or without a partner in some neighbour."""
    for x in range(len(stays)):
        stays[x] = numbers[cost + x] < np.inf
        for edge in range(len(first) - 1):
            stays[x] = stays[x] and _has_partner(rows, x, first[edge], first[edge + 1])


@inner
def _favourites(rows, x, first, best, places):
    """What a value costs at best, and by which places in its row, edge by edge; `best` is its own cost."""
    for edge in range(len(places)):
        place = first[edge]
        for other in range(place + 1, first[edge + 1]):
            if rows[x, other] < rows[x, place]:
                place = other
        places[edge] = place
        best += rows[x, place]
    return best


@inner
def _cost_with(rows, y, places, total, most):
    """What value y costs with these values of the neighbours, or something above `most`; `total` is its own cost."""
    for place in places:
        if total > most:
            break
        total += rows[y, place]
    return total


@inner
def _uses_more(numbers, uses, y, x):
    """Whether value y uses more of some row than x."""
    for at in uses:  # noqa: SIM110 (numba compiles no generators)
        if numbers[at + y] > numbers[at + x]:
            return True
    return False


@inner
def _slack_left(rows, x, y, begin, end, place, slack):
    """What is left of the slack where a neighbour chooses what suits y least; below zero: less than nothing.

    Row x exceeds row y by the slack at `place`; where it is infinite, it exceeds it by any amount.
    """
    least = rows[x, place] - rows[y, place]
    for other in range(begin, end):
        excess = rows[x, other] - rows[y, other]
        if excess < least and rows[x, other] < np.inf:
            slack -= least - excess
            least = excess
            if slack < 0:
                break
    return slack


@inner
def _replaces(rows, y, x, first, places, slack):
    """Whether value y costs no more than x, whatever the neighbours choose; at `places` it costs `slack` less."""
    for edge in range(len(places)):
        if slack < 0:
            break
        slack = _slack_left(rows, x, y, first[edge], first[edge + 1], places[edge], slack)
    return slack >= 0


@inner
def _is_replaced(numbers, cost, x, rows, first, uses, stays, places):
    """Whether another value that stays replaces x at no loss and no more usage."""
    best = _favourites(rows, x, first, numbers[cost + x], places)
    for y in range(len(stays)):
        if x == y or not stays[y]:
            continue
        slack = best - _cost_with(rows, y, places, numbers[cost + y], best)
        if slack >= 0 and not _uses_more(numbers, uses, y, x) and _replaces(rows, y, x, first, places, slack):
            return True
    return False


@inner
def _end_replaced(numbers, cost, rows, first, uses, stays):
    """Ends values, one after the other, that another replaces; of equal ones, the first stays."""
    places = np.empty(len(first) - 1, np.int64)
    for x in range(len(stays) - 1, -1, -1):
        if stays[x] and _is_replaced(numbers, cost, x, rows, first, uses, stays, places):
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
    stays, (rows, first) = np.ones(pool.size[v], np.bool_), _rows(pool, v)
    _support(pool.numbers, pool.cost[v], rows, first, stays)
    if stays.sum() > 1:
        _end_replaced(pool.numbers, pool.cost[v], rows, first, _uses_of(pool, v), stays)
    if not stays.all():
        _keep(pool, v, stays)
