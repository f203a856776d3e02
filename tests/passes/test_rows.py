"""Kernels that keep rows: what an update of parameters, a softmax and a norm move, and what may not be one kernel."""

import jax
import jax.numpy as jnp
import optax
import pytest

from swplan.ir.graph import walk
from swplan.passes.rows import row_fused_values
from swplan.runtime.trace import trace

ROW_BYTES = 1 << 17
SHAPE = (64, 128)
COUNT = 64 * 128


def array(*shape, dtype=jnp.float32):
    """An abstract array."""
    return jax.ShapeDtypeStruct(shape, dtype)


def moved(step, *args, smallest=COUNT):
    """Bytes that the loops of a step move, of values of `smallest` elements and more."""
    graph = trace(step, args, {}).graph
    fused = row_fused_values(graph, ROW_BYTES)
    total = 0
    for op, _ in walk(graph.top):
        goes = fused.traffic(op) if op.rule.work.traffic != "none" else ()
        avals = [graph.avals[v] for v in (*op.operands, *op.results)]
        total += sum(aval.bytes for aval, does in zip(avals, goes, strict=False) if does and aval.size >= smallest)
    return total


def adam(optimizer, dtype):
    """An update of one parameter, whose state and gradient are arguments, and its arguments."""
    weights = array(*SHAPE)
    state = jax.eval_shape(optimizer.init, weights)

    def update(weights, state, gradient):
        updates, state = optimizer.update(gradient.astype(jnp.float32), state, weights)
        return optax.apply_updates(weights, updates), state

    return update, (weights, state, array(*SHAPE, dtype=dtype))


@pytest.mark.parametrize(("dtype", "gradient"), [("float32", 4), ("bfloat16", 2)])
def test_an_update_reads_and_writes_everything_once(dtype, gradient):
    step, args = adam(optax.adamw(1e-3, weight_decay=0.01), dtype)
    read, written = 4 + 4 + 4 + gradient, 4 + 4 + 4
    assert moved(step, *args) == COUNT * (read + written)


def test_clipping_reads_the_gradient_once_more():
    (plain, args), (clipped, others) = (
        adam(optax.chain(*first, optax.adamw(1e-3)), "float32") for first in ((), (optax.clip_by_global_norm(1.0),))
    )
    assert moved(clipped, *others) == moved(plain, *args) + 4 * COUNT


def test_a_softmax_reads_and_writes_its_rows_once():
    assert moved(lambda x: jax.nn.softmax(x * 2.0), array(*SHAPE)) == 2 * 4 * COUNT


def test_rows_that_are_too_long_go_through_memory():
    long = array(2, ROW_BYTES)
    assert moved(jax.nn.softmax, long, smallest=long.size) > 2 * 4 * long.size


def test_what_leaves_a_kernel_and_comes_back_begins_another():
    def step(x, weights):
        wide = jnp.tanh(x)
        return wide + wide @ weights

    graph = trace(step, (array(128, 128), array(128, 128)), {}).graph
    tanh, *_ = graph.top.ops
    assert tanh.results[0] not in row_fused_values(graph, ROW_BYTES)
    assert moved(step, array(128, 128), array(128, 128)) == 4 * 128 * 128 * (2 + 3 + 3)


def test_what_waits_for_a_sum_over_all_rows_begins_another_kernel():
    assert moved(lambda x, y: x * jnp.sum(x * y), array(*SHAPE), array(*SHAPE)) == 4 * COUNT * (2 + 2)


def test_a_kernel_that_something_else_has_read_joins_no_other():
    """`a` is multiplied before its kernel could become part of that of `b`, which reads the product."""

    def step(x, y, weights):
        a = jnp.tanh(x)
        b = jnp.exp(a @ weights)
        return a + b, jnp.sin(y)

    square = array(128, 128)
    assert moved(step, square, square, square) == 4 * 128 * 128 * (2 + 3 + 3 + 2)


def test_what_is_taken_apart_is_written_in_parts():
    def step(x):
        return tuple(jnp.split(x + 1.0, 4, axis=1))

    assert moved(step, array(*SHAPE), smallest=COUNT // 4) == 2 * 4 * COUNT
