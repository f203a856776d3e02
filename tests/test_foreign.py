"""Training steps written with other libraries plan and run unchanged, and equal `jax.jit` of themselves."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import swplan
from benchmarks.models import CLUSTER, difference

STEPS = 3
OPTIONS = {"cluster": CLUSTER, "precision": "fp32", "max_axes": 1}


def imported(name):
    """A library that is no requirement of swplan's; its own deprecations are not ours to refuse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pytest.importorskip(name, reason=f"{name} is not installed (extra: foreign)")


def optimizer():
    schedule = optax.warmup_cosine_decay_schedule(1e-3, 1e-2, 2, 100)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, eps=1e-3, weight_decay=0.01))


def batch_of(*shape, classes=8):
    draw = np.random.default_rng(0)
    labels = jnp.asarray(draw.integers(0, classes, shape[0]), jnp.int32)
    return {"x": jnp.asarray(draw.normal(size=shape), jnp.float32), "y": labels}


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def trained(step, state, batch):
    state, losses = jax.tree.map(jnp.copy, state), []
    for _ in range(STEPS):
        state, loss = step(state, batch)
        losses.append(loss)
    return state, losses


def check(step, state, batch):
    """Some planned steps equal those of `jax.jit`, the compiled program is the planned one, every role is found."""
    wanted = trained(jax.jit(step), state, batch)
    assert wanted[1][-1] < wanted[1][0]
    planned = swplan.auto(step, **OPTIONS)
    got = trained(planned, state, batch)
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    assert difference(got, wanted) <= 1e-5
    plan = planned.plan(state, batch)
    assert any(any(tensor.spec) for tensor in plan.inputs)
    assert {"parameter", "optimizer", "batch"} <= {tensor.role for tensor in plan.inputs}
    assert swplan.verify(plan, step, state, batch).differences == ()


def test_equinox_partitioned():
    eqx = imported("equinox")
    keys = jax.random.split(jax.random.key(0), 2)
    model = (eqx.nn.MLP(16, 32, 32, 2, key=keys[0]), eqx.nn.LayerNorm(32), eqx.nn.Linear(32, 8, key=keys[1]))
    params, static = eqx.partition(model, eqx.is_inexact_array)
    tool = optimizer()

    def apply(model, x):
        mlp, norm, head = model
        return head(norm(jax.nn.relu(mlp(x))))

    def step(state, batch):
        params, opt_state = state

        def loss_of(params):
            return cross_entropy(jax.vmap(lambda x: apply(eqx.combine(params, static), x))(batch["x"]), batch["y"])

        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, opt_state = tool.update(gradients, opt_state, params)
        return (eqx.apply_updates(params, updates), opt_state), loss

    check(step, (params, tool.init(params)), batch_of(16, 16))


def test_equinox_model_as_the_state_itself():
    eqx = imported("equinox")
    model = eqx.nn.Linear(16, 8, key=jax.random.key(0))

    def step(model, batch):
        loss_of = lambda model: cross_entropy(jax.vmap(model)(batch["x"]), batch["y"])  # noqa: E731
        loss, gradients = eqx.filter_value_and_grad(loss_of)(model)
        return jax.tree.map(lambda p, g: p - 0.1 * g, model, gradients), loss

    batch = batch_of(16, 16)
    planned = swplan.auto(step, **OPTIONS)
    assert difference(trained(planned, model, batch), trained(jax.jit(step), model, batch)) <= 1e-5


def test_haiku_transform_with_dropout():
    hk = imported("haiku")

    def forward(x, train):
        x = jax.nn.gelu(hk.Linear(32)(x))
        x = hk.LayerNorm(-1, create_scale=True, create_offset=True)(x)
        return hk.Linear(8)(hk.dropout(hk.next_rng_key(), 0.1, x) if train else x)

    network, tool, batch = hk.transform(forward), optimizer(), batch_of(16, 16)
    params = network.init(jax.random.PRNGKey(0), batch["x"], True)

    def step(state, batch):
        key, used = jax.random.split(state["key"])

        def loss_of(params):
            return cross_entropy(network.apply(params, used, batch["x"], True), batch["y"])

        loss, gradients = jax.value_and_grad(loss_of)(state["params"])
        updates, opt_state = tool.update(gradients, state["opt"], state["params"])
        return {"params": optax.apply_updates(state["params"], updates), "opt": opt_state, "key": key}, loss

    check(step, {"params": params, "opt": tool.init(params), "key": jax.random.PRNGKey(1)}, batch)


def test_haiku_with_state_batch_norm_and_convolution():
    hk = imported("haiku")

    def forward(x):
        x = hk.Conv2D(8, 3, stride=2, with_bias=False)(x)
        x = jax.nn.relu(hk.BatchNorm(True, True, 0.9)(x, is_training=True))
        return hk.Linear(8)(hk.max_pool(x, (2, 2, 1), (2, 2, 1), "VALID").reshape(x.shape[0], -1))

    network, tool, batch = hk.transform_with_state(forward), optax.sgd(0.05, momentum=0.9), batch_of(8, 8, 8, 3)
    params, statistics = network.init(jax.random.PRNGKey(0), batch["x"])

    def step(state, batch):
        params, statistics, opt_state = state

        def loss_of(params):
            logits, new = network.apply(params, statistics, None, batch["x"])
            return cross_entropy(logits, batch["y"]), new

        (loss, new), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = tool.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), new, opt_state), loss

    check(step, (params, statistics, tool.init(params)), batch)


def graph_of(jraph, nodes=16, edges=32):
    draw = np.random.default_rng(1)
    return jraph.GraphsTuple(
        nodes=jnp.asarray(draw.normal(size=(nodes, 8)), jnp.float32),
        edges=jnp.asarray(draw.normal(size=(edges, 4)), jnp.float32),
        senders=jnp.asarray(draw.integers(0, nodes, edges)),
        receivers=jnp.asarray(draw.integers(0, nodes, edges)),
        globals=jnp.ones((2, 3)),
        n_node=jnp.array([nodes // 2] * 2),
        n_edge=jnp.array([edges // 2] * 2),
    )


def test_jraph_graph_network():
    jraph = imported("jraph")
    draw = np.random.default_rng(2)
    shapes = {"edge": (4 + 2 * 8 + 3, 16), "node": (8 + 16 + 16 + 3, 16), "out": (16, 8)}
    params = {name: jnp.asarray(draw.normal(size=s) / s[0] ** 0.5, jnp.float32) for name, s in shapes.items()}
    tool = optax.adam(1e-2, eps=1e-3)
    batch = {"graph": graph_of(jraph), "y": jnp.asarray(draw.integers(0, 8, 16))}

    def apply(params, graph):
        network = jraph.GraphNetwork(
            update_edge_fn=lambda *parts: jax.nn.relu(jnp.concatenate(parts, -1) @ params["edge"]),
            update_node_fn=lambda *parts: jax.nn.relu(jnp.concatenate(parts, -1) @ params["node"]),
        )
        pooled = jax.ops.segment_sum(network(graph).nodes, jnp.arange(16) // 8, 2)
        return (network(graph).nodes + jnp.repeat(pooled, 8, axis=0, total_repeat_length=16)) @ params["out"]

    def step(state, batch):
        params, opt_state = state
        loss_of = lambda params: cross_entropy(apply(params, batch["graph"]), batch["y"])  # noqa: E731
        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, opt_state = tool.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    check(step, (params, tool.init(params)), batch)


def test_raw_pytrees_with_momentum_and_a_scanned_recurrence():
    draw = np.random.default_rng(3)
    shapes = [(8, 32), (32, 32), (32, 8)]
    params = tuple(jnp.asarray(draw.normal(size=s) / s[0] ** 0.5, jnp.float32) for s in shapes)

    def loss_of(params, batch):
        first, again, last = params
        cell = lambda h, x: (jnp.tanh(x @ first + h @ again), None)  # noqa: E731
        hidden, _ = jax.lax.scan(cell, jnp.zeros((16, 32)), jnp.swapaxes(batch["x"], 0, 1))
        return cross_entropy(hidden @ last, batch["y"])

    def step(state, batch):
        params, momentum = state
        loss, gradients = jax.value_and_grad(loss_of)(params, batch)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradients)
        return (jax.tree.map(lambda p, m: p - 0.05 * m, params, momentum), momentum), loss

    check(step, (params, jax.tree.map(jnp.zeros_like, params)), batch_of(16, 6, 8))


def test_flax_nnx_split_and_merge():
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(16, 32, use_bias=False, rngs=rngs), nnx.BatchNorm(32, rngs=rngs)
            self.last = nnx.Linear(32, 8, rngs=rngs)

        def __call__(self, x):
            return self.last(nnx.relu(self.norm(self.first(x))))

    definition, params, rest = nnx.split(Network(nnx.Rngs(0)), nnx.Param, ...)
    tool = optimizer()

    def step(state, batch):
        params, rest, opt_state = state

        def loss_of(params):
            model = nnx.merge(definition, params, rest, copy=True)
            loss = cross_entropy(model(batch["x"]), batch["y"])
            return loss, nnx.split(model, nnx.Param, ...)[2]

        (loss, rest), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = tool.update(gradients, opt_state, params)
        return (optax.apply_updates(params, updates), rest, opt_state), loss

    check(step, (params, rest, tool.init(params)), batch_of(16, 16))


def test_flax_linen_train_state():
    from flax import linen as nn
    from flax.training.train_state import TrainState

    class Network(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            x = nn.Embed(32, 16)(tokens)
            x = x + nn.MultiHeadDotProductAttention(num_heads=2, use_bias=False)(nn.LayerNorm()(x))
            return nn.Dense(8)(x.mean(1))

    model, batch = Network(), {**batch_of(16, 2), "x": jnp.arange(16 * 8).reshape(16, 8) * 7 % 32}
    params = model.init(jax.random.key(0), batch["x"])["params"]
    state = TrainState.create(apply_fn=model.apply, params=params, tx=optimizer())

    def step(state, batch):
        def loss_of(params):
            return cross_entropy(state.apply_fn({"params": params}, batch["x"]), batch["y"])

        loss, gradients = jax.value_and_grad(loss_of)(state.params)
        return state.apply_gradients(grads=gradients), loss

    check(step, state.replace(step=jnp.int32(0)), batch)
