"""The best choice for a large instance that can be found in a time, with a bound on all others.

In order: presolve; if little is left, the exact solver of `swplan.solver.solving`; else the search with prices until
its bound meets its best choice, or the time is over. What comes back was checked against the instance itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from swplan.solver.large.arrays import Memory, graph_of
from swplan.solver.large.instance import Instance
from swplan.solver.large.presolve import Flat, presolved
from swplan.solver.large.rows import memory_of
from swplan.solver.large.search import Follower, Keeper, Scene
from swplan.solver.problem import Problem, Row, Solution

EXACT_NODES, EXACT_ROWS = 1000, 500  # what the exact solver can hold

Report = Callable[[float, float, float], None]
"""Called with seconds since the start, the cost of the best choice (infinite if there is none), and the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clock:
    start: float
    limit_s: float

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.start

    @property
    def left_s(self) -> float:
        return self.limit_s - self.elapsed_s


def solve_instance(
    instance: Instance,
    *,
    time_limit_s: float,
    seed: int = 0,
    exact_nodes: int = EXACT_NODES,
    report: Report = lambda elapsed_s, cost, bound: None,
) -> Solution:
    """The best choice found, and a bound on all others.

    What is left of an instance after presolve goes to the exact solver for half of the time, if it has no more than
    `exact_nodes` nodes.
    The same instance and seed give the same solution, unless time runs out. Without a choice, the bound says whether
    there is none (infinite) or none was found.
    """
    clock = _Clock(start=time.monotonic(), limit_s=time_limit_s)
    impossible = Solution(choice=None, cost=math.inf, bound=math.inf, method="presolve")
    if instance.nodes == 0:
        return Solution(choice=(), cost=0.0, bound=0.0, method="presolve")
    flat = presolved(instance)
    memory = None if flat is None else memory_of(flat)
    if flat is None or memory is None:
        return impossible
    small = flat.nodes <= exact_nodes and len(memory.limit) <= EXACT_ROWS
    solution = _exact(flat, memory, clock) if small else None
    if solution is None or solution.gap > 0.0:
        solution = _searched(flat, memory, clock, seed, _whole(instance), report)
    return _checked(instance, flat, solution)


def _exact(flat: Flat, memory: Memory, clock: _Clock) -> Solution:
    """By the solver of small problems."""
    from swplan.solver.solving import solve

    return solve(small_problem(flat, memory), time_limit_s=max(0.0, clock.left_s / 2))


def small_problem(flat: Flat, memory: Memory) -> Problem:
    """What is left, as a problem of the exact solver."""
    sizes = np.diff(flat.first)
    edges = tuple(
        (int(u), int(v), flat.table[low:high].reshape(sizes[u], sizes[v]))
        for (u, v), low, high in zip(flat.pairs, flat.at, flat.at[1:], strict=False)
    )
    usages: list[dict[int, np.ndarray]] = [{} for _ in memory.limit]
    owner = np.repeat(np.arange(flat.nodes), np.diff(memory.start)).tolist()
    for holding, node in enumerate(owner):
        use = memory.use[memory.at[holding] : memory.at[holding + 1]]
        for usage in usages[memory.low[holding] : memory.high[holding]]:
            usage[node] = usage.get(node, 0.0) + use
    rows = tuple(Row(usage=usage, limit=float(limit)) for usage, limit in zip(usages, memory.limit, strict=True))
    return Problem(costs=tuple(np.split(flat.cost, flat.first[1:-1])), edges=edges, rows=rows)


def _whole(instance: Instance) -> bool:
    """Whether all costs are integers, and so the cost of every choice."""
    return all(np.array_equal(x, np.rint(x)) for x in (instance.costs, instance.table))


def _searched(flat: Flat, memory: Memory, clock: _Clock, seed: int, whole: bool, report: Report) -> Solution:
    """By prices: follower and keeper in step, until bound and choice meet or the time is over; one round at least."""
    graph = graph_of(flat.first, flat.cost, flat.pairs, flat.at, flat.table)
    scene = Scene(graph=graph, memory=memory)
    follower, keeper = Follower(scene, seed), Keeper(scene, seed + 1)
    lead, bound = follower.step(), -math.inf
    with ThreadPoolExecutor(1) as pool:
        while True:
            keeping = pool.submit(keeper.step, lead)
            lead = follower.step()
            keeping.result()
            bound = math.ceil(follower.bound) if whole and math.isfinite(follower.bound) else follower.bound
            report(clock.elapsed_s, keeper.cost, bound)
            if clock.left_s <= 0.0 or bound >= keeper.cost:
                break
    choice = None if keeper.best is None else tuple(keeper.best.tolist())
    return Solution(choice=choice, cost=keeper.cost, bound=min(bound, keeper.cost), method="prices")


def _checked(instance: Instance, flat: Flat, solution: Solution) -> Solution:
    """The solution in terms of the instance, whose own arithmetic says what it costs and holds."""
    if solution.choice is None:
        return solution
    choice = flat.restored(solution.choice)
    assert instance.fits(choice), "swplan bug: the choice found exceeds the limit"
    cost = instance.cost(choice)
    assert math.isclose(cost, solution.cost, rel_tol=1e-6, abs_tol=1e-6), "swplan bug: the choice costs something else"
    return Solution(choice=tuple(choice), cost=cost, bound=min(solution.bound, cost), method=solution.method)
