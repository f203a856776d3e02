"""Layered precision: the classes of products, what runs low, and what stays wide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swplan
from swplan.errors import UsageError
from swplan.ir.graph import walk
from swplan.passes.precision import WIDER_THAN_FP8, classes_of
from swplan.plan import Precision
from swplan.runtime.precise import applied
from swplan.runtime.trace import trace


def step(params, x):
    """Attention-like, expert-like and dense products, and a normalisation."""

    def loss(params):
        h = jnp.einsum("btd,dk->btk", x, params["dense"])
        scores = jax.nn.softmax(jnp.einsum("btk,bsk->bts", h, h))
        mixed = jnp.einsum("bts,bsk->btk", scores, h)
        out = jnp.einsum("etk,ekd->etd", mixed, params["expert"])
        return jnp.mean((out - x) ** 2)

    value, grads = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


def arguments():
    """Parameters and batch; the batch dim serves as the expert dim."""
    keys = jax.random.split(jax.random.key(0), 3)
    dense, expert = jax.random.normal(keys[0], (8, 16)), jax.random.normal(keys[1], (4, 16, 8))
    return {"dense": dense * 0.3, "expert": expert * 0.3}, jax.random.normal(keys[2], (4, 8, 8))


def lowered(classes):
    """The graph with these classes low."""
    precision = Precision(policy="bf16", classes=classes, loss_scaling=False, why="")
    return applied(precision, trace(step, arguments(), {})).graph


def test_products_have_classes():
    """Dense, attention and expert products are told apart by what they touch."""
    assert set(classes_of(trace(step, arguments(), {}).graph).values()) == {"dense", "attention", "expert"}


@pytest.mark.parametrize("name", ["dense", "attention", "expert"])
def test_only_the_chosen_class_runs_low(name):
    """Its products take bf16; everything else, and every parameter, stays wide."""
    graph = lowered({name: "bf16"})
    kinds = {graph.avals[op.operands[0]].dtype for op, _ in walk(graph.top) if op.primitive == "dot_general"}
    assert kinds == {"bfloat16", "float32"}
    moves = ("dot_general", "convert_element_type", "transpose", "reshape")
    others = [op for op, _ in walk(graph.top) if op.primitive not in moves]
    assert not any(graph.avals[v].dtype == "bfloat16" for op in others for v in op.results)
    assert all(graph.avals[v].dtype == "float32" for v in graph.top.inputs)


def test_a_policy_is_executed_and_close():
    """bf16 differs from fp32, a little."""
    expected, _ = jax.jit(step)(*arguments())
    got, _ = swplan.auto(step, precision="bf16", donate=False)(*arguments())
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    error = max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)
    assert 1e-6 < error < 2e-2


def test_auto_goes_by_price():
    """The Sunway chip is four times faster in bf16; emulated devices are not."""
    big = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    args = {"dense": big(1024, 2048), "expert": big(4, 2048, 1024)}, big(4, 512, 1024)
    plan = swplan.plan(step, *args, cluster="sw26010pro:nodes=4", max_axes=1)
    assert "bf16" in plan.precision.classes.values()
    assert "bf16" in plan.precision.why


def test_an_unknown_policy_names_the_choices():
    """And nothing is traced."""
    with pytest.raises(UsageError, match="fp16"):
        swplan.plan(step, *arguments(), precision="fp8")


@pytest.mark.parametrize("written", ["float32", "bfloat16"])
def test_fp8_takes_low_operands_and_gives_what_was_written(written):
    """Products with weights only; all that they give, and attention, stays as it was."""
    wide = jax.tree.map(lambda x: x.astype(written), arguments())
    graph = trace(step, wide, {}).graph
    precision = Precision(policy="fp8", classes={"dense": "fp8", "expert": "fp8"}, loss_scaling=False, why="")
    made = applied(precision, trace(step, wide, {})).graph
    products = [op for op, _ in walk(made.top) if op.primitive == "dot_general"]
    classes = classes_of(graph, WIDER_THAN_FP8)
    for op in products:
        low = classes[op.results[0]] != "attention"
        assert {made.avals[v].dtype for v in op.operands} == {"float8_e4m3fn" if low else written}
        assert made.avals[op.results[0]] == graph.avals[op.results[0]]
        assert not low or op.params["preferred_element_type"] == jnp.dtype(written)
    assert len(products) == len(classes) and len(set(classes.values())) == 3
