"""fp16 with a scaled loss: same numbers, skipped steps on overflow, and no scaling where it would not be safe."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swplan


def loss_of(w, x):
    """A small loss."""
    return jnp.mean((jnp.tanh(x @ w) @ w.T - x) ** 2)


def step(state, x):
    """Plain gradient descent with a marked loss."""
    loss, grads = swplan.value_and_grad(loss_of)(state["w"], x)
    return {"w": state["w"] - 0.1 * grads, "count": state["count"] + 1}, loss


def unmarked(state, x):
    """The same, the loss not marked."""
    loss, grads = jax.value_and_grad(loss_of)(state["w"], x)
    return {"w": state["w"] - 0.1 * grads, "count": state["count"] + 1}, loss


@pytest.fixture
def arguments():
    """State and batch."""
    w = jax.random.normal(jax.random.key(0), (16, 32)) * 0.1
    return {"w": w, "count": jnp.int32(0)}, jax.random.normal(jax.random.key(1), (64, 16))


def test_fp16_is_executed_and_close(arguments):
    """Products run in fp16; five steps stay close to fp32."""
    plan = swplan.plan(step, *arguments, precision="fp16", cluster="host:devices=8")
    assert plan.precision.loss_scaling
    assert set(plan.precision.classes.values()) == {"fp16"}
    run = swplan.auto(step, precision="fp16")
    state, x = arguments
    wide = state
    state = jax.tree.map(jnp.copy, state)
    for _ in range(5):
        wide, expected = jax.jit(step)(wide, x)
        state, loss = run(state, x)
    assert int(state["count"]) == 5
    np.testing.assert_allclose(loss, expected, rtol=5e-3)
    np.testing.assert_allclose(state["w"], wide["w"], rtol=2e-2, atol=1e-3)


def test_an_overflow_skips_the_step_and_halves_the_scale(arguments):
    """State stays as it was when gradients are not finite."""
    state, x = arguments
    before = np.asarray(state["w"])
    run = swplan.auto(step, precision="fp16")
    state, _ = run(jax.tree.map(jnp.copy, state), x * 1e5)
    np.testing.assert_array_equal(state["w"], before)
    assert int(state["count"]) == 0
    state, _ = run(state, x)
    assert int(state["count"]) == 1


def test_a_step_that_does_not_mark_its_loss_gets_bf16(arguments):
    """And the plan says why."""
    plan = swplan.plan(unmarked, *arguments, precision="fp16", cluster="host:devices=8")
    assert not plan.precision.loss_scaling
    assert set(plan.precision.classes.values()) == {"bf16"}
    assert "swplan.value_and_grad" in plan.precision.why


def test_verify_and_shardings_leave_the_scale_out(arguments):
    """The scale is nobody's argument."""
    plan = swplan.plan(step, *arguments, precision="fp16", cluster="host:devices=8")
    (state, _), (new, _) = plan.shardings
    assert set(state) == set(new) == {"w", "count"}
    assert swplan.verify(plan, step, *arguments)
