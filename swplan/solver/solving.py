"""The best choice of one strategy per decision, with a proof of how good it is.

For the search, which prices strategies and reshardings; nothing here knows what a strategy is. A problem is a graph:
every node has a finite domain with costs, every edge a matrix of costs of the pairs, and rows limit what the chosen
strategies use together (memory). Small problems are solved by elimination, all others by bounds.py; an instance of
tens of thousands of nodes, with memory over intervals, by the package `large`.
"""

from __future__ import annotations

import math
import time

import numpy as np

from swplan.solver import elimination
from swplan.solver.bounds import by_reduction
from swplan.solver.exact import Found, Search, by_elimination
from swplan.solver.large.instance import Instance
from swplan.solver.network import Limits, Network, network_of
from swplan.solver.problem import Problem, Solution, total

RAW_NODES, RAW_WORK = 100, 10_000_000  # variables, and entries added, up to which tables are eliminated as they are

HOPELESS = Solution(choice=None, cost=math.inf, bound=math.inf, method="elimination")
INSTANCE_LIMIT_S = 60.0
"""Most time for an instance, if none is given: nothing else ends a search whose bound does not meet its choice."""


def solve(
    problem: Problem | Instance,
    *,
    time_limit_s: float | None = None,
    table_limit: int = 4_000_000,
    upper_bound: float = math.inf,
    enough: float = 0.0,
    loose: float = 0.0,
    settled: float = math.inf,
    prices: tuple[float, ...] = (),
) -> Solution:
    """The best choice, or the best one found within the time with a bound on all others.

    Tables of at most `table_limit` entries are held. The same problem gives the same solution, unless time runs out.
    If it is found that no choice costs less than `upper_bound`, the cost of something known, there is no choice in the
    solution, its bound is at least `upper_bound`, and its method "bound". It is solved no further than to the relative
    gap `enough` where rows bind, and to `loose` in any case; once it is known that no choice costs less than `settled`,
    any choice will do. `prices`, of a unit of usage of each row that limits anything, are a guess where rows are known
    to bind: those of a similar problem, or zeros.

    An instance takes its time limit only.
    """
    if isinstance(problem, Instance):
        return _solve_instance(problem, INSTANCE_LIMIT_S if time_limit_s is None else time_limit_s)
    until = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
    if any(row.limit < 0 for row in problem.rows) or not all(map(len, problem.costs)):
        return HOPELESS
    network, rows = _stated(problem)
    if np.isinf(_least(network, network.costs)).any():
        return HOPELESS
    search = Search(
        table_limit=table_limit,
        until=until,
        ceiling=upper_bound,
        prices=prices,
        enough=enough,
        loose=loose,
        settled=settled,
    )
    return _solution(problem, _found(network, rows, search), upper_bound)


def _found(network: Network, rows: Limits, search: Search) -> Found:
    """By elimination as it is, if it is small."""
    small = len(network.sizes) <= RAW_NODES
    plan = elimination.order(network, search.table_limit) if small else None
    if plan is None or plan.work > RAW_WORK:
        return by_reduction(network, rows, search)
    return by_elimination(network, rows, elimination.steps_of(network, plan), search)


def _solution(problem: Problem, found: Found, upper_bound: float) -> Solution:
    """What was found, in the words of the problem."""
    cost = math.inf if found.choice is None else total(problem, found.choice)
    bound = min(found.bound, cost)
    if bound >= upper_bound and upper_bound < math.inf:
        return Solution(choice=None, cost=math.inf, bound=bound, method="bound")
    if found.choice is None:
        return Solution(choice=None, cost=math.inf, bound=bound, method=found.method)
    choice = tuple(found.choice)
    return Solution(choice=choice, cost=cost, bound=bound, method=found.method, prices=found.prices)


def _solve_instance(instance: Instance, time_limit_s: float) -> Solution:
    """By a package that is imported when it is needed, since that takes half a second."""
    from swplan.solver.large.solving import solve_instance

    return solve_instance(instance, time_limit_s=time_limit_s)


def _least(network: Network, numbers: np.ndarray) -> np.ndarray:
    """The least of the numbers of each variable [..., n]."""
    return np.minimum.reduceat(numbers, network.first[:-1], axis=-1) if len(network.sizes) else numbers


def _stated(problem: Problem) -> tuple[Network, Limits]:
    """The problem in flat arrays, in which strategies that alone exceed a row are forbidden."""
    network = network_of([np.asarray(cost, float) for cost in problem.costs], problem.edges)
    rows = _limits(problem, network)
    lightest = _least(network, rows.usage)
    least = np.array([math.fsum(line) for line in lightest.tolist()])
    excess = np.repeat(least[:, None] - lightest, network.sizes, axis=1) + rows.usage - rows.limit[:, None]
    forbidden = (excess > 1e-12 * np.abs(rows.limit)[:, None]).any(axis=0)
    return network._replace(costs=np.where(forbidden, np.inf, network.costs)), rows


def _limits(problem: Problem, network: Network) -> Limits:
    """The rows that limit anything."""
    rows = [row for row in problem.rows if row.usage and row.limit < math.inf]
    usage = np.zeros((len(rows), len(network.costs)))
    for line, row in zip(usage, rows, strict=True):
        parts = network.of(line)
        for node, vector in row.usage.items():
            parts[node][:] = vector
    return Limits(usage=usage, limit=np.array([row.limit for row in rows], float))
