"""Dense decoders of the Llama family, in Flax linen.

Pre-norm layers of grouped-query attention with rotary positions and SwiGLU: Llama 2 (Touvron et al. 2023,
arXiv:2307.09288) and Llama 3 (Grattafiori et al. 2024, arXiv:2407.21783). The sizes are those of the config.json of
each model on Hugging Face. The stretched wavelengths of Llama 3.1 (`rope_scaling`), which change no shape, are left
out. `decoder` takes any sizes, as MaxText does.

Legend: B batch, L sequence, D model width, V vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.decoder import GroupedAttention, SwiGLU, dense, norm
from models.transformer import INIT, apply_layers


class LlamaBlock(nn.Module):
    """One pre-norm layer: attention, then feed-forward, each with a residual.

    Attributes:
        attention: attributes of `GroupedAttention`.
        d_ff: width of the feed-forward layer.
    """

    attention: dict[str, Any]
    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> tuple[jax.Array, None]:
        """Returns `[B, L, D]`, and None: the shape of a scan's body."""
        x_BLD = x_BLD + GroupedAttention(**self.attention, name="attention")(norm(name="norm_1")(x_BLD))
        return x_BLD + SwiGLU(self.d_ff, name="mlp")(norm(name="norm_2")(x_BLD)), None


class Llama(nn.Module):
    """The network from tokens to logits.

    Attributes:
        vocab: size of the vocabulary V.
        layers: number of layers.
        d_model: width D.
        tied: use the embedding table as the output projection too.
        scan_layers: one scanned layer with stacked parameters.
        remat: recompute each layer in the backward pass; see `apply_layers`.
        block: attributes of `LlamaBlock`.
    """

    vocab: int
    layers: int
    d_model: int
    tied: bool
    scan_layers: bool
    remat: bool | str
    block: dict[str, Any]

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        """Returns the logits `[B, L, V]`."""
        embed = nn.Embed(self.vocab, self.d_model, embedding_init=INIT, name="embed")
        options = {"layers": self.layers, "scan_layers": self.scan_layers, "remat": self.remat}
        x_BLD, _ = apply_layers(LlamaBlock, embed(tokens_BL), **options, **self.block)
        x_BLD = norm(name="norm")(x_BLD)
        return embed.attend(x_BLD) if self.tied else dense(self.vocab, name="head")(x_BLD)


def lm(
    *,
    vocab: int = 256,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    d_ff: int = 128,
    seq: int = 32,
    batch: int = 8,
    tied: bool = False,
    rope_theta: float = 10000.0,
    qk_norm: bool = False,
    scan_layers: bool = False,
    remat: bool | str = False,
    only_shapes: bool = False,
    dtype: str = "float32",
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a decoder; the batch is `inputs` and `targets`, int32 `[batch, seq]`.

    Args:
        vocab: size of the vocabulary.
        layers: number of layers.
        d_model: model width.
        heads: query heads.
        kv_heads: heads of keys and values, a divisor of `heads`; `heads` if None.
        head_dim: width of a head; `d_model / heads` if None.
        d_ff: width of the feed-forward layers.
        seq: tokens of a sequence.
        batch: sequences of a batch.
        tied: use the embedding table as the output projection too.
        rope_theta: base of the rotary wavelengths.
        qk_norm: normalise every head of queries and keys.
        scan_layers: scan over stacked layers in place of unrolling them.
        remat: recompute each layer in the backward pass; see `apply_layers`.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: in which the network computes; parameters are kept in fp32.
        seed: of parameters and batch.
    """
    groups = kv_heads or heads
    attention = {"kv_heads": groups, "repeats": heads // groups, "head_dim": head_dim or d_model // heads}
    block = {"attention": attention | {"theta": rope_theta, "qk_norm": qk_norm}, "d_ff": d_ff}
    model = Llama(vocab, layers, d_model, tied, scan_layers, remat, block)

    def loss_fn(params, batch):
        logits_BLV = model.apply({"params": params}, batch["inputs"])
        return training.cross_entropy(logits_BLV, batch["targets"]), {}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, seq), jnp.int32))["params"],
        training.token_batch(batch, seq, vocab),
        loss_fn,
        training.adamw(),
        seed=seed,
        only_shapes=only_shapes,
        dtype=dtype,
    )


def tiny(*, batch: int = 8, seq: int = 32, layers: int = 2, kv_heads: int = 4, **options):
    """Two layers over bytes, eight query heads on four of keys and values; unrolled unless `scan_layers`."""
    return lm(batch=batch, seq=seq, layers=layers, kv_heads=kv_heads, **options)


def decoder(*, batch: int = 128, seq: int = 2048, layers: int = 16, **dims):
    """A decoder of any size, scanned; layers recomputed in the backward pass. Shapes only.

    The default is MaxText's (`configs/base.yml`: decoder_block llama2, mlp_activations silu and linear, remat_policy
    full), 1.1 B parameters, but for the batch: MaxText states 12 sequences a device.

    Args:
        batch: sequences of a batch.
        seq: tokens of a sequence.
        layers: number of layers.
        **dims: of `lm`, for example `d_model=4096`, `kv_heads=8`, `remat=False` or `scan_layers=False`.
    """
    size = {"vocab": 32000, "d_model": 2048, "heads": 16, "head_dim": 128, "d_ff": 7168}
    size |= {"scan_layers": True, "remat": True, "only_shapes": True}
    return lm(batch=batch, seq=seq, layers=layers, **(size | dims))


def llama2_7b(*, batch: int = 128, seq: int = 4096, layers: int = 32, **options):
    """Llama 2 7B: 6.74 B parameters, as `decoder`."""
    size = {"d_model": 4096, "heads": 32, "d_ff": 11008}
    return decoder(batch=batch, seq=seq, layers=layers, **(size | options))


def llama2_70b(*, batch: int = 128, seq: int = 4096, layers: int = 80, **options):
    """Llama 2 70B: 68.98 B parameters, as `decoder`."""
    size = {"d_model": 8192, "heads": 64, "kv_heads": 8, "d_ff": 28672}
    return decoder(batch=batch, seq=seq, layers=layers, **(size | options))


def llama3(*, batch: int = 128, seq: int = 8192, **options):
    """A model of Llama 3 or 3.1: a vocabulary of 128,256, eight heads of keys and values; as `decoder`."""
    size = {"vocab": 128256, "kv_heads": 8, "rope_theta": 500000.0}
    return decoder(batch=batch, seq=seq, **(size | options))


def llama3_8b(*, batch: int = 128, seq: int = 8192, layers: int = 32, **options):
    """Llama 3 8B: 8.03 B parameters, as `decoder`."""
    size = {"d_model": 4096, "heads": 32, "d_ff": 14336}
    return llama3(batch=batch, seq=seq, layers=layers, **(size | options))


def llama3_70b(*, batch: int = 128, seq: int = 8192, layers: int = 80, **options):
    """Llama 3 70B: 70.55 B parameters, as `decoder`."""
    size = {"d_model": 8192, "heads": 64, "d_ff": 28672}
    return llama3(batch=batch, seq=seq, layers=layers, **(size | options))


def llama3_405b(*, batch: int = 128, seq: int = 8192, layers: int = 126, **options):
    """Llama 3.1 405B: 405.85 B parameters, as `decoder`; its pre-training used up to 2,048 such sequences a batch."""
    size = {"d_model": 16384, "heads": 128, "d_ff": 53248}
    return llama3(batch=batch, seq=seq, layers=layers, **(size | options))
