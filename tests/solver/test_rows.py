"""Rows, large tables and dead ends: the solver's other ways, against the oracle that tries all choices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swplan.solver import elimination, solving
from swplan.solver.bruteforce import brute_force
from swplan.solver.problem import Problem, Row, Solution, total, usage
from swplan.solver.solving import solve

EDGES = {
    "tree": lambda n: [((i - 1) // 2, i) for i in range(1, n)],
    "ladder": lambda n: [(i, i + 2) for i in range(n - 2)] + [(i, i + 1) for i in range(0, n - 1, 2)],
    "dense": lambda n: [(i, j) for j in range(n) for i in range(j)],
}
FLAVOURS = ("floats", "ties", "holes", "apart")


def tables(random, flavour, *shape):
    values = random.random(shape) if flavour in ("floats", "apart") else random.integers(0, 3, shape).astype(float)
    values = values * 10.0 ** random.integers(-6, 3, shape) if flavour == "apart" else values
    return np.where((random.random(shape) < 0.15) & (flavour == "holes"), np.inf, values)


def problem_of(shape, flavour, rows, seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, random.integers(3, 8))
    pairs = EDGES[shape](len(sizes))
    edges = tuple((i, j, tables(random, flavour, sizes[i], sizes[j])) for i, j in pairs)
    problem = Problem(costs=tuple(tables(random, flavour, n) for n in sizes), edges=edges)
    return Problem(costs=problem.costs, edges=edges, rows=tuple(row_of(random, sizes) for _ in range(rows)))


def row_of(random, sizes):
    """A limit between what nothing and what everything meets; sometimes out of reach."""
    users = [i for i in range(len(sizes)) if random.random() < 0.8] or [0]
    used = {i: random.integers(0, 9, sizes[i]) * 1e8 for i in users}
    low, high = (sum(float(pick(vector)) for vector in used.values()) for pick in (np.min, np.max))
    return Row(usage=used, limit=float(np.round(low + (high - low) * random.uniform(-0.05, 0.8))))


def agree(problem, **options):
    found, best = solve(problem, **options), brute_force(problem)
    assert found.cost == pytest.approx(best.cost, rel=2e-6)
    assert best.cost <= found.cost * (1 + 1e-12)
    assert found.bound <= best.cost * (1 + 1e-9)
    assert found.gap <= 2e-6
    if found.choice is not None:
        assert total(problem, found.choice) == found.cost
        assert all(usage(row, found.choice) <= row.limit for row in problem.rows)
    return found


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("shape", EDGES)
@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("seed", range(6))
def test_rows_equal_brute_force(shape, flavour, rows, seed):
    agree(problem_of(shape, flavour, rows, seed))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_small_tables_lead_to_the_integer_program(flavour, rows, seed):
    agree(problem_of("dense", flavour, rows, seed), table_limit=3)


@settings(max_examples=60)
@given(st.sampled_from(sorted(EDGES)), st.sampled_from(FLAVOURS), st.integers(0, 3), st.integers(100, 10**9))
def test_any_problem(shape, flavour, rows, seed):
    agree(problem_of(shape, flavour, rows, seed))


@pytest.mark.parametrize("shape", EDGES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_marginals_are_the_best_with_each_value(shape, flavour):
    problem = problem_of(shape, flavour, 0, 3)
    network, _ = solving._stated(problem)
    steps = elimination.steps_of(network, elimination.order(network, 10**6))
    for node, least in enumerate(elimination.marginals(network, steps)):
        for value, found in enumerate(least):
            costs = [cost.copy() for cost in problem.costs]
            costs[node][np.arange(len(least)) != value] = np.inf
            assert found == pytest.approx(brute_force(Problem(costs=tuple(costs), edges=problem.edges)).cost)


@pytest.mark.parametrize("limit", [-1.0, 0.0, 1.5])
def test_a_limit_out_of_reach_is_proven(limit):
    row = Row(usage={0: np.array([1.0, 2.0]), 1: np.array([1.0, 1.0])}, limit=limit)
    found = solve(Problem(costs=(np.zeros(2), np.zeros(2)), edges=(), rows=(row,)))
    assert (found.choice, found.cost, found.bound) == (None, np.inf, np.inf)


def test_pairs_that_put_a_limit_out_of_reach():
    heavy = Row(usage={0: np.array([1.0, 2.0]), 1: np.array([1.0, 2.0])}, limit=2.0)
    edge = (0, 1, np.array([[np.inf, 1.0], [1.0, np.inf]]))
    assert solve(Problem(costs=(np.zeros(2), np.zeros(2)), edges=(edge,), rows=(heavy,))).bound == np.inf


def test_the_gap_of_a_proven_choice_is_zero():
    assert Solution(choice=(), cost=0.0, bound=0.0, method="").gap == 0.0
    assert Solution(choice=None, cost=np.inf, bound=np.inf, method="").gap == 0.0
    assert Solution(choice=(0,), cost=2.0, bound=1.0, method="").gap == 0.5


def test_the_oracle_refuses_what_is_too_large():
    with pytest.raises(ValueError, match="limit of 10"):
        brute_force(Problem(costs=(np.zeros(11),), edges=()), limit=10)
