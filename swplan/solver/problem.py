"""What is solved: one strategy for each node of a graph of costs, within limits on what the strategies use together.

The words of the solver package; nothing here knows what a strategy is. A problem is a graph: every node has a finite
domain with costs, every edge a matrix of costs of the pairs, and rows limit what chosen strategies use (memory).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A limit: the sum over nodes of `usage[node][strategy]` (bytes, >= 0; absent nodes use nothing) is <= `limit`."""

    usage: Mapping[int, np.ndarray]
    limit: float
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What to choose: `costs[i]` [n_i] in seconds, `edges` of (i, j, [n_i, n_j]), `rows`; infinity forbids.

    Several edges of one pair add up; the diagonal of an edge (i, i) adds to the costs of i.
    """

    costs: tuple[np.ndarray, ...]
    edges: tuple[tuple[int, int, np.ndarray], ...]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A choice and its cost; no choice costs less than `bound`.

    Without a choice the cost is infinite; if the bound is infinite too, it is proven that there is none. `prices` of
    a unit of usage of each row that limits anything are those that gave the bound; zeros or none if it took none.
    """

    choice: tuple[int, ...] | None
    cost: float
    bound: float
    method: str
    prices: tuple[float, ...] = ()

    @property
    def gap(self) -> float:
        """By which fraction of its cost the choice may be worse than the best."""
        if self.bound >= self.cost:
            return 0.0
        if self.choice is None:
            return math.inf
        return (self.cost - self.bound) / max(abs(self.cost), np.finfo(float).tiny)


def within(problem: Problem, kept: Sequence[np.ndarray]) -> Problem:
    """The same with fewer strategies: of each node those at `kept[i]` [k_i], in this order."""
    return Problem(
        costs=tuple(cost[some] for cost, some in zip(problem.costs, kept, strict=True)),
        edges=tuple((i, j, matrix[kept[i][:, None], kept[j]]) for i, j, matrix in problem.edges),
        rows=tuple(
            replace(row, usage={node: used[kept[node]] for node, used in row.usage.items()}) for row in problem.rows
        ),
    )


def total(problem: Problem, choice: Sequence[int]) -> float:
    """The cost of a choice, rows not looked at."""
    nodes = math.fsum(float(cost[x]) for cost, x in zip(problem.costs, choice, strict=True))
    return nodes + math.fsum(float(matrix[choice[i], choice[j]]) for i, j, matrix in problem.edges)


def usage(row: Row, choice: Sequence[int]) -> float:
    """What a choice uses of the resource of a row."""
    return math.fsum(float(vector[choice[node]]) for node, vector in row.usage.items())
