"""Encoder-decoders in Flax linen: T5 of Raffel et al. 2020 (arXiv:1910.10683), without dropout.

The encoder sees all of the inputs; every layer of the decoder sees the targets before its own and, by cross attention,
what the encoder made. Positions are biases of the scores, one table for the encoder and one for the decoder. No
biases elsewhere, one table for embedding and output.

Legend: B batch, L sequence of queries, M of keys, D model width, H heads, K width of one head, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from models import training
from models.decoder import norm
from models.transformer import apply_layers

BUCKETS = 32
FARTHEST = 128


def buckets(queries: int, keys: int, *, causal: bool) -> np.ndarray:
    """Returns the bucket of every distance, int32 `[L, M]`: exact where near, by its logarithm up to `FARTHEST`.

    Args:
        queries: number of queries L.
        keys: number of keys M.
        causal: keys lie before their query; both ways share the buckets otherwise.
    """
    distance_LM = np.arange(keys)[None] - np.arange(queries)[:, None]
    each = BUCKETS if causal else BUCKETS // 2
    first_LM = 0 if causal else each * (distance_LM > 0)
    far_LM = np.maximum(-distance_LM, 0) if causal else np.abs(distance_LM)
    exact = each // 2
    logarithm_LM = np.log(np.maximum(far_LM, 1) / exact) / np.log(FARTHEST / exact)
    large_LM = np.minimum(exact + (logarithm_LM * (each - exact)).astype(int), each - 1)
    return (first_LM + np.where(far_LM < exact, far_LM, large_LM)).astype(np.int32)


def position_bias(heads: int, length: int, *, causal: bool, name: str) -> jax.Array:
    """Returns what positions add to the scores, `[H, L, M]`; adds a table to the caller."""
    table = nn.Embed(BUCKETS, heads, embedding_init=nn.initializers.normal(0.02), name=name)
    bias_HLM = table(buckets(length, length, causal=causal)).transpose(2, 0, 1)
    return jnp.where(np.tri(length, dtype=bool)[None], bias_HLM, -1e30) if causal else bias_HLM


class Attention(nn.Module):
    """Multi-head attention to any keys. Scores are not scaled: the initial queries are.

    Attributes:
        heads: number of heads H.
        head_dim: width K of one head.
    """

    heads: int
    head_dim: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array, keys_BMD: jax.Array, bias_HLM: jax.Array | None = None) -> jax.Array:
        """Returns `[B, L, D]`."""
        width, head = x_BLD.shape[-1], (self.heads, self.head_dim)
        init, query_init = (nn.initializers.normal(scale) for scale in (width**-0.5, (width * self.head_dim) ** -0.5))
        q_BLHK = nn.DenseGeneral(head, use_bias=False, kernel_init=query_init, name="query")(x_BLD)
        k_BMHK = nn.DenseGeneral(head, use_bias=False, kernel_init=init, name="key")(keys_BMD)
        v_BMHK = nn.DenseGeneral(head, use_bias=False, kernel_init=init, name="value")(keys_BMD)
        scores_BHLM = jnp.einsum("blhk,bmhk->bhlm", q_BLHK, k_BMHK)
        scores_BHLM = scores_BHLM if bias_HLM is None else scores_BHLM + bias_HLM[None]
        mixed_BLHK = jnp.einsum("bhlm,bmhk->blhk", nn.softmax(scores_BHLM), v_BMHK)
        return nn.DenseGeneral(width, axis=(-2, -1), use_bias=False, kernel_init=init, name="out")(mixed_BLHK)


class FeedForward(nn.Module):
    """Two dense layers with relu between them.

    Attributes:
        d_ff: width of the hidden layer.
    """

    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        h_BLF = nn.relu(nn.Dense(self.d_ff, use_bias=False, name="up")(x_BLD))
        return nn.Dense(x_BLD.shape[-1], use_bias=False, name="down")(h_BLF)


class EncoderBlock(nn.Module):
    """Attention, then feed-forward, each with a residual.

    Attributes:
        heads: number of heads.
        head_dim: width of one head.
        d_ff: width of the feed-forward layer.
    """

    heads: int
    head_dim: int
    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array, bias_HLM: jax.Array) -> tuple[jax.Array, None]:
        """Returns `[B, L, D]`, and None: the shape of a scan's body."""
        y_BLD = norm(name="norm_1")(x_BLD)
        x_BLD = x_BLD + Attention(self.heads, self.head_dim, name="attention")(y_BLD, y_BLD, bias_HLM)
        return x_BLD + FeedForward(self.d_ff, name="mlp")(norm(name="norm_2")(x_BLD)), None


class DecoderBlock(nn.Module):
    """Attention to what was decoded, attention to what was encoded, feed-forward, each with a residual.

    Attributes:
        heads: number of heads.
        head_dim: width of one head.
        d_ff: width of the feed-forward layer.
    """

    heads: int
    head_dim: int
    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array, memory_BMD: jax.Array, bias_HLM: jax.Array) -> tuple[jax.Array, None]:
        """Returns `[B, L, D]`, and None: the shape of a scan's body."""
        y_BLD = norm(name="norm_1")(x_BLD)
        x_BLD = x_BLD + Attention(self.heads, self.head_dim, name="attention")(y_BLD, y_BLD, bias_HLM)
        y_BLD = norm(name="norm_2")(x_BLD)
        x_BLD = x_BLD + Attention(self.heads, self.head_dim, name="cross")(y_BLD, memory_BMD)
        return x_BLD + FeedForward(self.d_ff, name="mlp")(norm(name="norm_3")(x_BLD)), None


class EncoderDecoder(nn.Module):
    """The network from inputs and the targets before each target to logits.

    Attributes:
        vocab: size of the vocabulary V.
        layers: number of layers of either half.
        d_model: width D.
        heads: attention heads.
        head_dim: width of one head.
        d_ff: width of the feed-forward layers.
        scan_layers: one scanned layer of either half with stacked parameters.
        remat: recompute each layer in the backward pass; see `apply_layers`.
    """

    vocab: int
    layers: int
    d_model: int
    heads: int
    head_dim: int
    d_ff: int
    scan_layers: bool
    remat: bool | str

    @nn.compact
    def __call__(self, inputs_BM: jax.Array, before_BL: jax.Array) -> jax.Array:
        """Returns the logits `[B, L, V]`."""
        embed = nn.Embed(self.vocab, self.d_model, embedding_init=nn.initializers.normal(1.0), name="embed")
        options = {"layers": self.layers, "scan_layers": self.scan_layers, "remat": self.remat}
        fields = {"heads": self.heads, "head_dim": self.head_dim, "d_ff": self.d_ff}
        seen_HMM = position_bias(self.heads, inputs_BM.shape[1], causal=False, name="encoder_position")
        x_BMD, _ = apply_layers(EncoderBlock, embed(inputs_BM), seen_HMM, name="encoder", **options, **fields)
        memory_BMD = norm(name="encoder_norm")(x_BMD)
        seen_HLL = position_bias(self.heads, before_BL.shape[1], causal=True, name="decoder_position")
        decoder = {"name": "decoder"} | options | fields
        x_BLD, _ = apply_layers(DecoderBlock, embed(before_BL), memory_BMD, seen_HLL, **decoder)
        return embed.attend(norm(name="decoder_norm")(x_BLD) * self.d_model**-0.5)


def seq2seq(
    *,
    vocab: int = 256,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    head_dim: int = 8,
    d_ff: int = 256,
    seq: int = 32,
    batch: int = 8,
    learning_rate: float = 3e-3,
    scan_layers: bool = False,
    remat: bool | str = False,
    only_shapes: bool = False,
    dtype: str = "float32",
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a T5; the batch is `inputs` and `targets`, int32 `[batch, seq]`.

    Args:
        vocab: size of the vocabulary.
        layers: number of layers of either half.
        d_model: model width.
        heads: attention heads.
        head_dim: width of one head.
        d_ff: width of the feed-forward layers.
        seq: tokens of inputs and of targets.
        batch: pairs of sequences of a batch.
        learning_rate: of AdamW.
        scan_layers: scan over stacked layers in place of unrolling them.
        remat: recompute each layer in the backward pass; see `apply_layers`.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: in which the network computes; parameters are kept in fp32.
        seed: of parameters and batch.
    """
    model = EncoderDecoder(vocab, layers, d_model, heads, head_dim, d_ff, scan_layers, remat)

    def loss_fn(params, batch):
        before_BL = jnp.pad(batch["targets"][:, :-1], ((0, 0), (1, 0)))
        logits_BLV = model.apply({"params": params}, batch["inputs"], before_BL)
        return training.cross_entropy(logits_BLV, batch["targets"]), {}

    def init_params(key):
        tokens_BL = jnp.zeros((1, seq), jnp.int32)
        return model.init(key, tokens_BL, tokens_BL)["params"]

    return training.program(
        init_params,
        training.token_batch(batch, seq, vocab),
        loss_fn,
        training.adamw(learning_rate=learning_rate),
        seed=seed,
        only_shapes=only_shapes,
        dtype=dtype,
    )


def tiny(*, batch: int = 8, seq: int = 32, layers: int = 2, **options):
    """Two layers of an encoder and two of a decoder, over bytes; unrolled unless `scan_layers`."""
    return seq2seq(batch=batch, seq=seq, layers=layers, **options)


def tiny_scanned(*, batch: int = 8, seq: int = 32, layers: int = 2, scan_layers: bool = True, **options):
    """The same, scanned."""
    return seq2seq(batch=batch, seq=seq, layers=layers, scan_layers=scan_layers, **options)


def t5_large(*, batch: int = 128, seq: int = 512, layers: int = 24, **options):
    """T5-Large: 738 M parameters, called 770 M; unrolled unless `scan_layers`. Shapes only."""
    size = {"vocab": 32128, "d_model": 1024, "heads": 16, "head_dim": 64, "d_ff": 4096, "only_shapes": True}
    return seq2seq(batch=batch, seq=seq, layers=layers, **(size | options))


def t5_11b(*, batch: int = 128, seq: int = 512, layers: int = 24, scan_layers: bool = True, **options):
    """T5-11B: heads four times as wide as the model, layers scanned and recomputed. Shapes only."""
    size = {"vocab": 32128, "d_model": 1024, "heads": 128, "head_dim": 128, "d_ff": 65536, "only_shapes": True}
    return seq2seq(batch=batch, seq=seq, layers=layers, scan_layers=scan_layers, **({"remat": True} | size | options))
