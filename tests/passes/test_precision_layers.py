"""Precision by layer: what a layer is, who asks for which precision, and that this is what runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swplan
from swplan.costmodel import Cluster
from swplan.errors import UsageError
from swplan.ir.graph import walk
from swplan.ir.source import layer_of
from swplan.plan import Precision
from swplan.runtime.precise import applied, chosen
from swplan.runtime.trace import trace

WIDTH = 16
LAYERS = ("net/layer_0", "net/layer_1", "net/head")


def descended(loss, params):
    """Parameters after one step, and the loss before it."""
    value, grads = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


def step(params, x):
    """Two layers and a head, each in a scope of its own; the layers are computed again in the backward pass."""

    @jax.checkpoint
    def layer(h, w):
        return jnp.tanh(jnp.einsum("bd,dk->bk", h, w))

    def loss(params):
        h = x
        with jax.named_scope("net"):
            for name in ("layer_0", "layer_1"):
                with jax.named_scope(name):
                    h = layer(h, params[name])
            with jax.named_scope("head"):
                return jnp.mean(jax.jit(jnp.matmul)(h, params["head"]) ** 2)

    return descended(loss, params)


def scanned(params, x):
    """A stack of layers and a head."""

    def loss(params):
        def layer(h, w):
            with jax.named_scope("inner"):
                return jnp.tanh(h @ w), None

        with jax.named_scope("layers"):
            h, _ = jax.lax.scan(layer, x, params["layers"])
        with jax.named_scope("head"):
            return jnp.mean((h @ params["head"]) ** 2)

    return descended(loss, params)


def arguments(stacked=False):
    """Parameters and batch."""
    keys = jax.random.split(jax.random.key(0), 4)
    weights = [jax.random.normal(key, (WIDTH, WIDTH)) / 4 for key in keys[:3]]
    first = {"layers": jnp.stack(weights[:2])} if stacked else {"layer_0": weights[0], "layer_1": weights[1]}
    return first | {"head": weights[2]}, jax.random.normal(keys[3], (8, WIDTH))


def dtypes(graph):
    """By layer the dtypes that its products read."""
    found = {}
    for op, _ in walk(graph.top):
        if op.primitive == "dot_general":
            found.setdefault(op.layer, set()).update(graph.avals[v].dtype for v in op.operands)
    return found


def test_products_know_their_layer_forward_backward_and_computed_again():
    graph = trace(step, arguments(), {}).graph
    products = [(op.layer, op.stage) for op, _ in walk(graph.top) if op.primitive == "dot_general"]
    assert {layer for layer, _ in products} == set(LAYERS)
    assert {stage for layer, stage in products if layer == "net/layer_1"} == {"forward", "backward"}
    graph = trace(scanned, arguments(stacked=True), {}).graph
    assert dtypes(graph).keys() == {"layers/inner", "head"}


class Equation:
    """As much of an equation as is asked for."""

    def __init__(self, name_stack):
        self.source_info = type("SourceInfo", (), {"name_stack": name_stack})


@pytest.mark.parametrize(
    ("outer", "name_stack", "layer"),
    [
        ("", "", ""),
        ("", "jvp(Llama)/layer_0/mlp/up", "Llama/layer_0/mlp/up"),
        ("", "transpose(jvp(Llama))/layer_0/mlp/up", "Llama/layer_0/mlp/up"),
        ("GPT", "layers/attention/bhlm,bmhk->blhk", "GPT/layers/attention"),
        ("", "transpose(jvp())/checkpoint/rematted_computation/net/head", "net/head"),
        ("net", "mlp/mlp", "net/mlp"),
        ("net/layer_1", "jvp(net)/layer_1/inner", "net/layer_1/inner"),
        ("", "transpose(jvp(b))/transpose(jvp(mlp))", "b/mlp"),
        ("", "jvp(a)/jvp(mlp)", "a/mlp"),
        ("net", "bd,dk", "net"),
        ("net", "...d,dk->...k", "net"),
        ("net", "body/scan", "net/body/scan"),
        ("net", "checkpoint", "net/checkpoint"),
        ("", "transpose(jvp(net))/layer_1/jvp(net)/layer_1", "net/layer_1"),
        ("A", "vmap(jit(B))/C", "A/B/C"),
    ],
)
def test_the_scopes_of_jax_itself_are_no_layers(outer, name_stack, layer):
    assert layer_of(Equation(name_stack), outer) == layer


@pytest.mark.parametrize("wide", LAYERS)
def test_a_layer_may_stay_wide_in_a_class_that_runs_low(wide):
    precision = Precision(
        policy="by layer", classes={"dense": "bf16"}, loss_scaling=False, why="", layers={f"dense in {wide}": "fp32"}
    )
    found = dtypes(applied(precision, trace(step, arguments(), {})).graph)
    assert found == {layer: {"float32" if layer == wide else "bfloat16"} for layer in LAYERS}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"dense": "bf16"}, ("bf16", "bf16", "bf16")),
        ({"net/head": "fp32", "dense": "bf16"}, ("bf16", "bf16", "fp32")),
        ({"*/layer_*": "bf16", "*": "fp32"}, ("bf16", "bf16", "fp32")),
        ({"net": "bf16"}, ("bf16", "bf16", "bf16")),
        ({"*": "fp32", "dense": "bf16"}, ("fp32", "fp32", "fp32")),
        ({"*/layer_1": "bf16"}, ("fp32", "bf16", "fp32")),
        ({"dense in net/layer_?": "bf16"}, ("bf16", "bf16", "fp32")),
    ],
    ids=str,
)
def test_the_first_pattern_that_fits_counts_and_prices_decide_for_the_rest(asked, expected):
    """On emulated devices, which run bf16 no faster, the rest stays as written."""
    made = swplan.plan(step, *arguments(), cluster="host:devices=8", precision=asked)
    by_key = {f"dense in {layer}": made.precision.classes["dense"] for layer in LAYERS} | made.precision.layers
    assert tuple(by_key.values()) == expected
    assert swplan.Plan.from_json(made.to_json()).precision == made.precision


def test_prices_decide_for_each_layer():
    """A product so small that its casts cost more than it gains stays wide, in a class that gains."""
    big = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731

    def uneven(params, x):
        def loss(params):
            with jax.named_scope("small"):
                gate = jnp.tanh(x[:, :8] @ params["gate"])
            with jax.named_scope("large"):
                return jnp.sum((x @ params["up"]) ** 2) + jnp.sum(gate)

        return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))

    args = {"gate": big(8, 8), "up": big(4096, 4096)}, big(8192, 4096)
    graph = trace(uneven, args, {}).graph
    found = chosen(graph, Cluster.parse("sw26010pro:nodes=4").chip, "auto")
    assert found.classes == {"dense": "bf16"} and found.layers == {"dense in small": "fp32"}
    assert "1 layers differ" in found.why


def test_what_was_asked_for_runs_and_is_close():
    asked = {"net/head": "fp32", "dense": "bf16"}
    expected, _ = jax.jit(step)(*arguments())
    got, _ = swplan.auto(step, precision=asked, donate=False)(*arguments())
    low, _ = swplan.auto(step, precision="bf16", donate=False)(*arguments())
    off = lambda some, name: float(np.linalg.norm(some[name] - expected[name]) / np.linalg.norm(expected[name]))  # noqa: E731
    assert all(0 < off(got, name) < 2e-2 and off(got, name) <= 2 * off(low, name) for name in expected)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"*/haed": "fp32"}, "net/head"),
        ({"expert": "bf16"}, "no product has the class or layer 'expert'"),
        ({"dense": "fp8"}, "for 'dense': choose one of fp32, bf16, fp16"),
        ({"dense": "auto"}, "choose one of fp32, bf16, fp16"),
        ({1: "bf16"}, "1 is no class or pattern of layers"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_said(asked, said):
    with pytest.raises(UsageError) as error:
        swplan.plan(step, *arguments(), cluster="host:devices=8", precision=asked)
    assert said in str(error.value)


def test_fp16_in_one_layer_needs_its_loss_scaled():
    """This step does not say where its loss is, so the layer runs in bf16, and the plan says why."""
    made = swplan.plan(step, *arguments(), cluster="host:devices=8", precision={"net/head": "fp16", "dense": "fp32"})
    assert made.precision.layers == {"dense in net/head": "bf16"} and not made.precision.loss_scaling
    assert "fp16 needs its loss scaled" in made.precision.why


def test_a_program_without_wide_products_has_nothing_to_choose():
    with pytest.raises(UsageError, match="no products of fp32"):
        swplan.plan(lambda x: x + 1.0, jnp.ones((8, 8)), cluster="host:devices=8", precision={"dense": "bf16"})


def remade(params, x):
    """A checkpoint inside of a scope inside of a loop: where JAX names the scope twice."""

    def loss(params):
        def body(h, w):
            with jax.named_scope("mlp"):
                return jax.checkpoint(lambda h, w: jnp.tanh(h @ w))(h, w), None

        with jax.named_scope("net"):
            h, _ = jax.lax.scan(body, x, params["layers"])
        with jax.named_scope("head"):
            return jnp.mean((h @ params["head"]) ** 2)

    return descended(loss, params)


def forces(params, x):
    """Two energies of which the forces are learned: a gradient inside of a gradient, in scopes outside and inside."""

    def energy(w, x):
        with jax.named_scope("mlp"):
            return jnp.sum(jnp.tanh(x @ w))

    def loss(params):
        with jax.named_scope("a"):
            first = jax.grad(energy, argnums=1)(params["a"], x)
        with jax.named_scope("b"):
            second = jax.grad(energy, argnums=1)(params["b"], x)
        return jnp.mean((first - second) ** 2)

    return jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))


def test_a_layer_has_one_name_wherever_it_is_computed():
    weights, x = arguments(stacked=True)
    assert dtypes(trace(remade, (weights, x), {}).graph).keys() == {"net/mlp", "head"}
    pair = {"a": weights["head"], "b": weights["head"] + 1}
    assert dtypes(trace(forces, (pair, x), {}).graph).keys() == {"a/mlp", "b/mlp"}
