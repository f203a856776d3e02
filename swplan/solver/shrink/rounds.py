"""All reductions, until nothing changes: the entry of the package, whose other one is `pool.go_back`."""

from __future__ import annotations

import numpy as np

from swplan.solver.compiled import compiled, inner
from swplan.solver.shrink.pool import WAITING, degree, room, touch, uses
from swplan.solver.shrink.prune import prune
from swplan.solver.shrink.structure import structure


@inner
def _settle(pool):
    """Drops what a row has in constants, and rows that nothing exceeds."""
    for row in range(len(pool.limit)):
        most = 0.0
        for v in range(len(pool.size)):
            at = pool.usage[row, v]
            if at < 0 or pool.size[v] == 0:
                continue
            used = pool.numbers[at : at + pool.size[v]]
            if used.min() == used.max():
                pool.limit[row] -= used[0]
                pool.usage[row, v] = -1
            else:
                most += used.max()
        if most <= pool.limit[row]:
            pool.limit[row] = np.inf
            pool.usage[row, :] = -1


@inner
def _look_again(pool):
    """Has variables looked at that were too large to be minimised out before values fell."""
    for v in range(len(pool.size)):
        if pool.size[v] > 0 and not pool.dirty[v] and degree(pool, v) == 2 and not uses(pool, v):
            touch(pool, v)
            pool.dirty[v] = False


@compiled
def shrink(pool, rounding):
    """Reduces until nothing changes, or a variable has no value left; whether there was room."""
    while True:
        _settle(pool)
        if not structure(pool, rounding):
            return False
        for v in range(len(pool.size)):
            if pool.size[v] == 0 or not pool.dirty[v]:
                continue
            if not room(pool, v):
                return False
            pool.dirty[v] = False
            prune(pool, v)
            if pool.size[v] == 0:
                return True
        _look_again(pool)
        if pool.count[WAITING] == 0:
            _settle(pool)
            return True
