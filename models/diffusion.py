"""What diffusion models share: the noise schedule, the embedding of time, and the loss of a network that finds noise.

Images are noised as in Ho et al. 2020 (arXiv:2006.11239): 1000 steps whose variances grow linearly from 1e-4 to 0.02;
the network is given a noised image and its time and is trained to return the noise (their `L_simple`).

Legend: B batch, Y and X image rows and columns, A channels, T steps of the schedule, E width of an embedding.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

STEPS = 1000


def kept() -> jax.Array:
    """Returns the share of an image's variance that is left after every step, `[T]`, falling from almost 1 to 4e-5."""
    return jnp.cumprod(1 - jnp.linspace(1e-4, 0.02, STEPS))


def time_embedding(time_B: jax.Array, width: int) -> jax.Array:
    """Returns sines and cosines of times `[B]`, `[B, E]` of an even width, of periods 2 pi to 20,000 pi."""
    frequency_E = jnp.exp(-jnp.log(1e4) * jnp.arange(width // 2, dtype=jnp.float32) / (width // 2))
    angle_BE = time_B.astype(jnp.float32)[:, None] * frequency_E[None]
    return jnp.concatenate([jnp.sin(angle_BE), jnp.cos(angle_BE)], axis=-1)


def noise_loss(predict: Callable, image_BYXA: jax.Array, key: jax.Array) -> jax.Array:
    """Returns the mean squared error of the noise that a network finds in images noised to random times.

    Args:
        predict: `predict(noised [B, Y, X, A], time [B]) -> [B, Y, X, A]`.
        image_BYXA: images of about unit variance.
        key: of the times and of the noise.
    """
    time_key, noise_key = jax.random.split(key)
    time_B = jax.random.randint(time_key, image_BYXA.shape[:1], 0, STEPS)
    noise_BYXA = jax.random.normal(noise_key, image_BYXA.shape)
    kept_B = kept()[time_B][:, None, None, None]
    noised_BYXA = jnp.sqrt(kept_B) * image_BYXA + jnp.sqrt(1 - kept_B) * noise_BYXA
    return jnp.mean((predict(noised_BYXA, time_B) - noise_BYXA) ** 2)
