"""The oracle: the best choice by trying all, for problems small enough.

For tests and for the reader who wants to see what "best" means; it shares no algorithm with the solver.
"""

from __future__ import annotations

import math

import numpy as np

from swplan.solver.problem import Problem, Solution


def brute_force(problem: Problem, limit: int = 2_000_000) -> Solution:
    """The first best of all choices, in lexicographic order.

    Raises:
        ValueError: if there are more than `limit` choices.
    """
    sizes = tuple(len(cost) for cost in problem.costs)
    if math.prod(sizes) > limit:
        raise ValueError(f"{math.prod(sizes)} choices are more than the limit of {limit}")
    place = np.indices(sizes).reshape(len(sizes), math.prod(sizes))
    costs = np.zeros(math.prod(sizes))
    for node, cost in enumerate(problem.costs):
        costs += cost[place[node]]
    for i, j, matrix in problem.edges:
        costs += matrix[place[i], place[j]]
    for row in problem.rows:
        used = sum((vector[place[node]] for node, vector in row.usage.items()), np.zeros(len(costs)))
        costs[used > row.limit] = np.inf
    if not np.isfinite(costs).any():
        return Solution(choice=None, cost=math.inf, bound=math.inf, method="brute force")
    best = int(costs.argmin())
    return Solution(
        choice=tuple(int(x) for x in place[:, best]),
        cost=float(costs[best]),
        bound=float(costs[best]),
        method="brute force",
    )
