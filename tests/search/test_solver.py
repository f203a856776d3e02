"""The solver against the oracle that tries all choices."""

import math

import numpy as np
import pytest

from swplan.search.bruteforce import brute_force
from swplan.search.solver import Problem, solve, total

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
