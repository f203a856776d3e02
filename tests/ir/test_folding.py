"""What a compiler folds is folded while reading, and nothing else is."""

import jax
import jax.numpy as jnp
import pytest

from swplan.ir.graph import walk
from swplan.runtime.trace import trace

F = jax.ShapeDtypeStruct((4, 8), jnp.float32)

IDENTITIES = {
    "power of one": lambda x: x**1,
    "plus zero": lambda x: x + 0.0,
    "times one": lambda x: 1.0 * x,
    "same shape": lambda x: jnp.reshape(x, (4, 8)),
    "same order": lambda x: jax.lax.transpose(x, (0, 1)),
    "max with minus infinity": lambda x: jnp.maximum(x, -jnp.inf),
    "minus zeros": lambda x: x - jnp.zeros((4, 8)) * 3.0,
}


def primitives(function, *args):
    """Names of the ops of a traced function."""
    return [op.primitive for op, _ in walk(trace(function, args, {}).graph.top)]


@pytest.mark.parametrize("name", IDENTITIES)
def test_an_identity_is_no_op(name):
    """What changes nothing is not there."""
    assert primitives(lambda x: jnp.sin(IDENTITIES[name](x)), F) == ["sin"]


ROUND_TRIPS = {
    "back to its shape": lambda x: jnp.reshape(jnp.reshape(x, (2, 16)), (4, 8)),
    "a dim more and less": lambda x: jnp.squeeze(jnp.expand_dims(x, 1), 1),
    "by way of a dim of one": lambda x: jnp.reshape(jnp.transpose(x[..., None], (0, 2, 1)), (4, 8)),
    "by way of a broadcast": lambda x: jax.lax.broadcast_in_dim(x, (4, 1, 8), (0, 2)).reshape(4, 8),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_what_comes_back_to_its_shape_is_what_it_was(name):
    """However it went there."""
    assert [op for op in primitives(lambda x: jnp.sin(x) + jnp.sin(ROUND_TRIPS[name](x)), F)][-2:] == ["sin", "add"]


def test_the_same_elements_in_the_same_shape_are_one_value():
    """So that what is exchanged of them is exchanged once."""
    names = primitives(lambda x: jnp.sin(jnp.reshape(x, (4, 8, 1))) + jnp.sin(jnp.expand_dims(x, 2)), F)
    assert names.count("sin") == 1


def test_another_order_is_another_value():
    """A transposition that moves elements is no reshape, nor is what follows it one of what it was made of."""
    names = primitives(lambda x: jnp.sin(x) + jnp.sin(jnp.reshape(x.T, (4, 8))), F)
    assert names.count("sin") == 2


def test_what_changes_something_stays():
    """Near misses of the identities."""
    assert "add" in primitives(lambda x: x + 1.0, F)
    assert "transpose" in primitives(lambda x: x.T.T + x.T.T @ jnp.ones((8, 8)) @ x.T @ x, F)
    assert "integer_pow" in primitives(lambda x: x**3, F)
    assert "max" in primitives(lambda x: jnp.maximum(x, 0.0), F)


def test_constants_are_computed_once_and_uniform_ones_stay_small():
    """A chain of constants becomes one; a large uniform one is a broadcast, not an array."""
    names = primitives(lambda x: x * (jnp.exp(jnp.ones((4, 8)) * 2.0) / 3.0), F)
    assert sorted(set(names)) in (["broadcast_in_dim", "mul"], ["mul"])


def test_a_scan_of_one_trip_is_its_body():
    """With its slices and stacks."""

    def step(x):
        return jax.lax.scan(lambda c, s: (c + s, c * s), jnp.zeros(8), x)

    one = trace(step, (jax.ShapeDtypeStruct((1, 8), jnp.float32),), {}).graph
    assert not any(op.kind == "scan" for op in one.top.ops)


@pytest.mark.parametrize(("stop", "step", "trips"), [(5, 1, 5), (7, 2, 4), (0, 1, 0)])
def test_a_counting_loop_is_counted(stop, step, trips):
    """Otherwise its price would only be a lower bound."""

    def run(x):
        body = lambda s: (s[0] + step, jnp.tanh(s[1]))  # noqa: E731
        return jax.lax.while_loop(lambda s: s[0] < stop, body, (0, x))[1]

    (loop,) = [op for op in trace(run, (F,), {}).graph.top.ops if op.kind == "while"]
    assert loop.trips == trips


def test_a_loop_that_waits_for_a_value_is_not_counted():
    """Its price is a stated lower bound."""
    run = lambda x: jax.lax.while_loop(lambda c: jnp.sum(c) < 10.0, lambda c: c + 1.0, x)  # noqa: E731
    (loop,) = [op for op in trace(run, (F,), {}).graph.top.ops if op.kind == "while"]
    assert loop.trips is None


def test_what_depends_on_no_input_is_made_once_for_all_checkpoints():
    """No barrier keeps it apart, so a compiler makes it once: also in loops."""

    @jax.checkpoint
    def block(x):
        mask = jnp.tril(jnp.ones((8, 8), bool))
        return jnp.sin(jnp.where(mask, x @ x, 0.0))

    square = jax.ShapeDtypeStruct((8, 8), jnp.float32)
    twice = lambda x: jnp.sum(block(block(x)))  # noqa: E731
    names = primitives(lambda x: (twice(x), jax.grad(twice)(x)), square)
    assert names.count("iota") == 2
    assert names.count("dot_general") > 4
    looped = lambda x: jnp.sum(jax.lax.scan(lambda c, _: (block(c), None), block(x), None, length=4)[0])  # noqa: E731
    assert primitives(jax.grad(looped), square).count("iota") == 2
