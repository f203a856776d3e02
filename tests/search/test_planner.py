"""The search on real programs: equal to brute force wherever that can be enumerated, priced as it will run."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swplan.costmodel import Cluster
from swplan.passes.fusion import fused_values
from swplan.passes.partition import partition
from swplan.runtime import describe
from swplan.runtime.trace import trace
from swplan.search.decisions import decision_graph
from swplan.search.fold import fold
from swplan.search.hunting import PROMISING, Hunt
from swplan.search.meshes import candidate_meshes
from swplan.search.planner import find
from swplan.search.pricing import Pricer
from swplan.search.screening import Way
from swplan.search.space import problem, space
from swplan.search.subject import FREE, solve_space, subject
from swplan.solver.bruteforce import brute_force

LIMIT = 300_000


def dense(x, w):
    """One product."""
    return jnp.tanh(x @ w)


def chain(x, w):
    """Two products with the same weight."""
    return (x @ w) @ w.T


def reduction(x, w):
    """A product, then a sum."""
    return jnp.sum(x * 2.0, axis=0) + w[0]


def loop(x, w):
    """A loop over a product."""
    return jax.lax.fori_loop(0, 3, lambda i, c: c @ w, x)


def branch(x, w):
    """A branch."""
    return jax.lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: x)


def update(state, x):
    """A step that returns its state."""
    return state - 0.1 * (x.T @ x), jnp.sum(x)


PROGRAMS = (dense, chain, reduction, loop, branch, update)
SPECS = (
    "host:devices=2",
    "host:devices=4",
    "sw26010pro:nodes=4,nodes_per_supernode=2",
    "sw26010pro:nodes=8,nodes_per_supernode=4",
)
SHAPES = ((8, 8), (64, 8), (512, 512), (4096, 4096))


def abstract(shape):
    """Two square-ish arguments."""
    return jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((shape[1], shape[1]), jnp.float32)


def cases():
    """Every program on every cluster and shape."""
    return [
        pytest.param(*case, id=f"{case[0].__name__}-{case[1]}-{case[2][0]}")
        for case in itertools.product(PROGRAMS, SPECS, SHAPES)
    ]


def arguments(program, shape):
    """The arguments of a program: `update` takes its state first."""
    x, w = abstract(shape)
    return (w, x) if program is update else (x, w)


def enumerable(program, spec, shape):
    """The meshes of a case on which all choices can be tried: its subject, what can be chosen, and the problem."""
    graph = trace(program, arguments(program, shape), {}).graph
    prepared = subject(graph, Cluster.parse(spec))
    for mesh in candidate_meshes(prepared.cluster, prepared.decisions, 2):
        area = space(prepared.folded, Pricer(prepared.cluster, mesh, graph, prepared.fused))
        stated = problem(area, prepared.moments, prepared.cluster.memory_bytes)
        if np.prod([float(len(costs)) for costs in stated.costs]) <= LIMIT:
            yield prepared, area, stated


@pytest.mark.parametrize(("program", "spec", "shape"), cases())
def test_search_equals_brute_force(program, spec, shape):
    """On every mesh that can be enumerated, the solver's cost is that of brute force."""
    for prepared, area, stated in enumerable(program, spec, shape):
        best = brute_force(stated, limit=LIMIT)
        solution, _ = solve_space(prepared, area, prepared.cluster.memory_bytes)
        assert solution.cost == pytest.approx(best.cost, rel=1e-9)
        assert solution.gap <= 1e-9


def test_at_least_fifty_cases_were_enumerated():
    """The test above compares something."""
    found = (one for case in itertools.product(PROGRAMS, SPECS, SHAPES) for one in enumerable(*case))
    assert len(list(itertools.islice(found, 50))) == 50


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_finished_program_costs_no_more_than_the_search_said(program):
    """What is shared between readers makes it cheaper, nothing makes it dearer."""
    graph = trace(program, arguments(program, (512, 512)), {}).graph
    prepared = subject(graph, Cluster.parse("sw26010pro:nodes=8,nodes_per_supernode=4"))
    found = find(prepared, max_axes=2)
    pricer = Pricer(prepared.cluster, found.best.placement, graph, prepared.fused)
    names = tuple(f"a{i}" for i in range(len(pricer.sizes)))
    ops = describe.ops_of(graph, found.program, pricer, names)
    exchanges = describe.collectives_of(graph, found.program, pricer, names)
    total = sum(o.time_s for o in ops) + sum(c.time_s for c in exchanges)
    total += describe.local_moves_s(graph, found.program, pricer)
    assert total <= found.best.cost_s * (1 + 1e-9)


def test_equal_layers_are_decided_once():
    """Eight layers make no more decisions than six."""

    def layers(count):
        def step(x, ws):
            for w in ws:
                x = x + jnp.tanh(x @ w)
            return jnp.sum(x)

        ws = [jax.ShapeDtypeStruct((16, 16), jnp.float32)] * count
        graph = trace(jax.value_and_grad(step, argnums=1), (jax.ShapeDtypeStruct((8, 16), jnp.float32), ws), {}).graph
        return len(fold(decision_graph(graph)).members)

    assert layers(16) == layers(12)


def test_more_devices_never_hold_more():
    """The device program of a split mesh holds no more argument bytes than the whole."""
    graph = trace(dense, arguments(dense, (64, 8)), {}).graph
    decisions = decision_graph(graph)
    assert fused_values(graph).values <= set(range(len(graph.avals)))
    whole = {node.key: (-1,) for node in decisions.nodes}
    program = partition(graph, (8,), whole)
    assert all(program.values[v].aval == graph.avals[program.values[v].origin] for v in program.top.inputs)


def test_progress_tells_the_best_so_far_and_its_gap():
    """No gap that is shown is smaller than that of the plan in the end, for what was found by then."""
    shown = []
    graph = trace(update, arguments(update, (512, 512)), {}).graph
    found = find(
        subject(graph, Cluster.parse("sw26010pro:nodes=8,nodes_per_supernode=4")),
        max_axes=2,
        progress=lambda done, total, text: shown.append(text),
    )
    texts = [text for text in shown if "best so far" in text]
    assert texts
    for text in texts:
        best_s, gap = float(text.split("best so far ")[1].split(" s")[0]), float(text.split("gap ")[1][:-1]) / 100
        assert best_s >= found.best.cost_s * (1 - 1e-2)
        assert best_s * (1 - gap) <= found.bound_s * (1 + 1e-2)


def test_meshes_of_one_bound_are_looked_at_again_in_the_order_in_which_they_were_left():
    """Nothing that the search does depends on where objects lie in memory."""
    prepared = subject(trace(dense, abstract((512, 512)), {}).graph, Cluster.parse("host:devices=64"))
    state = Hunt(subject=prepared, pins=FREE, deadline=None, progress=None)
    ways = [Way(mesh, FREE) for mesh in candidate_meshes(prepared.cluster, prepared.decisions, 3)]
    assert len(ways) > PROMISING
    for way in ways:
        state.leave(way, 1.0)
    assert state.again(np.inf) == ways[:PROMISING]
