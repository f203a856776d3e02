"""The best choice of one strategy per decision, with a proof of how good it is.

For the search, which prices strategies and reshardings; nothing here knows what a strategy is. A problem is a graph:
every node has a finite domain with costs, every edge a matrix of costs of the pairs, and rows limit what the chosen
strategies use together (memory). Without rows it is solved by elimination, exactly; see `elimination.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swplan.search import elimination
from swplan.search.elimination import Network


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
    """A choice and its cost; no choice costs less than `bound`. Choice None: there is none, and that is proven if the bound is infinite."""

    choice: tuple[int, ...] | None
    cost: float
    bound: float
    method: str

    @property
    def gap(self) -> float:
        """By which fraction of its cost the choice may be worse than the best."""
        if self.bound >= self.cost:
            return 0.0
        return (self.cost - self.bound) / max(abs(self.cost), np.finfo(float).tiny)


def total(problem: Problem, choice: Sequence[int]) -> float:
    """The cost of a choice, rows not looked at."""
    nodes = math.fsum(float(cost[x]) for cost, x in zip(problem.costs, choice, strict=True))
    return nodes + math.fsum(float(matrix[choice[i], choice[j]]) for i, j, matrix in problem.edges)


def usage(row: Row, choice: Sequence[int]) -> float:
    """What a choice uses of the resource of a row."""
    return math.fsum(float(vector[choice[node]]) for node, vector in row.usage.items())


def network_of(problem: Problem) -> Network:
    """The problem without its rows, as a sum of tables."""
    costs = [((i,), np.asarray(cost, float)) for i, cost in enumerate(problem.costs)]
    edges = [
        ((i,), np.diagonal(matrix)) if i == j else ((i, j), np.asarray(matrix, float)) for i, j, matrix in problem.edges
    ]
    scopes, tables = zip(*costs, *edges, strict=True) if costs else ((), ())
    return Network(sizes=tuple(len(cost) for cost in problem.costs), scopes=scopes, tables=tables)


def solve(problem: Problem, *, time_limit_s: float | None = None, table_limit: int = 4_000_000) -> Solution:
    """The best choice."""
    network = network_of(problem)
    plan = elimination.order(network.sizes, network.scopes, table_limit=table_limit)
    if plan.left or problem.rows:
        raise NotImplementedError("rows and large tables")
    choice, cost = elimination.minimise(network, plan)
    if choice is None:
        return Solution(choice=None, cost=math.inf, bound=math.inf, method="elimination")
    cost = total(problem, choice)
    return Solution(choice=tuple(choice), cost=cost, bound=cost, method="elimination")
