"""A vision transformer classifier (Dosovitskiy et al. 2020, arXiv:2010.11929) in Flax linen, mean pool, no class token.

Legend: B batch, I and J patch rows and columns, P side of a patch, A channels, L = I * J patches, D model width,
C classes.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.transformer import INIT, Block, apply_layers, norm


def patches(images: jax.Array, side: int) -> jax.Array:
    """Returns `[B, L, P * P * A]`: the square patches of images `[B, height, width, A]`, row by row."""
    batch, height, width, channels = images.shape
    rows, columns = height // side, width // side
    x_BIPJPA = images.reshape(batch, rows, side, columns, side, channels)
    return x_BIPJPA.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, side**2 * channels)


class ViT(nn.Module):
    """The network from images to logits.

    Attributes:
        patch: side of a square patch, in pixels.
        layers: number of layers.
        d_model: width D.
        heads: attention heads.
        classes: number of classes C.
    """

    patch: int
    layers: int
    d_model: int
    heads: int
    classes: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the logits `[B, C]` of images `[B, height, width, A]`."""
        x_BLD = nn.Dense(self.d_model, name="embed")(patches(images, self.patch))
        x_BLD = x_BLD + self.param("position", INIT, x_BLD.shape[1:])[None]
        fields = {"heads": self.heads, "d_ff": 4 * self.d_model, "causal": False}
        x_BLD, _ = apply_layers(Block, x_BLD, layers=self.layers, scan_layers=False, remat=False, **fields)
        return nn.Dense(self.classes, name="head")(jnp.mean(norm(name="norm")(x_BLD), axis=1))


def tiny(*, batch: int = 8, side: int = 32, patch: int = 8, layers: int = 2, d_model: int = 64, classes: int = 16):
    """Returns `(step, (state, batch))`: RGB images of `side` pixels, two layers."""
    model = ViT(patch, layers, d_model, 8, classes)

    def loss_fn(params, batch):
        logits_BC = model.apply({"params": params}, batch["inputs"])
        return training.cross_entropy(logits_BC, batch["labels"]), {}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, side, side, 3)))["params"],
        training.labelled_batch(batch, (side, side, 3), classes),
        loss_fn,
        training.adamw(learning_rate=1e-3),
    )
