"""Reductions, messages and guesses: each against the oracle that tries all choices."""

import math

import numpy as np
import pytest

from swplan.solver import bounds, guesses, messages, reduction, solving
from swplan.solver.bruteforce import brute_force
from swplan.solver.problem import Problem, Row, total, usage
from swplan.solver.solving import solve

KINDS = ("floats", "ties", "holes", "functional", "equal")


def cost(random, kind, *shape):
    """Costs with infinities and equal entries; a functional matrix allows one column in each row, at no cost."""
    values = random.random(shape) if kind == "floats" else random.integers(0, 3, shape).astype(float)
    if kind == "functional" and len(shape) == 2:
        partner = random.integers(0, shape[1], shape[0])
        return np.where(partner[:, None] == np.arange(shape[1]), 0.0, np.inf)
    if kind == "equal" and len(shape) == 2:
        values = values[random.integers(0, (shape[0] + 1) // 2, shape[0])]
    return np.where((random.random(shape) < 0.2) & (kind == "holes"), np.inf, values)


def instance(kind, rows, seed):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, 7)
    pairs = [(i, j) for j in range(7) for i in range(j) if random.random() < 0.6]
    edges = []
    for i, j in pairs:
        own = kind if random.random() < 0.6 else "ties"
        matrix = cost(random, own, sizes[i], sizes[j])
        edges.append((i, j, matrix) if random.random() < 0.5 else (j, i, cost(random, own, sizes[j], sizes[i])))
    costs = tuple(cost(random, kind, n) for n in sizes)
    made = []
    for _ in range(rows):
        used = {i: random.integers(0, 9, n) * 1.0 for i, n in enumerate(sizes) if random.random() < 0.7} or {
            0: costs[0]
        }
        low, high = (sum(pick(vector) for vector in used.values()) for pick in (np.min, np.max))
        made.append(Row(usage=used, limit=float(np.round(low + (high - low) * random.uniform(0.1, 1.0)))))
    return Problem(costs=costs, edges=tuple(edges), rows=tuple(made))


def reduced(problem):
    return reduction.reduced(*solving._stated(problem))


def stated(small, costs=None):
    """What is left of a problem, as one without its constant."""
    rows = (
        Row(usage=dict(enumerate(small.network.of(u))), limit=limit)
        for u, limit in zip(small.limits.usage, small.limits.limit, strict=True)
    )
    costs = small.network.of(small.network.costs) if costs is None else costs
    return Problem(costs=tuple(costs), edges=tuple(small.network.edges()), rows=tuple(rows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("seed", range(25))
def test_reductions_preserve_the_minimum(kind, rows, seed):
    problem = instance(kind, rows, seed)
    best, small = brute_force(problem), reduced(problem)
    if small is None:
        assert best.choice is None
        return
    found = brute_force(stated(small))
    assert found.cost + small.network.base == pytest.approx(best.cost, rel=1e-12)
    if found.choice is not None:
        choice = small.restore(found.choice)
        assert total(problem, choice) == pytest.approx(best.cost, rel=1e-12)
        assert all(usage(row, choice) <= row.limit for row in problem.rows)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(15))
def test_no_choice_costs_less_than_messages_say(kind, seed):
    problem = instance(kind, 0, seed)
    small = reduced(problem)
    if small is None:
        return
    nodes = small.network.of(small.network.costs)
    passed, before = messages.messages_of(small.network), -math.inf
    for _ in range(4) if nodes else ():
        passed.ascend(1)
        assert before <= passed.bound
        before = passed.bound
        for v, above in enumerate(small.network.of(passed.above)):
            for x, more in enumerate(above):
                costs = [np.where(np.arange(len(c)) == x, c, np.inf) if w == v else c for w, c in enumerate(nodes)]
                best = brute_force(stated(small, costs))
                assert passed.bound + more <= best.cost + small.network.base + 1e-9


@pytest.mark.parametrize("seed", range(10))
def test_prices_keep_the_bound_below_the_minimum_within_limits(seed):
    problem = instance("floats", 2, seed)
    whole, _ = solving._stated(Problem(costs=problem.costs, edges=problem.edges))
    passed, rows = messages.messages_of(whole), solving._limits(problem, whole)
    for prices in ([0.1, 0.0], [0.0, 0.3], [-0.05, 0.2]):
        passed.charge(rows, np.array(prices))
        passed.ascend(3)
        assert passed.bound <= brute_force(problem).cost + 1e-9


@pytest.fixture
def without_tables(monkeypatch):
    """The ways for large problems, on small ones."""
    monkeypatch.setattr(solving, "RAW_WORK", 0)
    monkeypatch.setattr(bounds, "CHEAP_WORK", 0)
    monkeypatch.setattr(guesses, "VALUES", 1.0)
    monkeypatch.setattr(guesses, "ROUNDS", 1)


@pytest.mark.parametrize("work", [20_000_000, 60, 0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_guesses_equal_brute_force(without_tables, monkeypatch, work, kind, rows, seed):
    monkeypatch.setattr(guesses, "SMALL_WORK", work)
    problem = instance(kind, rows, 100 + seed)
    found, best = solve(problem), brute_force(problem)
    assert found.cost == pytest.approx(best.cost, rel=2e-6)
    assert found.bound <= best.cost * (1 + 1e-9)
    assert found.gap <= 2e-6
    assert found == solve(problem)
    if found.choice is not None:
        assert total(problem, found.choice) == found.cost
        assert all(usage(row, found.choice) <= row.limit for row in problem.rows)


@pytest.mark.parametrize("price", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_prices_to_start_from_change_no_answer(without_tables, rows, seed, price):
    problem = instance("floats", rows, 300 + seed)
    found, best = solve(problem, prices=(price,) * rows), brute_force(problem)
    assert found.cost == pytest.approx(best.cost, rel=2e-6)
    assert found.bound <= best.cost * (1 + 1e-9) and found.gap <= 2e-6


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_known_elsewhere_ends_the_search(request, tables, rows, seed):
    if not tables:
        request.getfixturevalue("without_tables")
    problem = instance("floats", rows, 200 + seed)
    best = brute_force(problem).cost
    if best == math.inf:
        return
    above, below = solve(problem, upper_bound=best * 1.01), solve(problem, upper_bound=best * 0.99)
    assert above.cost == pytest.approx(best, rel=2e-6) and above.choice is not None
    assert (below.choice, below.cost, below.method) == (None, math.inf, "bound")
    assert below.bound >= best * 0.99
    assert below.bound <= best * (1 + 1e-9)


def test_a_variable_that_its_neighbour_determines_is_absorbed():
    edge = (0, 1, np.array([[0.0, np.inf], [np.inf, 0.0], [np.inf, 0.0]]))
    hub = [(1, j, np.arange(4.0).reshape(2, 2) ** j) for j in (2, 3, 4)]
    more = [(i, j, np.array([[0.0, 1.0], [2.0, 0.5]])) for i in (2, 3) for j in (3, 4) if i < j]
    problem = Problem(costs=(np.ones(3), *(np.zeros(2) for _ in range(4))), edges=(edge, *hub, *more))
    small = reduced(problem)
    assert 1 not in small.nodes


def test_of_equal_values_the_first_stays():
    """Where a row knows both, a reduction does not simply take the cheapest."""
    same = np.array([5.0, 5.0, 5.0])
    table = np.tile([[0.0, 3.0]], (3, 1)) + np.array([[1.0], [0.0], [0.0]])
    more = np.array([[0.0, 1.0], [1.0, 0.0]])
    problem = Problem(
        costs=(np.zeros(3), np.zeros(2), np.zeros(2)),
        edges=((0, 1, table), (1, 2, more)),
        rows=(Row(usage={0: same, 1: np.array([0.0, 1.0]), 2: np.array([1.0, 0.0])}, limit=5.5),),
    )
    small = reduced(problem)
    assert small.restore([0] * len(small.nodes))[0] == 1


def test_values_that_use_less_are_kept():
    """A cheaper value replaces one that uses as much, not one that uses less."""
    problem = Problem(
        costs=(np.array([1.0, 20.0, 30.0]), np.zeros(2)),
        edges=((0, 1, np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])),),
        rows=(Row(usage={0: np.array([5.0, 4.0, 4.0]), 1: np.array([0.0, 1.0])}, limit=5.5),),
    )
    small = reduced(problem)
    assert [small.restore([x, 0])[0] for x in range(small.network.sizes[0])] == [0, 1]
