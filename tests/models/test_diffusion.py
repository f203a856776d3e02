"""The noise schedule, patches there and back, and what the networks make of times and classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import diffusion, dit, unet, vit


def test_schedule_keeps_almost_all_at_first_and_almost_nothing_at_last():
    kept_T = np.asarray(diffusion.kept())
    assert kept_T.shape == (1000,)
    assert (np.diff(kept_T) < 0).all()
    assert kept_T[0] == pytest.approx(1 - 1e-4)
    assert 3e-5 < kept_T[-1] < 5e-5


def test_loss_of_nothing_found_is_the_variance_of_the_noise():
    images_BYXA = jax.random.normal(jax.random.key(0), (16, 8, 8, 4))
    loss = diffusion.noise_loss(lambda noised, time: jnp.zeros_like(noised), images_BYXA, jax.random.key(1))
    assert loss == pytest.approx(1, abs=0.05)


def test_noise_that_is_found_leaves_the_image():
    """With the image known, the noise follows from what the network is given: the loss is zero."""
    images_BYXA = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))

    def found(noised_BYXA, time_B):
        kept_B = diffusion.kept()[time_B][:, None, None, None]
        return (noised_BYXA - jnp.sqrt(kept_B) * images_BYXA) / jnp.sqrt(1 - kept_B)

    assert diffusion.noise_loss(found, images_BYXA, jax.random.key(1)) < 1e-6


def test_embeddings_of_times_differ():
    embedding_BE = diffusion.time_embedding(jnp.arange(1000), 32)
    assert embedding_BE.shape == (1000, 32)
    assert np.unique(np.round(embedding_BE, 4), axis=0).shape == (1000, 32)


def test_patches_joined_are_the_image():
    images_BYXA = jnp.arange(2 * 4 * 6 * 3.0).reshape(2, 4, 6, 3)
    np.testing.assert_array_equal(dit.joined(vit.patches(images_BYXA, 2), 2, images_BYXA.shape), images_BYXA)


def test_doubled_images_repeat_every_pixel():
    images_BYXA = jnp.arange(2 * 3 * 4 * 1.0).reshape(2, 3, 4, 1)
    expected = np.repeat(np.repeat(images_BYXA, 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(unet.doubled(images_BYXA), expected)


def test_unet_halves_and_doubles_as_often_and_joins_what_it_left():
    shapes = jax.tree.map(lambda leaf: leaf.shape, unet.denoiser(factors=(1, 2, 2), only_shapes=True)[1][0].params)
    blocks = [shapes[f"ResBlock_{index}"] for index in range(11)]
    assert len([name for name in shapes if name.startswith("ResBlock")]) == 3 + 2 + 6
    assert [block["Conv_0"]["kernel"][2] for block in blocks] == [16, 16, 32, 32, 32, 64, 64, 64, 48, 48, 32]
