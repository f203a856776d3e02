"""Broadcasts in loops: made where kernels read them, held nowhere, and the program computes the same."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.models import difference
from swplan.ir.graph import free_values, walk
from swplan.passes.sinking import sink_broadcasts
from swplan.runtime.trace import trace

ROWS, COLUMNS = 64, 96
WIDE = (ROWS, COLUMNS)


def masked(weights, batch):
    """Gradient descent through recomputed layers whose masks JAX spreads outside of the loop over them."""

    def layer(hidden, weight):
        scores = jnp.where(jnp.tri(COLUMNS, dtype=bool)[:ROWS], hidden @ weight, -1.0)
        return jnp.tanh(scores), None

    def loss_of(weights):
        return jnp.mean(jax.lax.scan(jax.checkpoint(layer), batch, weights)[0] ** 2)

    return weights - jax.grad(loss_of)(weights)


ARGS = (jnp.linspace(-1, 1, 2 * COLUMNS**2).reshape(2, COLUMNS, COLUMNS), jnp.sin(jnp.arange(64.0 * 96)).reshape(WIDE))


def spread_outside(graph):
    """Broadcasts of the top level that loops read."""
    read = {v for op, _ in walk(graph.top) for body in op.regions for v in free_values(body)}
    return [op for op in graph.top.ops if op.primitive == "broadcast_in_dim" and op.results[0] in read]


def test_loops_spread_for_themselves_what_their_kernels_read(run_undivided):
    graph = trace(masked, ARGS, {}).graph
    sunk = sink_broadcasts(graph)
    assert spread_outside(graph) and not spread_outside(sunk)
    assert difference(run_undivided(sunk, ARGS), [jax.jit(masked)(*ARGS)]) < 1e-6
    assert sink_broadcasts(sunk) == sunk


def nested(x):
    """A broadcast that only a loop in a loop reads."""
    row = jnp.broadcast_to(x[0], WIDE)
    inner = lambda h: jax.lax.fori_loop(0, 3, lambda _, h: jnp.sin(h) + row, h)  # noqa: E731
    return jax.lax.fori_loop(0, 2, lambda _, h: inner(h), x)


def product(x):
    """A broadcast that a product reads, which is no kernel that could spread it."""
    row = jnp.broadcast_to(x[0], (COLUMNS, COLUMNS))
    return jax.lax.fori_loop(0, 3, lambda _, h: h @ row, x)


def returned(x):
    """A broadcast that a loop hands on as it is."""
    row = jnp.broadcast_to(x[0], WIDE)
    return jax.lax.scan(lambda h, _: (jnp.sin(h) + row, row), x, None, length=3)


@pytest.mark.parametrize(("step", "left"), [(nested, 0), (product, 1), (returned, 1)])
def test_what_no_kernel_spreads_stays(step, left, run_undivided):
    graph = trace(step, ARGS[1:], {}).graph
    sunk = sink_broadcasts(graph)
    assert len(spread_outside(sunk)) == left
    wanted = jax.tree.leaves(jax.jit(step)(*ARGS[1:]))
    assert difference(run_undivided(sunk, ARGS[1:]), wanted) < 1e-6
