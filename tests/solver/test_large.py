"""Laws of large instances on small ones: what is found fits, is no cheaper than the best, and no bound is above it."""

import math
import time
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from swplan.solver.large import warm
from swplan.solver.large.instance import Instance
from swplan.solver.large.presolve import presolved
from swplan.solver.large.rows import memory_of
from swplan.solver.large.solving import small_problem, solve_instance
from swplan.solver.solving import solve
from tests.solver.instances import instance_of, oracle, random_instance

KERNELS = [f"swplan.solver.large.{name}" for name in ("presolve_kernels", "messages", "forest", "shift", "memory")]
SEEDS = range(60)
TIGHT = (0.0, 0.15, 0.4, 1.0)


def searched(instance, seconds=0.3, **options):
    """What prices alone find, without the exact solver."""
    return solve_instance(instance, time_limit_s=seconds, exact_nodes=0, **options)


@pytest.mark.parametrize("seed", SEEDS)
def test_small_instances_are_solved_as_by_trying_all(seed):
    instance = random_instance(seed, tightness=TIGHT[seed % 4])
    found, best = solve_instance(instance, time_limit_s=30.0), oracle(instance)
    assert (found.cost, found.bound) == (best, best)
    assert found.choice is None or (instance.cost(found.choice) == best and instance.fits(found.choice))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_search_with_prices_brackets_the_best(seed):
    instance = random_instance(seed, tightness=TIGHT[seed % 4])
    found, best = searched(instance), oracle(instance)
    assert found.bound <= best <= found.cost
    if found.choice is not None:
        assert instance.cost(found.choice) == found.cost and instance.fits(found.choice)


def test_the_search_with_prices_mostly_finds_the_best():
    instances = [random_instance(seed, tightness=TIGHT[seed % 4]) for seed in SEEDS]
    costs = [(searched(instance).cost, oracle(instance)) for instance in instances]
    assert sum(found == best for found, best in costs) >= 0.8 * len(costs)


@pytest.mark.parametrize("seed", SEEDS)
def test_presolving_keeps_the_best(seed):
    instance = random_instance(seed, tightness=TIGHT[seed % 4])
    flat, best = presolved(instance), oracle(instance)
    memory = None if flat is None else memory_of(flat)
    if memory is None:
        assert best == math.inf
        return
    solution = solve(small_problem(flat, memory))
    assert solution.cost == best
    if solution.choice is not None:
        restored = flat.restored(solution.choice)
        assert instance.cost(restored) == best and instance.fits(restored)


def test_a_node_that_another_determines_joins_it():
    equal = np.where(np.eye(3, dtype=bool), 1.0, np.inf)
    nodes = [((k, k + 3), [k, 2 * k, 1], [5, 3, 4]) for k in range(50)]
    flat = presolved(instance_of(nodes, [(k, k + 1, equal) for k in range(49)], limit=12.0))
    assert flat.nodes == 1 and flat.restored([0]) == [flat.pick[0]] * 50


def test_rows_of_nested_intervals_are_the_largest_sets():
    nodes = [((0, 9), [0, 1], [9, 0]), ((2, 7), [0, 1], [9, 0]), ((3, 4), [0, 1], [9, 0]), ((5, 6), [0, 1], [9, 0])]
    assert len(memory_of(presolved(instance_of(nodes, [], limit=10.0))).limit) == 2


def test_the_same_seed_gives_the_same_choice():
    instance = random_instance(5, nodes=40, strategies=5, tightness=0.2, forbidden=0.05, density=0.05, equal=0.0)
    first, second = (solve_instance(instance, time_limit_s=60.0, seed=7) for _ in range(2))
    assert first == second and first.gap == 0.0


def test_a_larger_instance_is_searched_within_its_time():
    instance = random_instance(3, nodes=300, strategies=6, tightness=0.2, forbidden=0.0, density=0.01, equal=0.0)
    searched(instance, seconds=0.1)  # compiles, if nothing did before
    start = time.monotonic()
    found = searched(instance, seconds=2.0)
    assert time.monotonic() - start < 4.0
    assert found.choice is not None and instance.fits(found.choice) and found.bound <= found.cost


@pytest.mark.parametrize("seed", SEEDS[::6])
def test_usages_that_are_no_integers(seed):
    whole = random_instance(seed, tightness=0.4)
    instance = replace(whole, usages=0.1 * whole.usages, limit=0.1 * whole.limit + 1e-6)
    found = searched(instance)
    assert found.choice is None or instance.fits(found.choice)
    assert solve_instance(instance, time_limit_s=30.0).cost == oracle(instance)


def test_warming_leaves_no_kernel_to_be_compiled():
    warm.main()
    kernels = [x for name in KERNELS for x in vars(import_module(name)).values() if hasattr(x, "signatures")]
    assert len(kernels) > 30 and all(len(kernel.signatures) <= 2 for kernel in kernels)
    count = sum(len(kernel.signatures) for kernel in kernels)
    searched(random_instance(5, nodes=40, strategies=5, tightness=0.2, forbidden=0.05, density=0.05, equal=0.0))
    assert sum(len(kernel.signatures) for kernel in kernels) == count


def test_one_entry_takes_problems_and_instances():
    instance = random_instance(8)
    assert solve(instance, time_limit_s=30.0).cost == solve(instance).cost == oracle(instance)


def test_an_instance_without_nodes_edges_or_limit():
    nothing = Instance(
        first=np.zeros(1, np.int64),
        costs=np.zeros(0),
        usages=np.zeros(0),
        intervals=np.zeros((0, 2), np.int64),
        pairs=np.zeros((0, 2), np.int64),
        at=np.zeros(1, np.int64),
        table=np.zeros(0),
        limit=math.inf,
    )
    assert solve_instance(nothing, time_limit_s=1.0).choice == ()
    alone = instance_of([((0, 2), [3, 1], [5, 7])], [])
    assert solve_instance(alone, time_limit_s=1.0).choice == (1,)
    assert searched(alone).cost == 1.0


@pytest.mark.parametrize(("limit", "matrix"), [(9.0, [[0, 0], [0, 0]]), (99.0, [[np.inf, np.inf], [np.inf, np.inf]])])
def test_no_choice_is_proven(limit, matrix):
    nodes = [((0, 2), [0, 0], [5, 6]), ((1, 3), [0, 0], [5, 6])]
    found = solve_instance(instance_of(nodes, [(0, 1, matrix)], limit=limit), time_limit_s=1.0)
    assert (found.choice, found.cost, found.bound) == (None, math.inf, math.inf)
