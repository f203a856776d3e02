"""One projection to queries, keys and values against three, and what Megatron-LM's program sums and exchanges."""

import jax
import numpy as np
import pytest

import models.gpt
from models.training import FAST_COMPILE
from models.transformer import Attention
from swplan.costmodel.cluster import Cluster
from swplan.estimate.estimating import Estimator
from swplan.estimate.strategy import Strategy
from swplan.runtime.prepare import prepare
from swplan.runtime.trace import Statics

BATCH, LENGTH, WIDTH, HEADS = 2, 6, 32, 4
LAYERS = 3


@pytest.mark.parametrize("causal", [False, True])
def test_one_projection_is_three(causal):
    x_BLD = jax.random.normal(jax.random.key(1), (BATCH, LENGTH, WIDTH))
    joined = Attention(HEADS, causal, joined=True)
    params = jax.jit(joined.init, compiler_options=FAST_COMPILE)(jax.random.key(0), x_BLD)["params"]
    bias_HTK = jax.random.normal(jax.random.key(2), params["joined"]["bias"].shape)
    kernel_DHTK = 10 * params["joined"]["kernel"]
    params["joined"] = {"kernel": kernel_DHTK, "bias": bias_HTK}
    apart = {"out": params["out"], "key": {"kernel": kernel_DHTK[:, :, 1]}}
    for name, at in (("query", 0), ("value", 2)):
        apart[name] = {"kernel": kernel_DHTK[:, :, at], "bias": bias_HTK[:, at]}
    expected = Attention(HEADS, causal).apply({"params": apart}, x_BLD)
    np.testing.assert_allclose(joined.apply({"params": params}, x_BLD), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("recompute", "sums"), [("none", 2), ("full", 4)])
def test_sums_of_a_layer_are_those_of_megatron(recompute, sums):
    """In each pass one sum after attention and one after the feed-forward (arXiv:1909.08053, Figure 4)."""
    sizes = {"hidden": 128, "heads": 4, "seq": 64, "batch": 8, "vocab": 256, "layers": LAYERS}
    step, args = models.gpt.megatron(**sizes, remat="dots_saveable", dtype="bfloat16")
    graph = prepare(step, args, {}, Statics()).program.graph
    strategy = Strategy.parse(f"mesh=model:4/data:2 sequence=0 recompute={recompute}")
    rows = Estimator(graph, Cluster.parse("a100-80g-sxm:gpus=8")).rows(strategy)[0].rows
    own = [row for row in rows.moves if row.place.layered and row.step.kind == "all_reduce" and len(row.shape) == 3]
    counts = {stage: sum(row.count for row in own if row.place.stage == stage) for stage in ("forward", "backward")}
    assert counts == {"forward": 2 * LAYERS, "backward": sums * LAYERS}
