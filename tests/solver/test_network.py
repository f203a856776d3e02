"""Networks in flat arrays, and kernels that go along them, against the plain formula."""

import functools
import math

import numpy as np
import pytest

from swplan.solver import elimination, tables
from swplan.solver.incumbents import incumbent
from swplan.solver.messages import WIDE, messages_of
from swplan.solver.network import Limits, evaluate, fits, network_of, restrict


def dense(sizes, seed):
    """Costs of variables and of all pairs of them, the later one first."""
    random = np.random.default_rng(seed)
    edges = [(j, i, random.random((sizes[j], sizes[i]))) for j in range(len(sizes)) for i in range(j)]
    return network_of([random.random(n) for n in sizes], edges)


def whole(network):
    """What every choice costs, as one table."""
    grid, count = np.ix_(*[np.arange(n) for n in network.sizes]), len(network.sizes)
    parts = [cost[grid[v]] for v, cost in enumerate(network.of(network.costs))]
    return functools.reduce(np.add, [*parts, *(table[grid[i], grid[j]] for i, j, table in network.edges())]), count


@pytest.mark.parametrize("sizes", [(7, 7, 7, 7, 7), (2, 3, 1, 4, 2, 5), (300, 3, 2), (1, 1), (4,)])
def test_elimination_equals_the_minimum_of_the_sum(sizes):
    """Messages are longer than a line, shorter, or one axis is; some variables have one value."""
    assert tables.LINE < 7**4
    network = dense(sizes, seed=3)
    costs, count = whole(network)
    steps = elimination.steps_of(network, elimination.order(network, 10**6))
    choice, least = elimination.minimise(network, steps)
    assert least == pytest.approx(costs.min(), rel=1e-12) and costs[tuple(choice)] == costs.min()
    for v, found in enumerate(elimination.marginals(network, steps)):
        assert found == pytest.approx(costs.min(axis=tuple(w for w in range(count) if w != v)), rel=1e-12)


def test_no_order_leaves_a_table_of_more_than_the_limit():
    network = dense((7, 7, 7, 7), seed=1)
    assert elimination.order(network, 7**3 - 1) is None
    assert elimination.order(network, 7**3).work == 7**4 + 7**3 + 7**2 + 7


def test_a_restricted_network_costs_the_same():
    network, kept = dense((4, 3, 5), seed=2), [np.array([0, 3]), np.array([2]), np.array([1, 2, 4])]
    rows = Limits(usage=np.arange(12.0)[None, :], limit=np.array([20.0]))
    small, limits = restrict(network, rows, kept)
    assert evaluate(small, [1, 0, 2]) == evaluate(network, [3, 2, 4])
    assert limits.usage.tolist() == [[0.0, 3.0, 6.0, 8.0, 9.0, 11.0]]


@pytest.mark.parametrize("seed", range(5))
def test_an_incumbent_is_no_worse_than_what_it_was_made_of(seed):
    random = np.random.default_rng(seed)
    network = dense((4, 5, 3, 6), seed)
    rows = Limits(usage=random.random((2, len(network.costs))), limit=np.array([2.4, 2.4]))
    choices = [random.integers(network.sizes).tolist() for _ in range(4)]
    found = incumbent(network, rows, choices)
    fitting = [evaluate(network, choice) for choice in choices if fits(network, rows, choice)]
    assert found is None or fits(network, rows, found)
    assert min(fitting, default=math.inf) >= (math.inf if found is None else evaluate(network, found))


def test_equal_rows_of_a_wide_table_share_messages():
    random = np.random.default_rng(4)
    lines = random.random((3, 80))[random.integers(0, 3, 90)][:, random.integers(0, 80, 80)]
    assert lines.size > WIDE
    costs = [random.random(n) for n in (90, 80, 4)]
    network = network_of(costs, [(0, 1, lines), (1, 2, random.random((80, 4))), (0, 2, random.random((90, 4)))])
    passed, (costs, _) = messages_of(network), whole(network)
    passed.ascend(50)
    assert passed.arcs.kinds[0] == 3 and passed.bound <= costs.min() * (1 + 1e-12)
    for v, above in enumerate(network.of(passed.above)):
        assert (passed.bound + above <= costs.min(axis=tuple({0, 1, 2} - {v})) + 1e-12).all()
