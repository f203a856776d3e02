"""What the solver asks of a table of pairs, compiled: tables are small and many, so a call must cost little.

For reduction.py and integer.py, which say what the answers are good for. Entries are costs, infinite where a pair is
forbidden; tables may be transposed views.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, void

from swplan.solver.compiled import compiled, compiled_for

TABLE = float64[:, :]


@compiled_for(boolean(TABLE, float64))
def is_sum(table, rounding):
    """Whether a table is the sum of its first column and its first row, less the corner, but for rounding."""
    n, m = table.shape
    corner, largest, error = table[0, 0], 0.0, 0.0
    last = abs(table[n - 1, m - 1] + corner - table[n - 1, 0] - table[0, m - 1])
    most = max(abs(table[n - 1, m - 1]), abs(corner), abs(table[n - 1, 0]), abs(table[0, m - 1]))
    if not last <= rounding * most < np.inf:
        return False
    for i in range(n):
        for j in range(m):
            entry = table[i, j]
            if not -np.inf < entry < np.inf:
                return False
            largest = max(largest, abs(entry))
            error = max(error, abs(entry - table[i, 0] - (table[0, j] - corner)))
    return error <= rounding * largest


@compiled_for(boolean(TABLE))
def determines(table):
    """Whether each row allows at most one column."""
    for i in range(table.shape[0]):
        allowed = 0
        for j in range(table.shape[1]):
            allowed += table[i, j] < np.inf
        if allowed > 1:
            return False
    return True


@compiled
def _least_excess(table, x, y):
    least = np.inf
    for k in range(table.shape[1]):
        if table[x, k] < np.inf:
            least = min(least, table[x, k] - table[y, k])
    return least


@compiled_for(void(TABLE, TABLE))
def add_excess(worse, table):
    """Adds by how much row x exceeds row y, at least, to worse[x, y]; where row x is infinite, it does."""
    for x in range(len(table)):
        for y in range(len(table)):
            if worse[x, y] > -np.inf:
                worse[x, y] += _least_excess(table, x, y)


@compiled_for(boolean[:](TABLE))
def lasting(worse):
    """Which values stay if one after the other falls that some other one replaces; of equal ones, the first stays."""
    n = worse.shape[0]
    stays = np.ones(n, np.bool_)
    for x in range(n - 1, -1, -1):
        for y in range(n):
            if stays[y] and y != x and worse[x, y] >= 0:
                stays[x] = False
                break
    return stays


@compiled
def _lower(least, row, more):
    for j in range(len(least)):
        least[j] = min(least[j], row[j] + more)


@compiled_for(float64[:, :](TABLE, TABLE))
def min_plus(first, second):
    """The minimum over k of first[i, k] + second[k, j]."""
    found = np.full((first.shape[0], second.shape[1]), np.inf)
    for i in range(len(first)):
        for k in range(len(second)):
            if first[i, k] < np.inf:
                _lower(found[i], second[k], first[i, k])
    return found
