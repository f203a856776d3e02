"""Latent attention against one head after the other, and what the options of `network` put where."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import decoder, mixtures
from models.training import FAST_COMPILE

BATCH, LENGTH, WIDTH, HEADS, THETA = 2, 6, 16, 3, 100.0
LATENT = {"q_rank": 12, "kv_rank": 10, "nope_dim": 4, "rope_dim": 6, "v_dim": 5}


@pytest.fixture(scope="module")
def latent():
    """A layer of latent attention, its parameters, input and output."""
    layer = decoder.LatentAttention(heads=HEADS, theta=THETA, **LATENT)
    x_BLD = jax.random.normal(jax.random.key(1), (BATCH, LENGTH, WIDTH))
    y_BLD, variables = jax.jit(layer.init_with_output, compiler_options=FAST_COMPILE)(jax.random.key(0), x_BLD)
    return layer, variables["params"], x_BLD, y_BLD


def head_by_head(params, x_BLD):
    """Latent attention as its publication writes it: two sums of scores, one key for positions."""

    def project(name, x):
        return jnp.tensordot(x, params[name]["kernel"], 1)

    def narrow(name):
        x = project(f"{name}_latent", x_BLD)
        return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5)

    position_L, output = jnp.arange(LENGTH), 0
    key_rope = decoder.rotate(project("key_rope", x_BLD), position_L, THETA)
    for head in range(HEADS):
        query, query_rope = (project(n, narrow("query"))[:, :, head] for n in ("query", "query_rope"))
        key, value = (project(n, narrow("key_value"))[:, :, head] for n in ("key", "value"))
        scores = query @ key.mT + decoder.rotate(query_rope, position_L, THETA) @ key_rope.mT
        scores = jnp.where(jnp.tri(LENGTH, dtype=bool)[None], scores / math.sqrt(4 + 6), -jnp.inf)
        output += jax.nn.softmax(scores) @ value @ params["out"]["kernel"][head]
    return output


def test_latent_attention_equals_head_by_head(latent):
    _, params, x_BLD, y_BLD = latent
    assert y_BLD.shape == x_BLD.shape
    np.testing.assert_allclose(
        y_BLD, jax.jit(head_by_head, compiler_options=FAST_COMPILE)(params, x_BLD), rtol=1e-4, atol=1e-6
    )


def test_latent_attention_has_the_shapes_of_its_ranks(latent):
    kernels = {name: leaf["kernel"].shape for name, leaf in latent[1].items() if "kernel" in leaf}
    assert kernels == {
        "query_latent": (WIDTH, 12),
        "key_value_latent": (WIDTH, 10),
        "query": (12, HEADS, 4),
        "query_rope": (12, HEADS, 6),
        "key": (10, HEADS, 4),
        "key_rope": (WIDTH, 6),
        "value": (10, HEADS, 5),
        "out": (HEADS, 5, WIDTH),
    }


def shapes(program, **options):
    """The parameters' shapes, nothing allocated."""
    return jax.tree.map(lambda leaf: leaf.shape, program(only_shapes=True, **options)[1][0].params)


def test_first_layers_are_dense_and_the_others_share_an_expert():
    deepseek = shapes(mixtures.deepseek_v3, layers=5)
    assert deepseek["dense_layers"]["mlp_0"]["down"]["kernel"] == (3, 18432, 7168)
    assert deepseek["layers"]["mlp_0"]["down"]["kernel"] == (2, 2048, 7168)
    assert deepseek["layers"]["experts_0"]["gate"] == (2, 256, 7168, 2048)
    assert "experts_0" not in deepseek["dense_layers"]
    assert "mlp_0" not in shapes(mixtures.tiny_mixtral)["layer_0"]


def test_windows_repeat_over_the_layers():
    network = mixtures.network(vocab=16, windows=(4, None))
    assert [fields.get("window") for fields in network.routed["attentions"]] == [4, None]
    oss = shapes(mixtures.gpt_oss_20b, layers=6)["layers"]
    assert oss["attention_0"] == oss["attention_1"]
    assert oss["attention_1"]["query"]["bias"] == (3, 8, 8, 64)


def test_every_part_of_a_block_counts():
    """Every parameter has a gradient: none is left out of the logits."""
    model = mixtures.network(vocab=16, layers=1, shared_experts=1, d_model=16, heads=2, qk_norm=True)
    tokens_BL = jax.random.randint(jax.random.key(2), (4, 8), 0, 16)

    def gradients(key):
        variables = model.init(key, tokens_BL)
        return jax.grad(lambda variables: jnp.sum(model.apply(variables, tokens_BL)[0] ** 2))(variables)

    leaves = jax.tree.leaves(jax.jit(gradients, compiler_options=FAST_COMPILE)(jax.random.key(0)))
    assert all(np.abs(leaf).max() > 0 for leaf in leaves)
