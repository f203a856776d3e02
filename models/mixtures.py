"""Decoders of the Llama family whose feed-forward layers are mixtures of gated experts, in Flax linen.

Every sequence of the batch is a routing group of `models.experts`, with a capacity: choices beyond it are dropped, as
the published models do not. The sizes are those of the config.json of each model on Hugging Face, and of Mixtral (Jiang
et al. 2024, arXiv:2401.04088), DeepSeek-V3 (DeepSeek-AI 2024, arXiv:2412.19437), Qwen3 (Yang et al. 2025,
arXiv:2505.09388) and gpt-oss (OpenAI 2025, arXiv:2508.10925). DeepSeek-V3 and Qwen3 state 4,096 tokens a sequence for
most of their pre-training; the other lengths, and all batches, are assumed.

Legend: B batch, L sequence, D model width, V vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training
from models.decoder import GroupedAttention, LatentAttention, SwiGLU, dense, norm
from models.experts import Experts
from models.transformer import INIT, apply_layers


class MixtureBlock(nn.Module):
    """Pre-norm layers, one for every entry of `attentions`.

    Attributes:
        attention: `GroupedAttention` or `LatentAttention`.
        attentions: the attributes of the attention of each layer.
        d_ff: width of the feed-forward that takes all tokens: a shared expert, or the only one; none if 0.
        experts: attributes of `Experts`; None where all is dense.
    """

    attention: type[nn.Module]
    attentions: tuple[dict[str, Any], ...]
    d_ff: int
    experts: dict[str, Any] | None

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Returns `[B, L, D]` and the sum of the balance losses, None where there are no experts."""
        balances = []
        for index, fields in enumerate(self.attentions):
            y_BLD = norm(name=f"norm_1_{index}")(x_BLD)
            x_BLD = x_BLD + self.attention(**fields, name=f"attention_{index}")(y_BLD)
            y_BLD = norm(name=f"norm_2_{index}")(x_BLD)
            if self.d_ff:
                x_BLD = x_BLD + SwiGLU(self.d_ff, name=f"mlp_{index}")(y_BLD)
            if self.experts:
                routed_BLD, balance = Experts(**self.experts, gated=True, name=f"experts_{index}")(y_BLD)
                x_BLD = x_BLD + routed_BLD
                balances.append(balance)
        return x_BLD, jnp.sum(jnp.stack(balances)) if balances else None


class Mixture(nn.Module):
    """The network from tokens to logits.

    Attributes:
        vocab: size of the vocabulary V.
        d_model: width D.
        scan_layers: one scanned block with stacked parameters, and another one of the dense layers.
        remat: recompute each block in the backward pass; see `apply_layers`.
        dense_layers: layers before the routed ones.
        dense: attributes of `MixtureBlock` for these.
        layers: routed layers, a multiple of those of a block.
        routed: attributes of `MixtureBlock` for these.
    """

    vocab: int
    d_model: int
    scan_layers: bool
    remat: bool | str
    dense_layers: int
    dense: dict[str, Any]
    layers: int
    routed: dict[str, Any]

    @nn.compact
    def __call__(self, tokens_BL: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the logits `[B, L, V]` and the mean of the balance losses."""
        x_BLD = nn.Embed(self.vocab, self.d_model, embedding_init=INIT, name="embed")(tokens_BL)
        options = {"scan_layers": self.scan_layers, "remat": self.remat}
        if self.dense_layers:
            options_dense = options | {"layers": self.dense_layers, "name": "dense_layer"}
            x_BLD, _ = apply_layers(MixtureBlock, x_BLD, **options_dense, **self.dense)
        blocks = self.layers // len(self.routed["attentions"])
        x_BLD, balances = apply_layers(MixtureBlock, x_BLD, layers=blocks, **options, **self.routed)
        balance = jnp.sum(balances if self.scan_layers else jnp.stack(balances)) / self.layers
        return dense(self.vocab, name="head")(norm(name="norm")(x_BLD)), balance


def network(
    *,
    vocab: int,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    rope_theta: float = 10000.0,
    qk_norm: bool = False,
    bias: bool = False,
    windows: tuple[int | None, ...] = (None,),
    latent: dict[str, int] | None = None,
    experts: int = 8,
    d_ff: int = 64,
    choices: int = 2,
    capacity_factor: float = 1.0,
    shared_experts: int = 0,
    dense_layers: int = 0,
    dense_d_ff: int = 128,
    scan_layers: bool = False,
    remat: bool | str = False,
) -> Mixture:
    """Returns the network of any size.

    Args:
        vocab: size of the vocabulary.
        layers: number of layers.
        d_model: model width.
        heads: query heads.
        kv_heads: heads of keys and values, a divisor of `heads`; `heads` if None.
        head_dim: width of a head; `d_model / heads` if None.
        rope_theta: base of the rotary wavelengths.
        qk_norm: normalise every head of queries and keys.
        bias: of the projections of attention.
        windows: the last keys that a query sees, None for all, layer by layer; repeated over the routed layers, which
            are a multiple of them.
        latent: `q_rank`, `kv_rank`, `nope_dim`, `rope_dim` and `v_dim` of `LatentAttention`, which replaces grouped
            attention and its options above but `heads` and `rope_theta`.
        experts: experts of a layer.
        d_ff: width of an expert.
        choices: experts that a token is sent to.
        capacity_factor: slots over choices.
        shared_experts: experts that all tokens take, computed as one feed-forward.
        dense_layers: first layers without experts, at most all but one.
        dense_d_ff: width of their feed-forward.
        scan_layers: scan over stacked blocks in place of unrolling them.
        remat: recompute each block in the backward pass; see `apply_layers`.
    """
    groups = kv_heads or heads
    attention, fields = LatentAttention, {"heads": heads, "theta": rope_theta, **(latent or {})}
    if latent is None:
        attention, fields = GroupedAttention, {"kv_heads": groups, "repeats": heads // groups, "theta": rope_theta}
        fields |= {"head_dim": head_dim or d_model // heads, "qk_norm": qk_norm, "bias": bias}
    each = tuple(fields if window is None else fields | {"window": window} for window in windows)
    moe = {"experts": experts, "d_ff": d_ff, "choices": choices, "capacity_factor": capacity_factor}
    first = min(dense_layers, layers - 1)
    before = {"attention": attention, "attentions": each[:1], "d_ff": dense_d_ff, "experts": None}
    routed = {"attention": attention, "attentions": each, "d_ff": shared_experts * d_ff, "experts": moe}
    return Mixture(vocab, d_model, scan_layers, remat, first, before, layers - first, routed)


def lm(
    *,
    vocab: int = 256,
    seq: int = 32,
    batch: int = 8,
    balance_weight: float = 0.01,
    only_shapes: bool = False,
    dtype: str = "float32",
    seed: int = 0,
    **dims,
):
    """Returns `(step, (state, batch))` of a decoder; the batch is `inputs` and `targets`, int32 `[batch, seq]`.

    Args:
        vocab: size of the vocabulary.
        seq: tokens of a sequence, which is a routing group.
        batch: sequences of a batch.
        balance_weight: weight of the balance loss in `loss`.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: in which the network computes; parameters are kept in fp32.
        seed: of parameters and batch.
        **dims: of `network`.
    """
    model = network(vocab=vocab, **dims)

    def loss_fn(params, batch):
        logits_BLV, balance = model.apply({"params": params}, batch["inputs"])
        text_loss = training.cross_entropy(logits_BLV, batch["targets"])
        return text_loss + balance_weight * balance, {"cross_entropy": text_loss, "balance": balance}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, seq), jnp.int32))["params"],
        training.token_batch(batch, seq, vocab),
        loss_fn,
        training.adamw(),
        seed=seed,
        only_shapes=only_shapes,
        dtype=dtype,
    )


def tiny_mixtral(*, batch: int = 8, seq: int = 32, layers: int = 2, kv_heads: int = 4, **options):
    """Two layers of eight experts, top-2, eight query heads on four of keys and values."""
    return lm(batch=batch, seq=seq, layers=layers, kv_heads=kv_heads, **options)


def tiny_deepseek(*, batch: int = 8, seq: int = 32, layers: int = 2, choices: int = 3, **options):
    """Two layers of latent attention: the first dense, the second of eight experts, top-3, and a shared one."""
    latent = {"q_rank": 32, "kv_rank": 16, "nope_dim": 8, "rope_dim": 8, "v_dim": 8}
    size = {"latent": latent, "dense_layers": 1, "shared_experts": 1}
    return lm(batch=batch, seq=seq, layers=layers, choices=choices, **(size | options))


def large(*, batch: int = 128, **options):
    """A model of full size, scanned; blocks recomputed in the backward pass. Shapes only."""
    return lm(batch=batch, **({"scan_layers": True, "remat": True, "only_shapes": True} | options))


def mixtral_8x7b(*, batch: int = 128, seq: int = 8192, layers: int = 32, **options):
    """Mixtral 8x7B: 46.70 B parameters, as `large`."""
    size = {"vocab": 32000, "d_model": 4096, "heads": 32, "kv_heads": 8, "d_ff": 14336, "rope_theta": 1e6}
    return large(batch=batch, seq=seq, layers=layers, **(size | options))


def mixtral_8x22b(*, batch: int = 128, seq: int = 8192, layers: int = 56, **options):
    """Mixtral 8x22B v0.1: 140.62 B parameters, as `large`."""
    size = {"vocab": 32000, "d_model": 6144, "heads": 48, "kv_heads": 8, "d_ff": 16384, "rope_theta": 1e6}
    return large(batch=batch, seq=seq, layers=layers, **(size | options))


def deepseek_v3(*, batch: int = 128, seq: int = 4096, layers: int = 61, **options):
    """DeepSeek-V3: 671.03 B parameters, as `large`.

    Left out: the head that predicts one more token (MTP, 11.5 B parameters of its own), sigmoid scores and the limit of
    groups in routing, whose bias is replaced by the balance loss; stretched wavelengths.
    """
    latent = {"q_rank": 1536, "kv_rank": 512, "nope_dim": 128, "rope_dim": 64, "v_dim": 128}
    size = {"vocab": 129280, "d_model": 7168, "heads": 128, "latent": latent, "experts": 256, "d_ff": 2048}
    size |= {"choices": 8, "shared_experts": 1, "dense_layers": 3, "dense_d_ff": 18432}
    return large(batch=batch, seq=seq, layers=layers, **(size | options))


def qwen3(*, batch: int = 128, seq: int = 4096, **options):
    """A model of Qwen3 with 128 experts, top-8, and normalised queries and keys; as `large`."""
    size = {"vocab": 151936, "kv_heads": 4, "head_dim": 128, "qk_norm": True, "rope_theta": 1e6}
    return large(batch=batch, seq=seq, **(size | {"experts": 128, "choices": 8} | options))


def qwen3_30b_a3b(*, batch: int = 128, seq: int = 4096, layers: int = 48, **options):
    """Qwen3-30B-A3B: 30.53 B parameters, as `large`."""
    size = {"d_model": 2048, "heads": 32, "d_ff": 768}
    return qwen3(batch=batch, seq=seq, layers=layers, **(size | options))


def qwen3_235b_a22b(*, batch: int = 128, seq: int = 4096, layers: int = 94, **options):
    """Qwen3-235B-A22B: 235.09 B parameters, as `large`."""
    size = {"d_model": 4096, "heads": 64, "d_ff": 1536}
    return qwen3(batch=batch, seq=seq, layers=layers, **(size | options))


def gpt_oss(*, batch: int = 128, seq: int = 4096, **options):
    """A model of gpt-oss: layers alternate between a window of 128 keys and all of them; as `large`.

    Left out: the learned logit that attention adds to each head's softmax, the biases of experts and routers, and the
    bounds and the offset in their gate: 0.04 % of the parameters. Windows are masks: no work is saved.
    """
    size = {"vocab": 201088, "d_model": 2880, "heads": 64, "kv_heads": 8, "head_dim": 64, "d_ff": 2880, "choices": 4}
    size |= {"bias": True, "windows": (128, None), "rope_theta": 150000.0}
    return large(batch=batch, seq=seq, **(size | options))


def gpt_oss_20b(*, batch: int = 128, seq: int = 4096, layers: int = 24, experts: int = 32, **options):
    """gpt-oss-20b: 20.91 B parameters, as `gpt_oss`."""
    return gpt_oss(batch=batch, seq=seq, layers=layers, experts=experts, **options)


def gpt_oss_120b(*, batch: int = 128, seq: int = 4096, layers: int = 36, experts: int = 128, **options):
    """gpt-oss-120b: 116.8 B parameters, as `gpt_oss`."""
    return gpt_oss(batch=batch, seq=seq, layers=layers, experts=experts, **options)
