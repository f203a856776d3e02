"""Decoder-only language models whose feed-forward layers are mixtures of experts, in Flax linen.

Every sequence of the batch is a routing group of `models.experts`. `lm` builds any size; `moda` builds the models with
which BaGuaLu (Ma et al., PPoPP 2022, doi 10.1145/3503221.3508417) filled the New-Generation Sunway supercomputer.

Legend: G groups (sequences of the batch), S tokens of a group, D model width, V vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.experts import Experts
from models.transformer import INIT, Attention, FeedForward, apply_layers, norm

MODA = {
    "1.16T": {"layers": 12, "d_ff": 49152, "experts": 240},
    "1.93T": {"layers": 12, "d_ff": 49152, "experts": 400},
    "14.5T": {"layers": 10, "d_ff": 73728, "experts": 2400},
    "174T": {"layers": 3, "d_ff": 73728, "experts": 96000},
}


class MoEBlock(nn.Module):
    """`every` pre-norm layers, of which the last has experts and the others a dense feed-forward.

    Attributes:
        heads: attention heads.
        every: number of layers.
        dense_d_ff: width of the dense feed-forward.
        moe: attributes of `Experts`.
    """

    heads: int
    every: int
    dense_d_ff: int
    moe: dict[str, Any]

    @nn.compact
    def __call__(self, x_GSD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns `[G, S, D]` and the balance loss."""
        for index in range(self.every):
            y_GSD = norm(name=f"norm_1_{index}")(x_GSD)
            x_GSD = x_GSD + Attention(self.heads, causal=True, name=f"attention_{index}")(y_GSD)
            y_GSD = norm(name=f"norm_2_{index}")(x_GSD)
            if index < self.every - 1:
                x_GSD = x_GSD + FeedForward(self.dense_d_ff, name=f"mlp_{index}")(y_GSD)
        y_GSD, balance = Experts(**self.moe, name="experts")(y_GSD)
        return x_GSD + y_GSD, balance


class MoELM(nn.Module):
    """The network from tokens to logits.

    Attributes:
        vocab: size of the vocabulary V.
        layers: number of blocks.
        d_model: width D.
        seq: sequence length.
        scan_layers: one scanned block with stacked parameters.
        remat: recompute each block in the backward pass; see `apply_layers`.
        block: attributes of `MoEBlock`.
    """

    vocab: int
    layers: int
    d_model: int
    seq: int
    scan_layers: bool
    remat: bool | str
    block: dict[str, Any]

    @nn.compact
    def __call__(self, tokens_GS: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the logits `[G, S, V]` and the mean of the balance losses."""
        embed = nn.Embed(self.vocab, self.d_model, embedding_init=INIT, name="embed")
        x_GSD = embed(tokens_GS) + self.param("position", INIT, (self.seq, self.d_model))[None]
        options = {"layers": self.layers, "scan_layers": self.scan_layers, "remat": self.remat}
        x_GSD, balances = apply_layers(MoEBlock, x_GSD, **options, **self.block)
        logits_GSV = nn.Dense(self.vocab, use_bias=False, kernel_init=INIT, name="head")(norm(name="norm")(x_GSD))
        return logits_GSV, jnp.sum(balances if self.scan_layers else jnp.stack(balances)) / self.layers


def lm(
    *,
    vocab: int = 256,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    experts: int = 8,
    d_ff: int = 128,
    choices: int = 2,
    capacity_factor: float = 1.25,
    moe_every: int = 1,
    seq: int = 32,
    batch: int = 8,
    balance_weight: float = 0.01,
    learning_rate: float = 3e-3,
    scan_layers: bool = False,
    remat: bool | str = False,
    only_shapes: bool = False,
    dtype: str = "float32",
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a mixture-of-experts language model.

    The batch is `inputs` and `targets`, int32 `[batch, seq]`: what `models.text.batches` yields for `vocab=256`.

    Args:
        vocab: size of the vocabulary.
        layers: number of layers, a multiple of `moe_every`.
        d_model: model width.
        heads: attention heads.
        experts: experts of a routed layer.
        d_ff: width of an expert; dense layers are `4 * d_model` wide.
        choices: experts that a token is sent to.
        capacity_factor: slots over choices.
        moe_every: every so many layers the feed-forward is one of experts.
        seq: tokens of a sequence, which is a routing group.
        batch: sequences of a batch.
        balance_weight: weight of the balance loss in `loss`.
        learning_rate: of AdamW.
        scan_layers: scan over stacked blocks in place of unrolling them.
        remat: recompute each block in the backward pass; see `apply_layers`.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: in which the network computes; parameters are kept in fp32.
        seed: of parameters and batch.
    """
    moe = {"experts": experts, "d_ff": d_ff, "choices": choices, "capacity_factor": capacity_factor}
    block = {"heads": heads, "every": moe_every, "dense_d_ff": 4 * d_model, "moe": moe}
    model = MoELM(vocab, layers // moe_every, d_model, seq, scan_layers, remat, block)

    def loss_fn(params, batch):
        logits_GSV, balance = model.apply({"params": params}, batch["inputs"])
        text_loss = training.cross_entropy(logits_GSV, batch["targets"])
        return text_loss + balance_weight * balance, {"cross_entropy": text_loss, "balance": balance}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, seq), jnp.int32))["params"],
        training.token_batch(batch, seq, vocab),
        loss_fn,
        training.adamw(learning_rate=learning_rate),
        seed=seed,
        only_shapes=only_shapes,
        dtype=dtype,
    )


def tiny(*, batch: int = 8, seq: int = 32, layers: int = 2, moe_every: int = 2, d_ff: int = 256, **options):
    """Two layers, the second with eight experts, top-2."""
    return lm(batch=batch, seq=seq, layers=layers, moe_every=moe_every, d_ff=d_ff, **options)


def tiny_top1(*, batch: int = 8, seq: int = 32, layers: int = 2, capacity_factor: float = 1.0, **options):
    """Two layers of eight experts, top-1: the routing of `moda` in small."""
    return lm(batch=batch, seq=seq, layers=layers, choices=1, capacity_factor=capacity_factor, **options)


def tiny_scanned(*, batch: int = 8, seq: int = 32, layers: int = 2, scan_layers: bool = True, **options):
    """Two layers of eight experts, top-2, scanned."""
    return lm(batch=batch, seq=seq, layers=layers, scan_layers=scan_layers, **options)


def moda(*, model: str = "14.5T", nodes: int = 96000, tokens_per_node: int = 1536, vocab: int = 51200, **options):
    """A model of BaGuaLu's family, one sequence of `tokens_per_node` tokens for every node. Shapes only.

    Stated by the publication: model width 4096, 8 heads, layers, experts of a layer, an expert's width and its two
    matrices without biases. Not stated and assumed here: the vocabulary (51,200, as in Megatron-LM's GPT-3), the
    sequence length and the batch (one sequence of 1,536 tokens a node, which follows within 40 % from the published
    ratio of all-reduce to all-to-all), top-1 routing with capacity factor 1, experts in every layer, AdamW.

    A group has at least one slot for every expert. With more experts than tokens (14.5T: 2,400; 174T: 96,000, against
    1,536 tokens) most slots stay empty but are computed: 1.6 and 62.5 times the work that the tokens need.

    Args:
        model: "1.16T", "1.93T", "14.5T" or "174T" parameters.
        nodes: nodes of the machine, the sequences of the batch.
        tokens_per_node: tokens of a sequence.
        vocab: size of the vocabulary.
        **options: of `lm`, for example `scan_layers=True` or `layers=2`.
    """
    size = MODA[model] | {"d_model": 4096, "heads": 8, "choices": 1, "capacity_factor": 1.0, "only_shapes": True}
    return lm(vocab=vocab, batch=nodes, seq=tokens_per_node, **(size | options))


def moda_1_16t(*, nodes: int = 57600, tokens_per_node: int = 1536, **options):
    """The model of 1.16 T parameters, on 57,600 nodes."""
    return moda(model="1.16T", nodes=nodes, tokens_per_node=tokens_per_node, **options)


def moda_1_93t(*, nodes: int = 96000, tokens_per_node: int = 1536, **options):
    """The model of 1.93 T parameters, on 96,000 nodes."""
    return moda(model="1.93T", nodes=nodes, tokens_per_node=tokens_per_node, **options)


def moda_14_5t(*, nodes: int = 96000, tokens_per_node: int = 1536, **options):
    """The model of 14.5 T parameters, on 96,000 nodes."""
    return moda(model="14.5T", nodes=nodes, tokens_per_node=tokens_per_node, **options)


def moda_174t(*, nodes: int = 96000, tokens_per_node: int = 1536, **options):
    """The model of 174 T parameters, on 96,000 nodes."""
    return moda(model="174T", nodes=nodes, tokens_per_node=tokens_per_node, **options)
