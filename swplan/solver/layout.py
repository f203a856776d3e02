"""Where the numbers lie that each step of an elimination adds: worked out once for all networks of one structure.

For elimination.py. All numbers of a pass lie in one array: the costs of a network, the tables of its pairs, then the
message of each step, with an axis for each variable that is left around it, the next one to go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled, inner
from swplan.solver.large.instance import starts
from swplan.solver.network import Network


class Steps(NamedTuple):
    """Each step takes a variable out: it adds its inputs over the variable and those around it, its axes.

    Attributes:
      sizes: [n] of variables.
      variable: [steps].
      start: [steps + 1] where the axes of each step start.
      axes: [axes] variables around, the next one to go first.
      out: [steps + 1] where the message of each starts.
      inputs: [steps + 1] where the inputs of each start, those over few variables first.
      at: [inputs] where each starts.
      own: [inputs] from a value of the variable to the next.
      stride: [inputs, most axes] from a value of each axis to the next; zero where an input does not depend on it.
    """

    sizes: np.ndarray
    variable: np.ndarray
    start: np.ndarray
    axes: np.ndarray
    out: np.ndarray
    inputs: np.ndarray
    at: np.ndarray
    own: np.ndarray
    stride: np.ndarray


class _Queues(NamedTuple):
    """What waits for the step of each variable, as lists: pairs, then the steps that left a message."""

    head: np.ndarray
    tail: np.ndarray
    next: np.ndarray


def laid_out(network: Network, variables: Sequence[int], around: Sequence[tuple[int, ...]]) -> Steps:
    """The steps of eliminating variables in this order, which leaves so many around each."""
    start, axes = starts([len(some) for some in around]), np.array([v for some in around for v in some], np.int64)
    counts = np.diff(start)
    lengths = np.ones(len(counts), np.int64)
    some = counts > 0
    lengths[some] = np.multiply.reduceat(network.sizes[axes], start[:-1][some]) if some.any() else 1
    most = 2 * len(variables) + len(network.pairs)
    steps = Steps(
        sizes=network.sizes,
        variable=np.array(variables, np.int64),
        start=start,
        axes=axes,
        out=len(network.costs) + len(network.tables) + starts(lengths),
        inputs=np.zeros(len(variables) + 1, np.int64),
        at=np.empty(most, np.int64),
        own=np.zeros(most, np.int64),
        stride=np.zeros((most, max(1, int(counts.max(initial=0)))), np.int64),
    )
    _fill(network, steps)
    return steps


@compiled
def _fill(network, steps):
    """Fills in the inputs of all steps."""
    n, m = len(network.sizes), len(network.pairs)
    rank, place, length = np.empty(n, np.int64), np.full(n, -1), np.empty(2 * n + m, np.int64)
    queues = _Queues(np.full(n, -1), np.full(n, -1), np.full(m + n, -1))
    rank[steps.variable] = np.arange(n)
    for pair in range(m):
        _wait(queues, _owner(network, rank, pair), pair)
    count = 0
    for s in range(n):
        v = steps.variable[s]
        low, high = steps.start[s], steps.start[s + 1]
        place[steps.axes[low:high]] = np.arange(high - low)
        steps.at[count], steps.own[count], length[count] = network.first[v], 1, 0
        count += 1
        waiting = queues.head[v]
        while waiting >= 0:
            if waiting < m:
                length[count] = _add_pair(network, steps, place, count, v, waiting)
            else:
                length[count] = _add_message(steps, place, count, waiting - m)
            _sort(steps, length, steps.inputs[s], count)
            count, waiting = count + 1, queues.next[waiting]
        steps.inputs[s + 1] = count
        place[steps.axes[low:high]] = -1
        if high > low:
            _wait(queues, steps.axes[low], m + s)


@inner
def _owner(network, rank, pair):
    """The variable with whose step a pair is added: the first to go, unless that has one value only."""
    i, j = network.pairs[pair, 0], network.pairs[pair, 1]
    first, second = (i, j) if rank[i] < rank[j] else (j, i)
    return first if network.sizes[first] > 1 else second


@inner
def _wait(queues, v, item):
    """Puts an item at the end of the queue of a variable."""
    if queues.head[v] < 0:
        queues.head[v] = item
    else:
        queues.next[queues.tail[v]] = item
    queues.tail[v] = item


@inner
def _add_pair(network, steps, place, count, v, pair):
    """Adds the table of a pair to a step; returns how many axes it has."""
    i, j = network.pairs[pair, 0], network.pairs[pair, 1]
    across, down = 1, network.sizes[j]
    other, own, stride = (j, down, across) if v == i else (i, across, down)
    steps.at[count], steps.own[count] = len(network.costs) + network.at[pair], own
    if network.sizes[other] == 1:
        return 0
    steps.stride[count, place[other]] = stride
    return 1


@inner
def _add_message(steps, place, count, sender):
    """Adds the message of an earlier step to a step; returns how many axes it has."""
    low, high = steps.start[sender], steps.start[sender + 1]
    steps.at[count], stride = steps.out[sender], 1
    for axis in range(high - 1, low, -1):
        v = steps.axes[axis]
        steps.stride[count, place[v]] = stride
        stride *= steps.sizes[v]
    steps.own[count] = stride
    return high - 1 - low


@inner
def _sort(steps, length, begin, last):
    """Moves the last input of a step to its place, after all with as few axes."""
    while last > begin and length[last - 1] > length[last]:
        for column in (length, steps.at, steps.own):
            column[last - 1], column[last] = column[last], column[last - 1]
        for axis in range(steps.stride.shape[1]):
            kept = steps.stride[last, axis]
            steps.stride[last, axis] = steps.stride[last - 1, axis]
            steps.stride[last - 1, axis] = kept
        last -= 1
