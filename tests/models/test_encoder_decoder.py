"""Position buckets, what the halves see, and that nothing is left out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import encoder_decoder
from models.training import FAST_COMPILE

LENGTH = 12


def shown(distance, causal):
    """The bucket of one distance, key minus query, as the publication's code computes it, number by number."""
    each, bucket = 32, 0
    if not causal:
        each, bucket = 16, 16 if distance > 0 else 0
    far = max(-distance, 0) if causal else abs(distance)
    if far < each // 2:
        return bucket + far
    large = each // 2 + int(np.log(far / (each // 2)) / np.log(128 / (each // 2)) * (each - each // 2))
    return bucket + min(large, each - 1)


@pytest.mark.parametrize("causal", [False, True])
def test_buckets_are_exact_near_and_logarithmic_far(causal):
    found_LM = encoder_decoder.buckets(200, 200, causal=causal)
    assert found_LM.dtype == np.int32
    assert found_LM.tolist() == [[shown(key - query, causal) for key in range(200)] for query in range(200)]


@pytest.fixture(scope="module")
def logits():
    """The logits as a function of inputs and targets, compiled."""
    model = encoder_decoder.EncoderDecoder(16, 1, 16, 2, 4, 32, False, False)
    tokens_BL = jnp.zeros((1, LENGTH), jnp.int32)
    params = jax.jit(model.init, compiler_options=FAST_COMPILE)(jax.random.key(0), tokens_BL, tokens_BL)
    return jax.jit(lambda *tokens: model.apply(params, *tokens), compiler_options=FAST_COMPILE)


def test_decoder_sees_what_was_before_and_all_of_the_inputs(logits):
    inputs_BL, before_BL = jnp.arange(LENGTH)[None] % 16, jnp.arange(LENGTH)[None] % 7
    plain = logits(inputs_BL, before_BL)
    later = logits(inputs_BL, before_BL.at[0, 8].set(9))
    np.testing.assert_allclose(plain[:, :8], later[:, :8], rtol=1e-5)
    assert np.abs(plain - later)[0, 8:].max(-1).min() > 1e-4
    other = logits(inputs_BL.at[0, LENGTH - 1].set(3), before_BL)
    assert np.abs(plain - other)[0].max(-1).min() > 1e-6


def test_scanned_layers_are_the_unrolled_ones():
    shapes = encoder_decoder.tiny_scanned(only_shapes=True)[1][0].params
    unrolled = encoder_decoder.tiny(only_shapes=True)[1][0].params
    assert shapes["decoders"]["cross"]["key"]["kernel"].shape == (2, 64, 8, 8)
    assert unrolled["decoder_1"]["cross"]["key"]["kernel"].shape == (64, 8, 8)
    assert shapes["encoder_position"] == unrolled["encoder_position"]
