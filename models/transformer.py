"""Transformer parts in Flax linen that the GPT, mixture-of-experts and vision models share.

Legend: B batch, L sequence (M the same, as keys), D model width, H heads, K width of one head,
T the three of query, key and value, F feed-forward width.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

INIT = nn.initializers.normal(0.02)


class Attention(nn.Module):
    """Multi-head self-attention with separate query, key and value projections `[D, H, K]`, or one of all three.

    Separate keys have no bias: it would add the same to all scores of a query, which softmax ignores, and its gradient
    would be rounding noise. The one projection `[D, H, 3, K]` has it as Megatron-LM's has, which also keeps the three
    of a head together, so that splitting it by heads splits no head (megatron/model/transformer.py,
    ParallelAttention: "[s, b, h] --> [s, b, np * 3 * hn]").

    Attributes:
        heads: number of heads H; K = D / H.
        causal: a position sees itself and those before it only.
        joined: one projection in place of three, whose input then has one gradient to sum.
    """

    heads: int
    causal: bool
    joined: bool = False

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        length, width = x_BLD.shape[1:]
        head = (self.heads, width // self.heads)
        q_BLHK, k_BMHK, v_BMHK = self.projected(x_BLD, head)
        scores_BHLM = jnp.einsum("blhk,bmhk->bhlm", q_BLHK, k_BMHK) * head[1] ** -0.5
        if self.causal:
            seen_LM = jnp.tril(jnp.ones((length, length), bool))
            scores_BHLM = jnp.where(seen_LM[None, None], scores_BHLM, -1e30)
        mixed_BLHK = jnp.einsum("bhlm,bmhk->blhk", nn.softmax(scores_BHLM), v_BMHK)
        return nn.DenseGeneral(width, axis=(-2, -1), kernel_init=INIT, name="out")(mixed_BLHK)

    def projected(self, x_BLD: jax.Array, head: tuple[int, int]) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns queries `[B, L, H, K]`, keys and values `[B, M, H, K]`."""
        if self.joined:
            joined_BLHTK = nn.DenseGeneral((head[0], 3, head[1]), kernel_init=INIT, name="joined")(x_BLD)
            return tuple(part_BLHTK.squeeze(3) for part_BLHTK in jnp.split(joined_BLHTK, 3, axis=3))
        q_BLHK = nn.DenseGeneral(head, kernel_init=INIT, name="query")(x_BLD)
        k_BMHK = nn.DenseGeneral(head, use_bias=False, kernel_init=INIT, name="key")(x_BLD)
        v_BMHK = nn.DenseGeneral(head, kernel_init=INIT, name="value")(x_BLD)
        return q_BLHK, k_BMHK, v_BMHK


class FeedForward(nn.Module):
    """Two dense layers with gelu between them.

    Attributes:
        d_ff: width F of the hidden layer.
    """

    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        h_BLF = nn.gelu(nn.Dense(self.d_ff, kernel_init=INIT, name="up")(x_BLD))
        return nn.Dense(x_BLD.shape[-1], kernel_init=INIT, name="down")(h_BLF)


class Block(nn.Module):
    """One pre-norm layer: attention, then feed-forward, each with a residual and dropout.

    Attributes:
        heads: number of heads.
        d_ff: width of the feed-forward layer.
        causal: see `Attention`.
        dropout: probability that an element of a residual branch is dropped.
        joined: see `Attention`.
    """

    heads: int
    d_ff: int
    causal: bool
    dropout: float = 0.0
    joined: bool = False

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> tuple[jax.Array, None]:
        """Returns `[B, L, D]`, and None: the shape of a scan's body."""
        drop = nn.Dropout(self.dropout, deterministic=self.dropout == 0)
        attention = Attention(self.heads, self.causal, self.joined, name="attention")
        x_BLD = x_BLD + drop(attention(norm(name="norm_1")(x_BLD)))
        x_BLD = x_BLD + drop(FeedForward(self.d_ff, name="mlp")(norm(name="norm_2")(x_BLD)))
        return x_BLD, None


def norm(*, name: str) -> nn.LayerNorm:
    """Returns a layer norm whose variance is the mean of squared differences, which rounding cannot make negative."""
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, name=name)


def policy_of(remat: bool | str) -> Callable[..., bool] | None:
    """Returns what `jax.checkpoint` keeps: nothing if `remat` is no name."""
    if not isinstance(remat, str):
        return None
    return every_second_product() if remat == "every_second_product" else getattr(jax.checkpoint_policies, remat)


def every_second_product() -> Callable[..., bool]:
    """Returns a policy that keeps one of two products, as torchtitan's selective activation checkpointing does."""
    turns = itertools.cycle((True, False))

    def keeps(primitive: Any, *_: Any, **__: Any) -> bool:
        return primitive.name == "dot_general" and next(turns)

    return keeps


def apply_layers(
    block: type[nn.Module],
    x_BLD: jax.Array,
    *shared: jax.Array,
    layers: int,
    scan_layers: bool,
    remat: bool | str,
    name: str = "layer",
    **fields: Any,
) -> tuple[jax.Array, Any]:
    """Applies `layers` blocks one after the other, inside the calling module.

    Args:
        block: module class whose call maps `x_BLD` and what is shared to `(x_BLD, extra)`.
        x_BLD: `[B, L, D]` input.
        *shared: arrays that every block reads.
        layers: number of blocks.
        scan_layers: one scanned body with stacked parameters, in place of `layers` separate blocks.
        remat: recompute each block in the backward pass; or the name of a policy of `jax.checkpoint_policies`, which
            says what is kept instead ("dots_saveable": products), or "every_second_product".
        name: of a block among the parameters.
        **fields: attributes of the block.

    Returns:
        `[B, L, D]` and the blocks' extras: a list where unrolled, stacked by scan where scanned.
    """
    if remat:
        block = nn.remat(block, prevent_cse=not scan_layers, policy=policy_of(remat))
    if scan_layers:
        rngs = {"params": True, "dropout": True}
        axes = {"params": 0}
        scanned = nn.scan(block, variable_axes=axes, split_rngs=rngs, in_axes=nn.broadcast, length=layers)
        return scanned(**fields, name=f"{name}s")(x_BLD, *shared)
    extras = []
    for index in range(layers):
        x_BLD, extra = block(**fields, name=f"{name}_{index}")(x_BLD, *shared)
        extras.append(extra)
    return x_BLD, extras
