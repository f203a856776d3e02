"""Diffusion transformers in Flax linen: DiT of Peebles and Xie 2023 (arXiv:2212.09748, adaLN-Zero).

Images are cut into patches; every layer is shifted, scaled and gated by what it makes of the time of the noise and of
the class, which starts as zero, so that every layer starts as the identity. Variances are not learned, classes are
never left out, positions are learned.

Legend: B batch, Y and X image rows and columns, A channels, I and J patch rows and columns, P side of a patch,
L = I * J patches, D model width.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.diffusion import noise_loss, time_embedding
from models.transformer import INIT, Attention, FeedForward, apply_layers
from models.vit import patches

FREQUENCIES = 256


def modulations(condition_BD: jax.Array, count: int) -> list[jax.Array]:
    """Returns `count` arrays `[B, 1, D]` made of the condition, all zero at first; adds a layer to the caller."""
    width = condition_BD.shape[-1]
    zeros = nn.initializers.zeros
    made = nn.Dense(count * width, kernel_init=zeros, name="modulation")(nn.silu(condition_BD))
    return jnp.split(made[:, None], count, axis=-1)


def modulated(x_BLD: jax.Array, shift_BD: jax.Array, scale_BD: jax.Array) -> jax.Array:
    """Returns the input normed, scaled and shifted; shift and scale are `[B, 1, D]`."""
    norm = nn.LayerNorm(epsilon=1e-6, use_scale=False, use_bias=False, use_fast_variance=False)
    return norm(x_BLD) * (1 + scale_BD) + shift_BD


class DiTBlock(nn.Module):
    """Attention, then feed-forward, each modulated by the condition.

    Attributes:
        heads: number of heads.
        d_ff: width of the feed-forward layer.
    """

    heads: int
    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array, condition_BD: jax.Array) -> tuple[jax.Array, None]:
        """Returns `[B, L, D]`, and None: the shape of a scan's body."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulations(condition_BD, 6)
        attention = Attention(self.heads, causal=False, name="attention")
        x_BLD = x_BLD + gate_1 * attention(modulated(x_BLD, shift_1, scale_1))
        return x_BLD + gate_2 * FeedForward(self.d_ff, name="mlp")(modulated(x_BLD, shift_2, scale_2)), None


class DiT(nn.Module):
    """The network from noised images, their times and classes to the noise.

    Attributes:
        patch: side of a square patch, in pixels.
        layers: number of layers.
        d_model: width D.
        heads: attention heads.
        classes: number of classes.
        scan_layers: one scanned layer with stacked parameters.
        remat: recompute each layer in the backward pass; see `apply_layers`.
    """

    patch: int
    layers: int
    d_model: int
    heads: int
    classes: int
    scan_layers: bool
    remat: bool | str

    @nn.compact
    def __call__(self, image_BYXA: jax.Array, time_B: jax.Array, label_B: jax.Array) -> jax.Array:
        """Returns the noise `[B, Y, X, A]`."""
        time_BD = nn.Dense(self.d_model, kernel_init=INIT, name="time_1")(time_embedding(time_B, FREQUENCIES))
        time_BD = nn.Dense(self.d_model, kernel_init=INIT, name="time_2")(nn.silu(time_BD))
        condition_BD = time_BD + nn.Embed(self.classes, self.d_model, embedding_init=INIT, name="label")(label_B)
        x_BLP = patches(image_BYXA, self.patch)
        x_BLD = nn.Dense(self.d_model, name="embed")(x_BLP)
        x_BLD = x_BLD + self.param("position", INIT, x_BLD.shape[1:])[None]
        options = {"layers": self.layers, "scan_layers": self.scan_layers, "remat": self.remat}
        fields = {"heads": self.heads, "d_ff": 4 * self.d_model}
        x_BLD, _ = apply_layers(DiTBlock, x_BLD, condition_BD, **options, **fields)
        x_BLD = modulated(x_BLD, *modulations(condition_BD, 2))
        noise_BLP = nn.Dense(x_BLP.shape[-1], kernel_init=nn.initializers.zeros, name="out")(x_BLD)
        return joined(noise_BLP, self.patch, image_BYXA.shape)


def joined(x_BLP: jax.Array, side: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns images of a shape `[B, Y, X, A]` from their patches: the inverse of `patches`."""
    batch, height, width, channels = shape
    x_BIJPPA = x_BLP.reshape(batch, height // side, width // side, side, side, channels)
    return x_BIJPPA.transpose(0, 1, 3, 2, 4, 5).reshape(shape)


def denoiser(
    *,
    patch: int = 2,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    classes: int = 16,
    side: int = 8,
    channels: int = 4,
    batch: int = 8,
    learning_rate: float = 3e-3,
    scan_layers: bool = False,
    remat: bool | str = False,
    only_shapes: bool = False,
    dtype: str = "float32",
    seed: int = 0,
):
    """Returns `(step, (state, batch))`; the batch is `inputs`, images, and `labels`, as `labelled_batch` makes them.

    Args:
        patch: side of a patch.
        layers: number of layers.
        d_model: model width.
        heads: attention heads.
        classes: number of classes.
        side: of an image.
        channels: of an image.
        batch: images of a batch.
        learning_rate: of AdamW.
        scan_layers: scan over stacked layers in place of unrolling them.
        remat: recompute each layer in the backward pass; see `apply_layers`.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: in which parameters enter the network; they are kept in fp32.
        seed: of parameters, batch and noise.
    """
    model = DiT(patch, layers, d_model, heads, classes, scan_layers, remat)

    def loss_fn(params, batch, key):
        def predict(noised_BYXA, time_B):
            return model.apply({"params": params}, noised_BYXA, time_B, batch["labels"])

        return noise_loss(predict, batch["inputs"], key), {}

    def init_params(key):
        zeros_B = jnp.zeros(1, jnp.int32)
        return model.init(key, jnp.zeros((1, side, side, channels)), zeros_B, zeros_B)["params"]

    return training.program(
        init_params,
        training.labelled_batch(batch, (side, side, channels), classes),
        loss_fn,
        training.adamw(learning_rate=learning_rate),
        seed=seed,
        stochastic=True,
        only_shapes=only_shapes,
        dtype=dtype,
    )


def tiny(*, batch: int = 8, layers: int = 2, **options):
    """Two layers on images of 8 pixels, 16 patches."""
    return denoiser(batch=batch, layers=layers, **options)


def dit_xl_2(*, batch: int = 256, layers: int = 28, **options):
    """DiT-XL/2: 675 M parameters, on the latents of ImageNet's images of 256 pixels. Shapes only."""
    size = {"d_model": 1152, "heads": 16, "classes": 1000, "side": 32, "only_shapes": True}
    return denoiser(batch=batch, layers=layers, **(size | options))
