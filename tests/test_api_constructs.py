"""Every construct of JAX that may stand in a step: each runs unchanged and equals `jax.jit`."""

import jax
import jax.numpy as jnp
import pytest

from tests.test_api_functions import TABLE, Case, X, check


def loss_of(weights, batch):
    hidden = jnp.tanh(batch @ weights)
    return jnp.mean(hidden**2), {"largest": hidden.max(), "rows": hidden.sum(1)}


def has_aux(weights, batch):
    (loss, aux), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, batch)
    return weights - gradients, (loss, aux)


def inner_jit(weights, batch):
    @jax.jit
    def layer(w, x):
        return jnp.tanh(x @ w)

    return weights - jax.grad(lambda w: jnp.mean(layer(w, layer(w, batch))))(weights), None


def scanned(remat):
    def layer(x, w):
        return jnp.tanh(x @ w), x.mean()

    def step(stack, batch):
        def loss(stack):
            x, means = jax.lax.scan(jax.checkpoint(layer) if remat else layer, batch, stack)
            return jnp.mean(x**2) + means.sum()

        value, gradients = jax.value_and_grad(loss)(stack)
        return stack - 0.1 * gradients, value

    return step


def checkpointed(weights, batch):
    layer = jax.checkpoint(lambda w, x: jnp.sin(jnp.tanh(x @ w)), policy=jax.checkpoint_policies.dots_saveable)
    value, gradients = jax.value_and_grad(lambda w: jnp.mean(layer(w, layer(w, batch))))(weights)
    return weights - gradients, value


def conditional(weights, batch):
    value = jax.lax.cond(batch.sum() > 0, lambda w: w.sum(), lambda w: (2 * w).sum(), weights)
    return weights * 0.5 + value, jax.lax.switch(2, [jnp.sin, jnp.cos, jnp.tanh], batch)


def while_loop(weights, batch):
    def body(carry):
        i, w = carry
        return i + 1, w * 0.5 + batch

    return jax.lax.while_loop(lambda carry: carry[0] < 3, body, (0, weights))[1], jax.lax.fori_loop(
        0, 4, lambda i, x: x + i, batch
    )


@jax.custom_vjp
def clipped(x):
    return jnp.clip(x, -1, 1)


clipped.defvjp(lambda x: (clipped(x), x), lambda x, g: (g * (jnp.abs(x) < 1) * 0.5,))


def custom_derivatives(weights, batch):
    value, gradients = jax.value_and_grad(lambda w: jnp.sum(clipped(jax.nn.relu(batch @ w))))(weights)
    return weights - 0.01 * gradients, value


def accumulated(weights, batch):
    """Gradient accumulation over four microbatches."""

    def add(total, part):
        return total + jax.grad(lambda w: loss_of(w, part)[0])(weights), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(weights), batch.reshape(4, 4, 16))
    return weights - total / 4, None


def associative(weights, batch):
    return weights + jax.lax.associative_scan(jnp.add, batch[:4]).sum(), jnp.cumsum(batch, 1)


def hessian_vector(weights, batch):
    gradient = jax.grad(lambda w: loss_of(w, batch)[0])
    return weights - jax.jvp(gradient, (weights,), (jnp.ones_like(weights),))[1], None


def einsums(weights, batch):
    heads = jnp.einsum("bd,de->be", batch, weights).reshape(16, 4, 4)
    mixed = jnp.einsum("bhk,chk->hbc", heads, heads)
    return weights, jax.nn.softmax(mixed, axis=-1)


def gathered(weights, batch):
    ids = jnp.argsort(batch[:, 0])
    return weights.at[ids[:4]].add(1.0), (weights[ids], jnp.take_along_axis(batch, ids[:, None], 1), jnp.sort(batch))


STACK = jnp.stack([X, TABLE, X.T, TABLE.T]) / 4
FEATURES = {
    "has_aux": Case(has_aux, (X, TABLE)),
    "jit inside": Case(inner_jit, (X, TABLE)),
    "scan over layers": Case(scanned(False), (STACK, TABLE)),
    "scan of checkpointed layers": Case(scanned(True), (STACK, TABLE)),
    "checkpoint with a policy": Case(checkpointed, (X, TABLE)),
    "cond and switch": Case(conditional, (X, TABLE)),
    "while and fori": Case(while_loop, (X, TABLE)),
    "custom derivatives": Case(custom_derivatives, (X, TABLE)),
    "gradient accumulation": Case(accumulated, (X, TABLE)),
    "associative scan": Case(associative, (X, TABLE)),
    "second derivatives": Case(hessian_vector, (X, TABLE)),
    "einsum and softmax": Case(einsums, (X, TABLE)),
    "gather, scatter, sort": Case(gathered, (X, TABLE)),
}


@pytest.mark.parametrize("name", FEATURES)
def test_every_construct_of_jax(name):
    check(FEATURES[name].function, FEATURES[name])
