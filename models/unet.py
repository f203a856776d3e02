"""U-Nets trained as diffusion models, in Flax linen: those of Ho et al. 2020 (arXiv:2006.11239, Appendix B).

Residual blocks with group norm see the time of the noise; images are halved level by level and doubled again; what
every block of the way down leaves is concatenated to what its counterpart on the way up reads; attention over all
pixels stands where images are small. No two levels are alike, so no layer repeats often.

Legend: B batch, Y and X image rows and columns (L both, flattened, M the same, as keys), A channels, E width of the
embedding of time.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.diffusion import noise_loss, time_embedding


def norm(groups: int) -> nn.GroupNorm:
    """Returns a group norm whose variance rounding cannot make negative."""
    return nn.GroupNorm(num_groups=groups, epsilon=1e-6, use_fast_variance=False)


def conv(width: int, *, side: int = 3, strides: int = 1, scale: float = 1.0) -> nn.Conv:
    """Returns a convolution whose kernel is drawn as Ho et al. draw it, times a scale; 0 gives zeros."""
    uniform = nn.initializers.variance_scaling(scale, "fan_avg", "uniform") if scale else nn.initializers.zeros
    return nn.Conv(width, (side, side), strides=strides, kernel_init=uniform)


class ResBlock(nn.Module):
    """Two convolutions with the embedding of time added between them, and a residual.

    Attributes:
        width: channels of the output.
        groups: of the group norms.
    """

    width: int
    groups: int

    @nn.compact
    def __call__(self, x_BYXA: jax.Array, time_BE: jax.Array) -> jax.Array:
        """Returns `[B, Y, X, width]`."""
        h_BYXA = conv(self.width)(nn.silu(norm(self.groups)(x_BYXA)))
        h_BYXA = h_BYXA + nn.Dense(self.width)(nn.silu(time_BE))[:, None, None]
        h_BYXA = conv(self.width, scale=1e-2)(nn.silu(norm(self.groups)(h_BYXA)))
        if x_BYXA.shape[-1] != self.width:
            x_BYXA = conv(self.width, side=1)(x_BYXA)
        return x_BYXA + h_BYXA


class PixelAttention(nn.Module):
    """Attention of one head among all pixels of an image, with a residual. Keys have no bias, which softmax ignores.

    Attributes:
        groups: of the group norm.
    """

    groups: int

    @nn.compact
    def __call__(self, x_BYXA: jax.Array) -> jax.Array:
        """Returns `[B, Y, X, A]`."""
        batch, rows, columns, width = x_BYXA.shape
        h_BLA = norm(self.groups)(x_BYXA).reshape(batch, rows * columns, width)
        q_BLA, v_BMA = (nn.Dense(width, name=name)(h_BLA) for name in ("query", "value"))
        k_BMA = nn.Dense(width, use_bias=False, name="key")(h_BLA)
        weights_BLM = nn.softmax(jnp.einsum("bla,bma->blm", q_BLA, k_BMA) * width**-0.5)
        h_BLA = nn.Dense(width, name="out")(jnp.einsum("blm,bma->bla", weights_BLM, v_BMA))
        return x_BYXA + h_BLA.reshape(x_BYXA.shape)


def doubled(x_BYXA: jax.Array) -> jax.Array:
    """Returns an image of twice the side, every pixel four times."""
    batch, rows, columns, width = x_BYXA.shape
    return jax.image.resize(x_BYXA, (batch, 2 * rows, 2 * columns, width), "nearest")


class UNet(nn.Module):
    """The network from noised images and their times to the noise.

    Attributes:
        width: channels at full size.
        factors: channels of every level over `width`; every level but the last is halved by the next.
        blocks: residual blocks of a level on the way down; there is one more on the way up.
        attention: sides of the images after whose blocks there is attention.
        groups: of the group norms.
    """

    width: int
    factors: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    groups: int

    @nn.compact
    def __call__(self, x_BYXA: jax.Array, time_B: jax.Array) -> jax.Array:
        """Returns the noise `[B, Y, X, A]`."""
        channels, last = x_BYXA.shape[-1], len(self.factors) - 1
        time_BE = nn.Dense(4 * self.width)(time_embedding(time_B, self.width))
        time_BE = nn.Dense(4 * self.width)(nn.silu(time_BE))
        x_BYXA = conv(self.width)(x_BYXA)
        skipped = [x_BYXA]
        for level, factor in enumerate(self.factors):
            for _ in range(self.blocks):
                skipped.append(x_BYXA := self.block(x_BYXA, time_BE, factor))
            if level < last:
                skipped.append(x_BYXA := conv(x_BYXA.shape[-1], strides=2)(x_BYXA))
        x_BYXA = ResBlock(x_BYXA.shape[-1], self.groups)(x_BYXA, time_BE)
        x_BYXA = PixelAttention(self.groups)(x_BYXA)
        x_BYXA = ResBlock(x_BYXA.shape[-1], self.groups)(x_BYXA, time_BE)
        for level, factor in reversed(tuple(enumerate(self.factors))):
            for _ in range(self.blocks + 1):
                x_BYXA = self.block(jnp.concatenate([x_BYXA, skipped.pop()], axis=-1), time_BE, factor)
            if level > 0:
                x_BYXA = conv(x_BYXA.shape[-1])(doubled(x_BYXA))
        return conv(channels, scale=0.0)(nn.silu(norm(self.groups)(x_BYXA)))

    def block(self, x_BYXA: jax.Array, time_BE: jax.Array, factor: int) -> jax.Array:
        """A residual block, and attention if images have its size."""
        x_BYXA = ResBlock(self.width * factor, self.groups)(x_BYXA, time_BE)
        return PixelAttention(self.groups)(x_BYXA) if x_BYXA.shape[1] in self.attention else x_BYXA


def denoiser(
    *,
    width: int = 16,
    factors: tuple[int, ...] = (1, 2),
    blocks: int = 1,
    attention: tuple[int, ...] = (8,),
    groups: int = 8,
    side: int = 16,
    channels: int = 3,
    batch: int = 8,
    learning_rate: float = 3e-3,
    only_shapes: bool = False,
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a U-Net that finds noise; the batch is images, fp32 `[B, side, side, A]`.

    Args:
        width: channels at full size.
        factors: channels of every level over `width`.
        blocks: residual blocks of a level on the way down.
        attention: sides of the images after whose blocks there is attention.
        groups: of the group norms.
        side: of an image, in pixels.
        channels: of an image.
        batch: images of a batch.
        learning_rate: of AdamW.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        seed: of parameters, batch and noise.
    """
    model = UNet(width, factors, blocks, attention, groups)

    def loss_fn(params, images_BYXA, key):
        return noise_loss(lambda *inputs: model.apply({"params": params}, *inputs), images_BYXA, key), {}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, side, side, channels)), jnp.zeros(1, jnp.int32))["params"],
        lambda key: jax.random.normal(key, (batch, side, side, channels)),
        loss_fn,
        training.adamw(learning_rate=learning_rate),
        seed=seed,
        stochastic=True,
        only_shapes=only_shapes,
    )


def tiny(*, batch: int = 8, **options):
    """Two levels of 16 pixels and less; attention at 8."""
    return denoiser(batch=batch, **options)


def ddpm_cifar10(*, batch: int = 128, **options):
    """The 35.7 M U-Net of Ho et al. for CIFAR-10, 32 pixels. Shapes only."""
    size = {"width": 128, "factors": (1, 2, 2, 2), "blocks": 2, "attention": (16,), "groups": 32, "side": 32}
    return denoiser(batch=batch, **({"only_shapes": True} | size | options))


def ddpm_lsun(*, batch: int = 256, **options):
    """The 114 M U-Net of Ho et al. for LSUN, 256 pixels, six levels; they train on batches of 64. Shapes only."""
    size = {"width": 128, "factors": (1, 1, 2, 2, 4, 4), "blocks": 2, "attention": (16,), "groups": 32, "side": 256}
    return denoiser(batch=batch, **({"only_shapes": True} | size | options))
