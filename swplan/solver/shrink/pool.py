"""The kernels of reduction.py: a graph of costs that shrinks in place, in flat arrays.

Variables and edges are numbers; their costs, tables and usages lie in one pool of floats, which only grows: what a
step of the log names, to go back by, is never written over. An edge has two halves, one in the list of each end; half
2 e belongs to the variable that has the rows of table e, half 2 e + 1 to that of the columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled, inner

KEPT, FOLLOWS, ANSWERS = 0, 1, 2
FIELDS = 12
# Counters: floats, integers, steps of the log; where the queue begins and how much waits; the first free edge.
FLOATS, INTEGERS, STEPS, BEGIN, WAITING, FREE = range(6)


class Pool(NamedTuple):
    """The problem while it shrinks.

    Attributes:
      count: [6] the counters above.
      numbers, integers, log: pools, of which so much is used; a step of the log has `FIELDS`.
      size: [variables] values left; 0: no longer there.
      cost: [variables] where its costs start.
      base: [1] the constant.
      head: [variables] the first of its halves, -1: none.
      next: [halves] the next one in the list; of free edges, the next free edge.
      end: [halves] the variable at the other end.
      table: [edges] where it starts.
      usage: [rows, variables] where the usage starts; -1: none.
      limit: [rows]; infinite for a row that nothing exceeds.
      queue, waits: [variables] a ring of variables to look at, and whether each is in it.
      dirty: [variables] whether values may fall.
    """

    count: np.ndarray
    numbers: np.ndarray
    integers: np.ndarray
    log: np.ndarray
    size: np.ndarray
    cost: np.ndarray
    base: np.ndarray
    head: np.ndarray
    next: np.ndarray
    end: np.ndarray
    table: np.ndarray
    usage: np.ndarray
    limit: np.ndarray
    queue: np.ndarray
    waits: np.ndarray
    dirty: np.ndarray


@inner
def steps(pool, half):
    """From one value to the next, of the variable of a half and of the other one."""
    if half & 1:
        return 1, pool.size[pool.end[half ^ 1]]
    return pool.size[pool.end[half]], 1


@inner
def taken(pool, which, count):
    """Takes so much of a pool; returns where it starts."""
    start = pool.count[which]
    pool.count[which] += count
    return start


@inner
def noted(pool, kind, v):
    """The next step of the log."""
    step = pool.log[taken(pool, STEPS, 1)]
    step[0], step[1] = kind, v
    return step


@inner
def touch(pool, v):
    """Has a variable looked at again."""
    pool.dirty[v] = True
    if not pool.waits[v]:
        pool.waits[v] = True
        pool.queue[(pool.count[BEGIN] + pool.count[WAITING]) % len(pool.queue)] = v
        pool.count[WAITING] += 1


@inner
def _unlink(pool, v, half):
    """Takes a half out of the list of its variable."""
    if pool.head[v] == half:
        pool.head[v] = pool.next[half]
        return
    before = pool.head[v]
    while pool.next[before] != half:
        before = pool.next[before]
    pool.next[before] = pool.next[half]


@inner
def disconnect(pool, half):
    """Takes an edge out."""
    edge = half >> 1
    _unlink(pool, pool.end[half ^ 1], half)
    _unlink(pool, pool.end[half], half ^ 1)
    pool.next[2 * edge] = pool.count[FREE]
    pool.count[FREE] = edge


@inner
def _between(pool, v, w):
    """The half of v of its edge to w; -1: there is none."""
    half = pool.head[v]
    while half >= 0 and pool.end[half] != w:
        half = pool.next[half]
    return half


@inner
def connected(pool, v, w):
    """The half of v of its edge to w, which is made if there is none, with a table of zeros."""
    half = _between(pool, v, w)
    if half >= 0:
        return half
    edge = pool.count[FREE]
    pool.count[FREE] = pool.next[2 * edge]
    half, entries = 2 * edge, pool.size[v] * pool.size[w]
    pool.table[edge] = taken(pool, FLOATS, entries)
    for entry in range(entries):
        pool.numbers[pool.table[edge] + entry] = 0.0
    pool.end[half], pool.end[half + 1] = w, v
    pool.next[half], pool.next[half + 1] = pool.head[v], pool.head[w]
    pool.head[v], pool.head[w] = half, half + 1
    return half


@inner
def degree(pool, v):
    """How many neighbours a variable has."""
    count, half = 0, pool.head[v]
    while half >= 0:
        count, half = count + 1, pool.next[half]
    return count


@inner
def uses(pool, v):
    """Whether any row knows a variable."""
    for row in range(len(pool.limit)):  # noqa: SIM110 (numba compiles no generators)
        if pool.usage[row, v] >= 0:
            return True
    return False


@inner
def room(pool, v):
    """Whether what may happen to a variable, or be handed on by it, finds room."""
    most, here, there = 0, pool.size[v], 0
    half = pool.head[v]
    while half >= 0:
        most, there, half = max(most, pool.size[pool.end[half]]), there + pool.size[pool.end[half]], pool.next[half]
    floats = most * (there + len(pool.limit))
    return (
        pool.count[FLOATS] + floats <= len(pool.numbers)
        and pool.count[INTEGERS] + max(most, here) <= len(pool.integers)
        and pool.count[STEPS] + 2 <= len(pool.log)
    )


@inner
def _equal(numbers, a, b, m, across):
    for y in range(m):  # noqa: SIM110 (numba compiles no generators)
        if numbers[a + y * across] != numbers[b + y * across]:
            return False
    return True


@inner
def kinds_of(numbers, at, n, step, m, across, kind, first):
    """The kind of each of n lines of m numbers, equal lines being of one kind; returns how many kinds there are."""
    count = 0
    for x in range(n):
        kind[x] = count
        for k in range(count):
            if _equal(numbers, at + x * step, at + first[k] * step, m, across):
                kind[x] = k
                break
        if kind[x] == count:
            first[count] = x
            count += 1
    return count


@inner
def lines(pool, half):
    """Kinds of the values at the other end of a half, and the first value of each."""
    here, there = steps(pool, half)
    v, w = pool.end[half ^ 1], pool.end[half]
    kind, first = np.empty(pool.size[w], np.int64), np.empty(pool.size[w], np.int64)
    count = kinds_of(pool.numbers, pool.table[half >> 1], pool.size[w], there, pool.size[v], here, kind, first)
    return kind, first[:count]


@compiled
def copied(pool, nodes, first, rows, halves, at, usage, costs, tables):
    """Copies out what is left: usages of rows, and costs, of some variables, and tables of edges, by their halves."""
    for number in range(len(nodes)):
        v, to = nodes[number], first[number]
        for x in range(pool.size[v]):
            costs[to + x] = pool.numbers[pool.cost[v] + x]
        for row in range(len(rows)):
            start = pool.usage[rows[row], v]
            for x in range(pool.size[v] if start >= 0 else 0):
                usage[row, to + x] = pool.numbers[start + x]
    for number in range(len(halves)):
        half = halves[number]
        here, there = steps(pool, half)
        count, columns, to = pool.size[pool.end[half ^ 1]], pool.size[pool.end[half]], at[number]
        for x in range(count):
            start = pool.table[half >> 1] + x * here
            for y in range(columns):
                tables[to + x * columns + y] = pool.numbers[start + y * there]


@inner
def _answered(step, numbers, choice):
    """The best value of a variable given its neighbours, the first of equal ones."""
    best, least = 0, np.inf
    for x in range(step[2]):
        cost = numbers[step[3] + x]
        for field in (4, 8):
            if step[field] >= 0:
                cost += numbers[step[field + 1] + x * step[field + 2] + choice[step[field]] * step[field + 3]]
        if cost < least:
            best, least = x, cost
    return best


@compiled
def go_back(log, steps, integers, numbers, choice):
    """Fills in the values of variables that are gone."""
    for number in range(steps - 1, -1, -1):
        step = log[number]
        v = step[1]
        if step[0] == KEPT:
            choice[v] = integers[step[2] + choice[v]]
        elif step[0] == FOLLOWS:
            choice[v] = integers[step[3] + choice[step[2]]]
        else:
            choice[v] = _answered(step, numbers, choice)
