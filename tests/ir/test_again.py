"""What the backward pass exchanges again: which values these are, what that saves, and that it changes no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.memory import ZERO, choices_of
from swplan.ir.again import read_again
from swplan.ir.device import Move, walk_device
from swplan.ir.graph import walk
from swplan.passes.memory import peak_memory
from swplan.passes.partition import partition
from swplan.runtime.build import build, place
from swplan.runtime.conformance import compare
from swplan.runtime.mesh import device_mesh
from swplan.runtime.trace import trace

SIZES = (8,)
WIDTH = 64


def layers(checkpoint=False):
    """The gradients of a stack of matrices, one after the other."""
    layer = lambda x, w: jnp.tanh(x @ w)  # noqa: E731
    layer = jax.checkpoint(layer) if checkpoint else layer

    def step(weights, x):
        def loss(weights):
            y = x
            for w in weights:
                y = layer(y, w)
            return jnp.mean(y**2)

        return jax.grad(loss)(weights)

    return step


def arguments(depth):
    keys = jax.random.split(jax.random.key(0), depth + 1)
    weights = [jax.random.normal(key, (WIDTH, WIDTH)) / 8 for key in keys[1:]]
    return weights, jax.random.normal(keys[0], (16, WIDTH))


def split_state(graph, *, copies=True):
    """Every parameter split over all devices; with `copies`, so is what its readers start from."""
    choices = choices_of(graph, ZERO, SIZES)
    for value in graph.top.inputs if copies else ():
        if ("copy", value) in choices and graph.role(value) == "parameter":
            choices["copy", value] = choices["input", value]
    return choices


def gathers(program):
    """For each gather, in which pass it runs."""
    moves = [op for op, _ in walk_device(program.top) if isinstance(op, Move) and op.step.kind == "all_gather"]
    return [move.stage for move in moves if program.values[move.operands[0]].role == "parameter"]


def planned(depth, *, copies=True, checkpoint=False):
    graph = trace(layers(checkpoint), arguments(depth), {}).graph
    return graph, partition(graph, SIZES, split_state(graph, copies=copies))


def test_weights_are_read_again_but_nothing_that_one_loop_reads_in_both_passes():
    def looped(weights, x):
        body = lambda c, _: (c - jax.grad(lambda c: jnp.sum(jnp.tanh(jnp.sin(c) @ weights)))(c), None)  # noqa: E731
        return jax.lax.scan(body, x, None, length=3)[0]

    graph = trace(layers(), arguments(2), {}).graph
    assert set(graph.top.inputs[1:2]) <= read_again(graph).counts.keys()
    graph = trace(looped, (arguments(1)[0][0], arguments(1)[1]), {}).graph
    assert graph.top.inputs[0] not in read_again(graph).counts


@pytest.mark.parametrize("checkpoint", [False, True])
def test_both_passes_gather_and_the_numbers_and_collectives_are_as_planned(checkpoint):
    graph, program = planned(3, checkpoint=checkpoint)
    assert {"forward", "backward"} <= set(gathers(program))
    mesh = device_mesh(SIZES, "a", (0,))
    step = build(program, graph, mesh, donate=False)
    flat = place(step, jax.tree.leaves(arguments(3)))
    compiled = step.run.lower(*flat).compile()
    assert compare(program, graph, mesh, compiled).differences == ()
    expected = jax.tree.leaves(jax.jit(layers())(*arguments(3)))
    for ours, theirs in zip(compiled(*flat), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_gathering_again_holds_no_more_for_more_layers():
    """Beyond its shards and what it saves of each layer, a step holds what one layer gathers; else it holds all."""

    def held(depth, copies):
        graph, program = planned(depth, copies=copies)
        found = peak_memory(program, graph, in_order=True)
        kept = [one for one in found.largest if one.bytes == 4 * WIDTH * WIDTH and one.origin in graph.top.inputs]
        return len(kept)

    assert held(12, copies=True) == held(6, copies=True) <= 2
    assert held(12, copies=False) - held(6, copies=False) >= 5


def looped(weights, x):
    """The gradients of the same layers in a loop that keeps only what enters each of them."""

    def loss(weights):
        layer = jax.checkpoint(lambda y, w: (jnp.tanh(jnp.sin(y @ w) @ w), None))
        return jnp.mean(jax.lax.scan(layer, x, weights)[0] ** 2)

    return jax.grad(loss)(weights)


def runs_as_planned(program, graph, weights, x):
    """Checks the collectives and the numbers of the gradients of `looped`."""
    mesh = device_mesh(SIZES, "a", (0,))
    step = build(program, graph, mesh, donate=False)
    flat = place(step, [weights, x])
    compiled = step.run.lower(*flat).compile()
    assert compare(program, graph, mesh, compiled).differences == ()
    (ours,) = compiled(*flat)
    np.testing.assert_allclose(ours, jax.jit(looped)(weights, x), rtol=1e-5, atol=1e-6)


def test_a_loop_that_computes_its_layer_again_gathers_once_more_for_the_gradients():
    weights, x = arguments(4)
    graph = trace(looped, (jnp.stack(weights), x), {}).graph
    choices = choices_of(graph, ZERO, SIZES)
    slices = {v for op in graph.top.ops if op.kind == "scan" for v in op.regions[0].inputs[op.carries :]}
    for value in slices & {v for v in range(len(graph.avals)) if graph.avals[v].shape == (WIDTH, WIDTH)}:
        choices["slice", value] = choices["copy", value] = (0,)
    program = partition(graph, SIZES, choices)
    moves = [op for op, _ in walk_device(program.top) if isinstance(op, Move) and op.step.kind == "all_gather"]
    again = [move.again for move in moves if program.values[move.results[0]].aval.shape == (WIDTH, WIDTH)]
    assert sorted(again) == [False, False, True]
    runs_as_planned(program, graph, jnp.stack(weights), x)


def test_a_loop_of_the_backward_pass_gathers_again_what_that_of_the_forward_pass_took():
    weights, x = arguments(4)
    graph = trace(looped, (jnp.stack(weights), x), {}).graph
    choices = choices_of(graph, ZERO, SIZES)
    choices["copy", graph.top.inputs[0]] = choices["input", graph.top.inputs[0]]
    program = partition(graph, SIZES, choices)
    assert sorted(gathers(program)) == ["backward", "forward"]
    runs_as_planned(program, graph, jnp.stack(weights), x)


def test_recomputed_values_are_activations_of_the_backward_pass():
    graph = trace(layers(checkpoint=True), arguments(3), {}).graph
    again = [op for op, _ in walk(graph.top) if op.primitive == "tanh" and op.stage == "backward"]
    assert again and all(graph.role(op.results[0]) == "activation" for op in again)


def test_what_only_the_optimizer_reads_is_a_part_of_it():
    def step(state, x):
        (weights, moment) = state
        gradient = jax.grad(lambda w: jnp.mean((x @ w) ** 2))(weights)
        moment = 0.9 * moment + gradient
        return (weights - 0.1 * moment, moment), jnp.sum(x * 2.0)

    graph = trace(step, ((jnp.ones((8, 8)), jnp.ones((8, 8))), jnp.ones((4, 8))), {}).graph
    stages = {op.stage for op in graph.top.ops if op.primitive == "mul" and graph.avals[op.results[0]].shape == (8, 8)}
    assert stages == {"optimizer"}
    assert any(op.stage == "forward" and graph.avals[op.results[0]].shape == (4, 8) for op in graph.top.ops)
