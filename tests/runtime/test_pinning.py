"""Pins and what is kept, in programs that run: the numbers of the unplanned step, exchanges as planned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import swplan

WEIGHTS = {"w1": (3, 16, 32), "w2": (3, 32, 16)}


def pinned(h):
    """Split by two names."""
    return swplan.pin(h, ("data", "model"))


def constrained(h):
    """The same in JAX's own words."""
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
    return jax.lax.with_sharding_constraint(h, NamedSharding(mesh, PartitionSpec("data", "model")))


def build(mark, wrap):
    """A step over three scanned layers, with a mark in each."""

    def layer(x, w):
        return x + mark(jnp.tanh(x @ w["w1"])) @ w["w2"], None

    def step(weights, x):
        def loss(weights):
            return jnp.mean(jax.lax.scan(wrap(layer), x, weights)[0] ** 2)

        value, grads = jax.value_and_grad(loss)(weights)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, grads), value

    return step


def arguments():
    keys = jax.random.split(jax.random.key(0), 3)
    weights = {name: jax.random.normal(k, shape) * 0.1 for k, (name, shape) in zip(keys, WEIGHTS.items(), strict=False)}
    return weights, jax.random.normal(keys[2], (64, 16))


CASES = {
    "scan": (pinned, lambda f: f),
    "checkpoint": (pinned, jax.checkpoint),
    "vmap": (lambda h: jax.vmap(lambda row: swplan.pin(row, ("model",)))(h), lambda f: f),
    "jit": (jax.jit(pinned), lambda f: f),
    "two pins of one value": (lambda h: swplan.pin(swplan.pin(h, ("data",)), (None, "data")), lambda f: f),
    "jax": (constrained, lambda f: f),
}


@pytest.mark.parametrize("name", CASES)
def test_pinned_steps_run_as_planned(name):
    step, args = build(*CASES[name]), arguments()
    plan = swplan.plan(step, *args, precision="fp32", max_axes=2)
    assert plan.pins
    assert all(pin.price_s >= 0 for pin in plan.pins)
    expected = jax.jit(step)(*args)
    found = swplan.auto(step, plan=plan)(*args)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected)
    assert swplan.verify(plan, step, *arguments())


def test_what_is_kept_is_not_recomputed():
    args = arguments()
    dropped = swplan.plan(build(lambda h: h, lambda f: f), *args, precision="fp32", recompute="everything", max_axes=1)
    kept = swplan.plan(build(swplan.keep, lambda f: f), *args, precision="fp32", recompute="everything", max_axes=1)
    assert len(kept.recompute.values) < len(dropped.recompute.values)
