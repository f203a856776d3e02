"""Grouped-query attention against repeated keys and values, rotary positions by their law, and the options of `lm`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import decoder, llama
from models.training import FAST_COMPILE

BATCH, LENGTH, WIDTH, GROUPS, REPEATS, HEAD = 2, 6, 16, 2, 3, 8
THETA = 100.0
QUERY_KEY = ("query", "key")


def initialised(layer, seed=0):
    """A layer's parameters, its input, and its output."""
    x_BLD = jax.random.normal(jax.random.key(seed + 1), (BATCH, LENGTH, WIDTH))
    y_BLD, variables = jax.jit(layer.init_with_output, compiler_options=FAST_COMPILE)(jax.random.key(seed), x_BLD)
    return variables["params"], x_BLD, y_BLD


def attention(**options):
    return decoder.GroupedAttention(kv_heads=GROUPS, repeats=REPEATS, head_dim=HEAD, theta=THETA, **options)


def repeated_attention(params, x_LD, window=LENGTH):
    """One sequence with keys and values repeated for every query head, position by position in NumPy."""
    kernels = {name: np.asarray(leaf["kernel"]) for name, leaf in params.items()}
    q_LHK = np.einsum("ld,dgrk->lgrk", x_LD, kernels["query"]).reshape(LENGTH, GROUPS * REPEATS, HEAD)
    k_LHK, v_LHK = (np.repeat(np.einsum("ld,dgk->lgk", x_LD, kernels[name]), REPEATS, 1) for name in ("key", "value"))
    rows = []
    for i in range(LENGTH):
        seen = range(max(0, i - window + 1), i + 1)
        scores_HM = np.stack([np.sum(turned(q_LHK[i], i) * turned(k_LHK[m], m), -1) for m in seen], -1) / HEAD**0.5
        weights_HM = np.exp(scores_HM) / np.exp(scores_HM).sum(-1, keepdims=True)
        rows.append(np.einsum("hm,mhk->hk", weights_HM, v_LHK[seen.start : seen.stop]))
    return np.einsum("lhk,hkd->ld", rows, kernels["out"].reshape(GROUPS * REPEATS, HEAD, WIDTH))


def turned(x_HK, position):
    """Heads rotated as complex numbers."""
    frequency_J = THETA ** (-np.arange(HEAD // 2) / (HEAD // 2))
    z_HJ = (x_HK[:, : HEAD // 2] + 1j * x_HK[:, HEAD // 2 :]) * np.exp(1j * position * frequency_J)
    return np.concatenate([z_HJ.real, z_HJ.imag], axis=-1)


@pytest.mark.parametrize("window", [None, 1, 3])
def test_grouped_attention_equals_repeated_keys_and_values(window):
    params, x_BLD, y_BLD = initialised(attention(window=window))
    expected = [repeated_attention(params, x_LD, window or LENGTH) for x_LD in np.asarray(x_BLD)]
    np.testing.assert_allclose(y_BLD, expected, rtol=1e-4, atol=1e-6)


def test_rotary_scores_depend_on_distances_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, LENGTH, 1, HEAD))
    position_L = jnp.arange(LENGTH)
    near, far = (
        jnp.einsum("blgk,bmgk->bglm", *(decoder.rotate(x, position_L + shift, THETA) for x in (q, k)))
        for shift in (0, 11)
    )
    np.testing.assert_allclose(near, far, rtol=1e-4, atol=1e-5)
    unmoved = jnp.einsum("blgk,bmgk->bglm", q, k)
    np.testing.assert_allclose(*(jnp.diagonal(s, axis1=2, axis2=3) for s in (near, unmoved)), rtol=1e-4, atol=1e-5)
    assert np.abs(near - unmoved).max() > 0.1


def test_angles_stay_exact_in_a_lower_dtype():
    x = jnp.ones((1, 1, 1, HEAD), jnp.bfloat16)
    one, other = (decoder.rotate(x, jnp.array([position]), THETA) for position in (8190, 8191))
    assert one.dtype == jnp.bfloat16
    assert np.abs(one[..., 0] - other[..., 0]).max() > 0.1


def test_normalised_heads_do_not_depend_on_the_scale_of_the_projections():
    layer = attention(qk_norm=True)
    params, x_BLD, _ = initialised(layer)
    outputs = []
    for factor in (30, 300):  # both large, so that the norm's epsilon does not count
        scaled = {name: jax.tree.map(lambda leaf, factor=factor: leaf * factor, params[name]) for name in QUERY_KEY}
        outputs.append(jax.jit(layer.apply)({"params": params | scaled}, x_BLD))
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-5)


def test_biases_are_in_all_projections_or_in_none():
    for bias in (False, True):
        params = jax.eval_shape(attention(bias=bias).init, jax.random.key(0), jnp.zeros((1, LENGTH, WIDTH)))["params"]
        assert ["bias" in leaf for leaf in params.values()] == [bias] * 4


def test_options_give_the_parameters_that_they_name():
    def params(**options):
        return llama.lm(only_shapes=True, **options)[1][0].params

    assert "head" in params() and "head" not in params(tied=True)
    query = params(heads=8, kv_heads=2, head_dim=16)["layer_0"]["attention"]["query"]["kernel"]
    assert query.shape == (64, 2, 4, 16)
    stacked = params(scan_layers=True, layers=3, d_ff=96)["layers"]["mlp"]["down"]["kernel"]
    assert stacked.shape == (3, 96, 64)
    assert params(qk_norm=True)["layer_1"]["attention"]["key_norm"]["scale"].shape == (8,)
