"""The solver against the oracle that tries all choices."""

import math

import numpy as np
import pytest

from swplan.solver.bruteforce import brute_force
from swplan.solver.problem import Problem, Row, total, usage
from swplan.solver.solving import solve

SHAPES = {
    "tree": lambda n: [((i - 1) // 2, i) for i in range(1, n)],
    "cycle": lambda n: [(i, (i + 1) % n) for i in range(n)],
    "ladder": lambda n: [(i, i + 2) for i in range(n - 2)] + [(i, i + 1) for i in range(0, n - 1, 2)],
    "dense": lambda n: [(i, j) for j in range(n) for i in range(j)],
    "hub": lambda n: [(0, i) for i in range(1, n)] + [(i, i + 1) for i in range(1, n - 1)],
    "repeats": lambda n: [(i, (i * i + 1) % n) for i in range(n)] * 2 + [(i, (i + n // 2) % n) for i in range(n)],
}
FLAVOURS = ("floats", "ties", "holes", "scarce")


def tables(random, flavour, *shape):
    values = random.random(shape) if flavour == "floats" else random.integers(0, 3, shape).astype(float)
    share = {"holes": 0.2, "scarce": 0.5}.get(flavour, 0.0)
    return np.where(random.random(shape) < share, np.inf, values)


def problem_of(shape, flavour, seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 4, random.integers(3, 8))
    pairs = SHAPES[shape](len(sizes))
    edges = tuple((i, j, tables(random, flavour, sizes[i], sizes[j])) for i, j in pairs)
    return Problem(costs=tuple(tables(random, flavour, n) for n in sizes), edges=edges)


def agree(problem, **options):
    found, best = solve(problem, **options), brute_force(problem)
    assert found.cost == pytest.approx(best.cost, rel=1e-9)
    assert found.bound <= best.cost * (1 + 1e-9)
    if found.choice is None:
        assert math.isinf(best.cost) and math.isinf(found.bound)
    else:
        assert total(problem, found.choice) == found.cost
    return found


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(10))
def test_equals_brute_force(shape, flavour, seed):
    assert agree(problem_of(shape, flavour, seed)).method == "elimination"


def long_ladder(nodes, strategies, seed):
    random, half = np.random.default_rng(seed), nodes // 2
    pairs = [(i, i + 1) for i in range(nodes - 1) if i != half - 1] + [(i, nodes - 1 - i) for i in range(half)]
    edges = tuple((i, j, random.random((strategies, strategies))) for i, j in pairs)
    return Problem(costs=tuple(random.random(strategies) for _ in range(nodes)), edges=edges)


def chain_minimum(problem):
    """Of a ladder, by going along it one rung at a time: the state is the pair of strategies of a rung."""
    count, half = len(problem.costs), len(problem.costs) // 2
    matrix = {(i, j): table for i, j, table in problem.edges}
    least = 0.0
    for i in range(half):
        j = count - 1 - i
        rung = problem.costs[i][:, None] + problem.costs[j][None, :] + matrix[i, j]
        if i:
            half_moved = (least[:, None, :] + matrix[i - 1, i][:, :, None]).min(axis=0)
            least = (half_moved[:, None, :] + matrix[j, j + 1][None, :, :]).min(axis=2)
        least = least + rung
    return least.min()


def test_a_long_ladder_is_exact():
    problem = long_ladder(2000, 20, seed=5)
    found = solve(problem)
    assert (found.method, found.gap) == ("elimination", 0.0)
    assert found.cost == pytest.approx(chain_minimum(problem), rel=1e-12)


def test_a_long_ladder_with_a_limit_is_proven():
    problem = long_ladder(400, 10, seed=6)
    free, random = solve(problem), np.random.default_rng(7)
    rows = []
    for _ in range(2):
        row = Row(usage={i: random.integers(1, 100, 10) * 1e6 for i in range(0, 400, 2)}, limit=0.0)
        rows.append(Row(usage=row.usage, limit=0.9 * usage(row, free.choice)))
    found = solve(Problem(costs=problem.costs, edges=problem.edges, rows=tuple(rows)))
    assert free.cost < found.cost and found.gap <= 1e-6
    assert all(usage(row, found.choice) <= row.limit for row in rows)
    assert solve(Problem(costs=problem.costs, edges=problem.edges, rows=tuple(rows))) == found


def test_time_that_runs_out_leaves_a_choice_and_its_bound():
    random = np.random.default_rng(8)
    edges = tuple((i, j, random.random((8, 8))) for j in range(25) for i in range(j))
    problem = Problem(costs=tuple(random.random(8) for _ in range(25)), edges=edges)
    found = solve(problem, time_limit_s=0.5)
    assert found.cost == total(problem, found.choice)
    assert found.method == "integer program" and 0 < found.bound < found.cost


def test_dominated_strategies_let_a_wide_graph_be_eliminated():
    random = np.random.default_rng(9)
    edges = tuple((i, j, random.random((6, 6)) * 1e-3) for j in range(14) for i in range(j))
    problem = Problem(costs=tuple(random.random(6) for _ in range(14)), edges=edges)
    assert solve(problem, table_limit=1000).method == "elimination"


def test_many_ties_are_decided_the_same_way_every_time():
    problem = problem_of("dense", "ties", 3)
    assert solve(problem) == solve(problem)


@pytest.mark.parametrize("costs", [(), (np.zeros(0),), (np.zeros(1), np.full(2, np.inf))])
def test_degenerate_problems(costs):
    agree(Problem(costs=costs, edges=()))


def test_inputs_are_left_as_they_were():
    problem = problem_of("ladder", "holes", 1)
    row = Row(usage={0: np.arange(len(problem.costs[0])) * 1.0}, limit=0.0)
    before = [cost.copy() for cost in problem.costs]
    solve(Problem(costs=problem.costs, edges=problem.edges, rows=(row,)))
    assert all(np.array_equal(a, b) for a, b in zip(before, problem.costs, strict=True))
