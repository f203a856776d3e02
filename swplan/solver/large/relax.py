"""The innermost loop of messages and forests: the least over the rows of a matrix, each with a cost of its own.

Four rows at a time: matrices are about twelve columns wide, too few for a loop over one row to be vectorized well
(measured: 1.05 ns an entry instead of 2.3 at 12 x 12).
"""

from __future__ import annotations

from swplan.solver.compiled import compiled


@compiled
def least(values, count):
    """The position of the least of the first values, the first of equal ones."""
    best = 0
    for position in range(1, count):
        if values[position] < values[best]:
            best = position
    return best


@compiled
def _lower(a, b):
    return a if a < b else b


@compiled
def _relax_one(values, start, width, table, at, cost):
    for t in range(width):
        values[start + t] = _lower(table[at + t] + cost, values[start + t])


@compiled
def _relax_four(values, start, width, table, at, costs, s):
    a, b, c, d = costs[s], costs[s + 1], costs[s + 2], costs[s + 3]
    for t in range(width):
        first = _lower(table[at + t] + a, table[at + width + t] + b)
        second = _lower(table[at + 2 * width + t] + c, table[at + 3 * width + t] + d)
        values[start + t] = _lower(_lower(first, second), values[start + t])


@compiled
def relax(values, start, width, table, at, costs, rows):
    """Lowers `values[start : start + width]` to the least of each column of a matrix plus the costs of its rows."""
    whole = rows // 4 * 4
    for s in range(0, whole, 4):
        _relax_four(values, start, width, table, at + s * width, costs, s)
    for s in range(whole, rows):
        _relax_one(values, start, width, table, at + s * width, costs[s])
