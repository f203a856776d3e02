"""Steps in micro-batches: routed models come apart and make the same numbers; what does not says what holds it up."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks.models import difference
from models import mixtures, moe
from models.training import FAST_COMPILE
from swplan.ir.graph import free_values, walk
from swplan.passes.microbatch import in_micro_batches
from swplan.passes.timestates import NotInParts
from swplan.runtime.maker import JaxMaker
from swplan.runtime.trace import trace

SMALL = {"batch": 4, "seq": 8, "vocab": 32, "d_model": 16}
SCANNED = {"scan_layers": True, "remat": True}
ROUTED = {
    "mixtral": (mixtures.tiny_mixtral, {"heads": 4, "kv_heads": 2} | SCANNED),
    "deepseek": (mixtures.tiny_deepseek, {"heads": 2, "layers": 3} | SCANNED),
    "qwen3": (mixtures.lm, {"heads": 4, "kv_heads": 2, "qk_norm": True} | SCANNED),
    "gpt-oss": (mixtures.lm, {"heads": 4, "kv_heads": 2, "bias": True, "windows": (4, None)} | SCANNED),
    "moda": (moe.tiny_top1, {"heads": 2, "d_ff": 16}),
    "moda scanned": (moe.tiny_scanned, {"heads": 2, "d_ff": 16}),
}
RUN = ("deepseek", "moda")


@pytest.mark.parametrize("name", ROUTED)
def test_routed_models_come_apart_into_micro_batches(name, run_undivided):
    made, options = ROUTED[name]
    step, args = made(**SMALL, **options)
    graph = in_micro_batches(trace(step, args, {}).graph, 2, JaxMaker())
    products = [op for op in graph.top.ops if op.kind == "op" and op.rule.work.unit == "matmul"]
    assert not products and [op.trips for op in graph.top.ops if op.kind == "scan"] == [2]
    if name in RUN:
        wanted = jax.jit(step, compiler_options=FAST_COMPILE)(*args)
        assert difference(run_undivided(graph, args), jax.tree.leaves(wanted)) < 1e-5


def squared_share(weights, batch):
    """A product of two sums over the batch, with layers in a loop: its gradient needs both before it begins."""

    def loss_of(weights):
        hidden, shares = jax.lax.scan(lambda h, w: (h @ w, jnp.mean(h, 0)), batch, weights)
        return jnp.mean(hidden) + jnp.sum(shares**2)

    return weights - jax.grad(loss_of)(weights)


def test_what_needs_the_whole_batch_is_named():
    graph = trace(squared_share, (jnp.ones((3, 4, 4)), jnp.ones((8, 4))), {}).graph
    with pytest.raises(NotInParts, match=r"dot_general at .* needs the whole batch, as does .* at .*test_microbatch"):
        in_micro_batches(graph, 2, JaxMaker())


def test_what_a_loop_makes_of_no_micro_batch_it_makes_in_parts(run_undivided):
    """The cotangent of a mean over the batch, spread twice inside of a loop over layers."""

    def step(weights, batch):
        def layer(h, w):
            h = jnp.tanh(h @ w)
            return h, jnp.mean(3.0 * jnp.sum(h**2, axis=-1))

        def loss_of(weights):
            hidden, extra = jax.lax.scan(jax.checkpoint(layer), batch, weights)
            return jnp.mean(hidden) + jnp.sum(extra)

        return weights - jax.grad(loss_of)(weights)

    args = (jnp.linspace(-1, 1, 48).reshape(3, 4, 4), jnp.sin(jnp.arange(32.0)).reshape(8, 4))
    graph = in_micro_batches(trace(step, args, {}).graph, 4, JaxMaker())
    assert sum(op.kind == "scan" for op, _ in walk(graph.top)) == 3
    assert difference(run_undivided(graph, args), [jax.jit(step)(*args)]) < 1e-6


def test_what_is_spread_over_micro_batches_is_spread_in_their_loop(run_undivided):
    """A mask of all rows: each micro-batch spreads what it needs of it, and nothing as large is held for the loop."""

    def step(weights, batch):
        def loss_of(weights):
            return jnp.mean(jnp.where(jnp.arange(4) > 1, jnp.tanh(batch @ weights), -1.0) ** 2)

        return weights - jax.grad(loss_of)(weights)

    args = (jnp.linspace(-1, 1, 16).reshape(4, 4), jnp.sin(jnp.arange(32.0)).reshape(8, 4))
    graph = in_micro_batches(trace(step, args, {}).graph, 4, JaxMaker())
    (loop,) = (op for op in graph.top.ops if op.kind == "scan")
    assert all(graph.avals[v].shape != (2, 4) for v in free_values(loop.regions[0]))
    assert difference(run_undivided(graph, args), [jax.jit(step)(*args)]) < 1e-6
