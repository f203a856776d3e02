"""A small convolutional classifier in Flax linen: strided convolutions, group norm, maximum and average pooling.

Legend: B batch, Y and X image rows and columns (halved wherever the name is assigned again), A channels, C classes.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training


class ConvNet(nn.Module):
    """The network from images to logits.

    Attributes:
        widths: channels after each convolution; the first keeps the image size, the others halve it.
        classes: number of classes C.
    """

    widths: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x_BYXA: jax.Array) -> jax.Array:
        """Returns the logits `[B, C]`."""
        for index, width in enumerate(self.widths):
            stride = 1 if index == 0 else 2
            x_BYXA = nn.Conv(width, (3, 3), strides=stride)(x_BYXA)
            x_BYXA = nn.relu(nn.GroupNorm(num_groups=8, use_fast_variance=False)(x_BYXA))
            if index == 0:
                x_BYXA = nn.max_pool(x_BYXA, (2, 2), strides=(2, 2))
        x_BYXA = nn.avg_pool(x_BYXA, (2, 2), strides=(2, 2))
        return nn.Dense(self.classes)(x_BYXA.reshape(x_BYXA.shape[0], -1))


def tiny(*, batch: int = 8, side: int = 32, classes: int = 16, seed: int = 0):
    """Returns `(step, (state, batch))`: RGB images of `side` pixels, three convolutions."""
    model = ConvNet((32, 64, 128), classes)

    def loss_fn(params, batch):
        logits_BC = model.apply({"params": params}, batch["inputs"])
        return training.cross_entropy(logits_BC, batch["labels"]), {}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, side, side, 3)))["params"],
        training.labelled_batch(batch, (side, side, 3), classes),
        loss_fn,
        training.adamw(learning_rate=1e-3),
        seed=seed,
    )
