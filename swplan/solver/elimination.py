"""Exact minimisation of a sum of small tables by eliminating one variable after the other.

For the solver, which states problems and chooses between methods; nothing here knows rows or time limits. Eliminating a
variable replaces the tables that mention it by one over its neighbours: the minimum of their sum, its message. Going
back, each variable takes its best value given the others. The order is found here, what is added by whom is laid out
once for it (layout.py), and each pass over the tables is one kernel (tables.py).

Sources: U. Bertele and F. Brioschi, Nonserial Dynamic Programming, Academic Press 1972; R. Dechter, Bucket elimination:
a unifying framework for reasoning, Artificial Intelligence 113 (1999), doi:10.1016/S0004-3702(99)00059-4. Order: the
variable that leaves the smallest table first (U. Kjaerulff, Triangulation of graphs, report R 90-09, Aalborg 1990).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swplan.solver.layout import Steps, laid_out
from swplan.solver.network import Network
from swplan.solver.tables import backward, forward, outward


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to eliminate, for every network of one structure: variables, and who is left around each; entries added."""

    variables: tuple[int, ...]
    around: tuple[tuple[int, ...], ...]
    work: int


def order(network: Network, table_limit: int) -> Order | None:
    """The greedy order: always the variable that leaves the smallest table; None if one exceeds so many entries."""
    sizes, around = network.sizes.tolist(), _neighbours(network)
    weight = [math.prod([sizes[w] for w in others]) for others in around]
    heap = [(size, v) for v, size in enumerate(weight)]
    heapq.heapify(heap)
    position, variables, work = [-1] * len(sizes), [], 0
    while heap:
        size, v = heapq.heappop(heap)
        if position[v] >= 0 or size != weight[v]:
            continue
        if size > table_limit:
            return None
        position[v] = len(variables)
        variables.append(v)
        work += size * sizes[v]
        for w in around[v]:
            _join(sizes, around, weight, v, w)
            heapq.heappush(heap, (weight[w], w))
    left = tuple(tuple(sorted(around[v], key=position.__getitem__)) for v in variables)
    return Order(variables=tuple(variables), around=left, work=work)


def _neighbours(network: Network) -> list[set[int]]:
    """With whom each variable shares a table. What has one value is a neighbour of nothing."""
    around: list[set[int]] = [set() for _ in network.sizes]
    for i, j in network.pairs[(network.sizes[network.pairs] > 1).all(axis=1)].tolist():
        around[i].add(j)
        around[j].add(i)
    return around


def _join(sizes: list[int], around: list[set[int]], weight: list[int], v: int, w: int) -> None:
    """Makes the neighbours of a variable that goes those of one of them."""
    mine = around[w]
    mine.remove(v)
    new = around[v] - mine
    new.remove(w)
    mine |= new
    weight[w] = weight[w] // sizes[v] * math.prod([sizes[u] for u in new])


def steps_of(network: Network, plan: Order) -> Steps:
    """The steps of an order, laid out for a network and all of its structure."""
    return laid_out(network, plan.variables, plan.around)


def minimise(network: Network, steps: Steps) -> tuple[list[int] | None, float]:
    """The first best choice and the minimum; None if it is infinite."""
    numbers = _summed(network, steps)
    least = _constant(network, steps, numbers)
    if not math.isfinite(least):
        return None, math.inf
    choice = np.zeros(len(network.sizes), np.int64)
    backward(steps, numbers, choice)
    return choice.tolist(), least


def marginals(network: Network, steps: Steps) -> Sequence[np.ndarray]:
    """For every variable and value the minimum of the network with that value; the minimum itself must be finite.

    Source: the two passes over the tree of steps of S. Aji and R. McEliece, The generalized distributive law, IEEE
    Trans. Inf. Theory 46 (2000), doi:10.1109/18.825794, for (min, +).
    """
    numbers, found = _summed(network, steps), np.empty_like(network.costs)
    outward(steps, numbers, _constant(network, steps, numbers), network.first, found)
    return network.of(found)


def _summed(network: Network, steps: Steps) -> np.ndarray:
    """All numbers: costs, tables, and the message of each step."""
    numbers = np.concatenate([network.costs, network.tables, np.empty(int(steps.out[-1] - steps.out[0]))])
    forward(steps, numbers)
    return numbers


def _constant(network: Network, steps: Steps, numbers: np.ndarray) -> float:
    """The minimum: the messages to nobody, and the constant."""
    last = steps.out[:-1][np.diff(steps.start) == 0]
    return float(sum(numbers[last].tolist(), network.base))
