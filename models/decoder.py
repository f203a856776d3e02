"""Parts in Flax linen that the decoders of the Llama family share, dense or with experts; no biases by default.

RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467), rotary positions (Su et al. 2021, arXiv:2104.09864), SwiGLU
(Shazeer 2020, arXiv:2002.05202), grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245) and latent attention
(DeepSeek-AI 2024, arXiv:2405.04434). Grouped queries keep groups and their repeats as two dims, so that keys and values
are never repeated in memory.

Legend: B batch, L sequence (M the same, as keys), D model width, G groups (heads of keys and values), R query heads of
a group, H heads, K width of one head (of its values V), J = K / 2 rotated pairs, F feed-forward width; the latent
widths Q of queries, C of keys and values.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.transformer import INIT


def norm(*, name: str) -> nn.RMSNorm:
    """Returns an RMS norm over the last dim."""
    return nn.RMSNorm(epsilon=1e-5, name=name)


def dense(features: int | tuple[int, ...], *, name: str, axis: tuple[int, ...] = (-1,), bias: bool = False):
    """Returns a projection of the dims `axis` to `features`, which may be several dims."""
    return nn.DenseGeneral(features, axis=axis, use_bias=bias, kernel_init=INIT, name=name)


def rotate(x: jax.Array, position_L: jax.Array, theta: float) -> jax.Array:
    """Rotates pair j of every head by the angle `position * theta ** (-j / J)`; scores then depend on distances only.

    Pair j is made of elements j and J + j, as in the published weights of Llama on Hugging Face. Angles are fp32 in any
    case: a lower dtype could not tell distant positions apart.

    Args:
        x: `[B, L, ..., K]` queries or keys.
        position_L: `[L]` positions.
        theta: base of the wavelengths.
    """
    pairs = x.shape[-1] // 2
    frequency_J = theta ** (-jnp.arange(pairs, dtype=jnp.float32) / pairs)
    angle_LJ = position_L.astype(jnp.float32)[:, None] * frequency_J[None]
    angle = jnp.expand_dims(angle_LJ, (0, *range(2, x.ndim - 1)))
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def causal_softmax(scores: jax.Array, position_L: jax.Array, window: int | None = None) -> jax.Array:
    """Returns the weights of the keys that a query sees: itself and those before it.

    Args:
        scores: `[..., L, M]`.
        position_L: `[L]` positions of queries and keys.
        window: see only so many of the last keys, itself included; all of them if None.
    """
    distance_LM = position_L[:, None] - position_L[None, :]
    seen_LM = distance_LM >= 0
    if window is not None:
        seen_LM &= distance_LM < window
    return nn.softmax(jnp.where(jnp.expand_dims(seen_LM, tuple(range(scores.ndim - 2))), scores, -1e30))


class GroupedAttention(nn.Module):
    """Causal self-attention in which `repeats` query heads share one head of keys and values.

    Attributes:
        kv_heads: heads of keys and values G.
        repeats: query heads of each R.
        head_dim: width of a head K.
        theta: base of the rotary wavelengths.
        qk_norm: normalise every head of queries and keys before rotating it, as Qwen3 does.
        bias: of all four projections, as in GPT-OSS.
        window: see `causal_softmax`.
    """

    kv_heads: int
    repeats: int
    head_dim: int
    theta: float
    qk_norm: bool = False
    bias: bool = False
    window: int | None = None

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        length, width = x_BLD.shape[1:]
        position_L = jnp.arange(length)
        group = (self.kv_heads, self.head_dim)
        q_BLGRK = dense((self.kv_heads, self.repeats, self.head_dim), bias=self.bias, name="query")(x_BLD)
        k_BMGK = dense(group, bias=self.bias, name="key")(x_BLD)
        v_BMGK = dense(group, bias=self.bias, name="value")(x_BLD)
        if self.qk_norm:
            q_BLGRK, k_BMGK = norm(name="query_norm")(q_BLGRK), norm(name="key_norm")(k_BMGK)
        q_BLGRK = rotate(q_BLGRK, position_L, self.theta) * self.head_dim**-0.5
        k_BMGK = rotate(k_BMGK, position_L, self.theta)
        scores_BGRLM = jnp.einsum("blgrk,bmgk->bgrlm", q_BLGRK, k_BMGK)
        weights_BGRLM = causal_softmax(scores_BGRLM, position_L, self.window)
        mixed_BLGRK = jnp.einsum("bgrlm,bmgk->blgrk", weights_BGRLM, v_BMGK)
        return dense(width, axis=(-3, -2, -1), bias=self.bias, name="out")(mixed_BLGRK)


class LatentAttention(nn.Module):
    """Causal self-attention whose queries, keys and values come from narrow latents, as in DeepSeek-V2 and V3.

    A head of queries or keys has a part without positions and a rotated part, which for keys is one for all heads. The
    projections stay apart, as in training; they are not merged as decoding with a cache would.

    Attributes:
        heads: number of heads H.
        q_rank: width Q of the latent of queries.
        kv_rank: width C of the latent of keys and values.
        nope_dim: width of the part of a head without positions.
        rope_dim: width of the rotated part.
        v_dim: width V of a head of values.
        theta: base of the rotary wavelengths.
    """

    heads: int
    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    theta: float

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        batch, length, width = x_BLD.shape
        position_L = jnp.arange(length)
        latent_BLQ = norm(name="query_norm")(dense(self.q_rank, name="query_latent")(x_BLD))
        latent_BMC = norm(name="key_value_norm")(dense(self.kv_rank, name="key_value_latent")(x_BLD))
        plain_BLHK = dense((self.heads, self.nope_dim), name="query")(latent_BLQ)
        turned_BLHK = rotate(dense((self.heads, self.rope_dim), name="query_rope")(latent_BLQ), position_L, self.theta)
        q_BLHK = jnp.concatenate([plain_BLHK, turned_BLHK], axis=-1) * (self.nope_dim + self.rope_dim) ** -0.5
        plain_BMHK = dense((self.heads, self.nope_dim), name="key")(latent_BMC)
        turned_BMK = rotate(dense(self.rope_dim, name="key_rope")(x_BLD), position_L, self.theta)
        # Repeated for the heads, because two products of scores would take more memory than one of wider keys.
        turned_BMHK = jnp.broadcast_to(turned_BMK[:, :, None], (batch, length, self.heads, self.rope_dim))
        k_BMHK = jnp.concatenate([plain_BMHK, turned_BMHK], axis=-1)
        v_BMHV = dense((self.heads, self.v_dim), name="value")(latent_BMC)
        weights_BHLM = causal_softmax(jnp.einsum("blhk,bmhk->bhlm", q_BLHK, k_BMHK), position_L)
        mixed_BLHV = jnp.einsum("bhlm,bmhv->blhv", weights_BHLM, v_BMHV)
        return dense(width, axis=(-2, -1), name="out")(mixed_BLHV)


class SwiGLU(nn.Module):
    """A feed-forward of three matrices: `down(silu(gate(x)) * up(x))`.

    Attributes:
        d_ff: width F of the hidden layer.
    """

    d_ff: int

    @nn.compact
    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        gate_BLF = nn.silu(dense(self.d_ff, name="gate")(x_BLD))
        return dense(x_BLD.shape[-1], name="down")(gate_BLF * dense(self.d_ff, name="up")(x_BLD))
