"""Plans of one mesh come one after the other: all of them, none twice, the cheapest first."""

import itertools

import numpy as np
import pytest

from swplan.search.ruling import following, whole
from swplan.solver.problem import Problem, Row, total, usage
from swplan.solver.solving import solve

SIZES = (3, 1, 2, 4)


def drawn(seed: int, limit: float = np.inf) -> Problem:
    """Costs of few kinds, so that many plans cost the same, some forbidden, within a limit of memory."""
    random = np.random.default_rng(seed)
    costs = tuple(random.integers(0, 3, size).astype(float) for size in SIZES)
    edges = tuple(
        (i, j, random.choice([0.0, 1.0, 2.5, np.inf], (SIZES[i], SIZES[j]), p=[0.4, 0.3, 0.2, 0.1]))
        for i, j in ((0, 1), (0, 2), (2, 3), (0, 3))
    )
    row = Row(usage={node: random.integers(0, 4, SIZES[node]).astype(float) for node in (0, 2, 3)}, limit=limit)
    return Problem(costs=costs, edges=edges, rows=(row,) if limit < np.inf else ())


def listed(problem: Problem, worst: float = np.inf) -> list[tuple[float, tuple[int, ...]]]:
    """All that can be chosen, by cost, one by one."""
    every = itertools.product(*map(range, SIZES))
    allowed = [choice for choice in every if all(usage(row, choice) <= row.limit for row in problem.rows)]
    return sorted((cost, choice) for choice in allowed if (cost := total(problem, choice)) < worst)


def ranked(problem: Problem, worst: float = np.inf) -> list[tuple[float, tuple[int, ...]]]:
    """The same, as they are handed out."""
    first = solve(problem)
    parts = (whole(problem, first.choice, first.cost),) if first.choice is not None else ()
    found = []
    while parts:
        found.append((parts[0].least_s, parts[0].best))
        parts = following(problem, parts, worst)
    return found


@pytest.mark.parametrize("limit", [np.inf, 6.0, 4.0])
@pytest.mark.parametrize("seed", range(8))
def test_every_plan_comes_once_and_in_order(seed, limit):
    problem = drawn(seed, limit)
    found = ranked(problem)
    assert [cost for cost, _ in found] == pytest.approx([cost for cost, _ in listed(problem)])
    assert {choice for _, choice in found} == {choice for _, choice in listed(problem)}


@pytest.mark.parametrize("seed", range(4))
def test_what_costs_too_much_does_not_come(seed):
    problem = drawn(seed)
    middle = listed(problem)[len(listed(problem)) // 2][0]
    assert {choice for _, choice in ranked(problem, middle)} == {choice for _, choice in listed(problem, middle)}
