"""Decoder-only language models of the GPT family, in Flax linen.

Pre-norm layers, learned positions, gelu feed-forward of four times the model width unless stated otherwise, as in
GPT-2 (Radford et al. 2019), GPT-3 (Brown et al. 2020, arXiv:2005.14165) and Megatron-LM (Shoeybi et al. 2019,
arXiv:1909.08053).

Legend: B batch, L sequence, D model width, V vocabulary.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.transformer import INIT, Block, apply_layers, norm


class GPT(nn.Module):
    """The network from tokens to logits.

    Attributes:
        vocab: size of the vocabulary V.
        layers: number of layers.
        d_model: width D.
        heads: attention heads.
        d_ff: width of the feed-forward layers.
        seq: sequence length L.
        tied: use the embedding table as the output projection too.
        scan_layers: one scanned layer with stacked parameters.
        remat: recompute each layer in the backward pass; see `apply_layers`.
        dropout: probability of dropping an element of a residual branch.
        joined: one projection to queries, keys and values.
    """

    vocab: int
    layers: int
    d_model: int
    heads: int
    d_ff: int
    seq: int
    tied: bool
    scan_layers: bool
    remat: bool | str
    dropout: float
    joined: bool

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        """Returns the logits `[B, L, V]`."""
        embed = nn.Embed(self.vocab, self.d_model, embedding_init=INIT, name="embed")
        position_LD = self.param("position", INIT, (self.seq, self.d_model))
        x_BLD, _ = apply_layers(
            Block,
            embed(tokens_BL) + position_LD[None],
            layers=self.layers,
            scan_layers=self.scan_layers,
            remat=self.remat,
            heads=self.heads,
            d_ff=self.d_ff,
            causal=True,
            dropout=self.dropout,
            joined=self.joined,
        )
        x_BLD = norm(name="norm")(x_BLD)
        if self.tied:
            return embed.attend(x_BLD)
        return nn.Dense(self.vocab, use_bias=False, kernel_init=INIT, name="head")(x_BLD)


def lm(
    *,
    vocab: int = 256,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    d_ff: int | None = None,
    seq: int = 32,
    batch: int = 8,
    tied: bool = False,
    scan_layers: bool = False,
    remat: bool | str = False,
    dropout: float = 0.0,
    joined: bool = False,
    clipped: bool = False,
    only_shapes: bool = False,
    dtype: str = "float32",
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a GPT; the batch is `inputs` and `targets`, int32 `[batch, seq]`.

    Args:
        vocab: size of the vocabulary.
        layers: number of layers.
        d_model: model width.
        heads: attention heads; each is `d_model / heads` wide.
        d_ff: width of the feed-forward layers; `4 * d_model` if None.
        seq: tokens of a sequence.
        batch: sequences of a batch.
        tied: use the embedding table as the output projection too.
        scan_layers: scan over stacked layers in place of unrolling them.
        remat: recompute each layer in the backward pass; see `apply_layers`.
        dropout: above zero, a PRNG key is part of the state.
        joined: project to queries, keys and values by one product, as Megatron-LM does, in place of three.
        clipped: clip by the global norm and follow a warm-up and cosine schedule, in place of plain AdamW.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: in which the network computes; parameters are kept in fp32.
        seed: of parameters and batch.
    """
    model = GPT(vocab, layers, d_model, heads, d_ff or 4 * d_model, seq, tied, scan_layers, remat, dropout, joined)

    def loss_fn(params, batch, key=None):
        rngs = None if key is None else {"dropout": key}
        logits_BLV = model.apply({"params": params}, batch["inputs"], rngs=rngs)
        return training.cross_entropy(logits_BLV, batch["targets"]), {}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, seq), jnp.int32))["params"],
        training.token_batch(batch, seq, vocab),
        loss_fn,
        training.clipped_adamw() if clipped else training.adamw(),
        seed=seed,
        stochastic=dropout > 0,
        only_shapes=only_shapes,
        dtype=dtype,
    )


def tiny(*, batch: int = 8, seq: int = 32, layers: int = 2, d_model: int = 64, clipped: bool = True, **options):
    """A two-layer GPT over bytes, unrolled; gradients clipped, learning rate scheduled."""
    return lm(batch=batch, seq=seq, layers=layers, d_model=d_model, clipped=clipped, **options)


def tiny_tied(*, batch: int = 8, seq: int = 32, layers: int = 2, tied: bool = True, **options):
    """The two-layer GPT with one table for embedding and output."""
    return lm(batch=batch, seq=seq, layers=layers, tied=tied, **options)


def tiny_scanned(*, batch: int = 8, seq: int = 32, layers: int = 4, scan_layers: bool = True, **options):
    """A four-layer GPT, scanned."""
    return lm(batch=batch, seq=seq, layers=layers, scan_layers=scan_layers, **options)


def tiny_remat(*, batch: int = 8, seq: int = 32, layers: int = 4, scan_layers: bool = True, **options):
    """A four-layer GPT, scanned, each layer recomputed in the backward pass."""
    return lm(batch=batch, seq=seq, layers=layers, scan_layers=scan_layers, remat=True, **options)


def tiny_dropout(*, batch: int = 8, seq: int = 32, layers: int = 2, dropout: float = 0.1, **options):
    """The two-layer GPT with dropout; the state carries a typed PRNG key."""
    return lm(batch=batch, seq=seq, layers=layers, dropout=dropout, **options)


def gpt2_124m(*, batch: int = 512, seq: int = 1024, layers: int = 12, tied: bool = True, **options):
    """GPT-2 small: 124 M parameters; vocabulary 50,257 padded to 50,304 as Megatron-LM does. Shapes only."""
    size = {"vocab": 50304, "d_model": 768, "heads": 12, "only_shapes": True}
    return lm(batch=batch, seq=seq, layers=layers, tied=tied, **(size | options))


def gpt3_1_3b(*, batch: int = 512, seq: int = 2048, layers: int = 24, tied: bool = True, **options):
    """GPT-3 XL: 1.3 B parameters, 1 M tokens a batch. Shapes only.

    Table 2.1 of Brown et al. states 24 heads of width 128, which is not the model width of 2048: 16 are used here.
    """
    size = {"vocab": 51200, "d_model": 2048, "heads": 16, "only_shapes": True}
    return lm(batch=batch, seq=seq, layers=layers, tied=tied, **(size | options))


def gpt3_6_7b(*, batch: int = 1024, seq: int = 2048, layers: int = 32, tied: bool = True, **options):
    """GPT-3 6.7 B: 2 M tokens a batch. Shapes only."""
    size = {"vocab": 51200, "d_model": 4096, "heads": 32, "only_shapes": True}
    return lm(batch=batch, seq=seq, layers=layers, tied=tied, **(size | options))


def gpt3_175b(*, batch: int = 1536, seq: int = 2048, layers: int = 96, tied: bool = True, **options):
    """GPT-3 175 B: 3.1 M tokens a batch; unrolled unless `scan_layers`; layers recomputed in the backward pass.

    Shapes only.
    """
    size = {"vocab": 51200, "d_model": 12288, "heads": 96, "only_shapes": True, "remat": True}
    return lm(batch=batch, seq=seq, layers=layers, tied=tied, **(size | options))


def megatron(
    *,
    hidden: int = 4096,
    layers: int = 36,
    heads: int = 32,
    seq: int = 2048,
    batch: int = 512,
    vocab: int = 51200,
    ffn: int | None = None,
    **options,
):
    """A GPT of any size as Megatron-LM trains it, scanned; layers recomputed in the backward pass. Shapes only.

    Queries, keys and values come from one product, as in its ParallelAttention (arXiv:1909.08053, Section 3), so that
    the backward pass sums one gradient of their input over the devices that share a layer.

    The default is the 7.5 B model of Table 1 of Narayanan et al. 2021 (arXiv:2104.04473), whose Section 5 states the
    sequence length and the vocabulary. Dropout, where above zero, is of residual branches, not of attention weights.

    Args:
        hidden: model width.
        layers: number of layers.
        heads: attention heads.
        seq: tokens of a sequence.
        batch: sequences of a batch, over all micro-batches.
        vocab: size of the vocabulary, padded.
        ffn: width of the feed-forward layers; `4 * hidden` if None.
        **options: of `lm`, for example `dropout=0.1`, `remat=False` or `scan_layers=False`.
    """
    size = {"tied": True, "scan_layers": True, "remat": True, "joined": True, "only_shapes": True}
    dims = {"d_model": hidden, "layers": layers, "heads": heads, "d_ff": ffn, "vocab": vocab}
    return lm(seq=seq, batch=batch, **dims, **(size | options))
