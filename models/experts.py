"""A routed layer of experts (mixture of experts) in Flax linen.

Tokens are routed within groups, each expert taking at most `capacity` tokens of a group (GShard, Lepikhin et al. 2020,
arXiv:2006.16668); top-1 routing and the balance loss are those of the Switch Transformer (Fedus et al. 2021,
arXiv:2101.03961), the loss group by group as in GShard's Algorithm 1 and, with a sequence as the group, in DeepSeek-V3
(DeepSeek-AI 2024, arXiv:2412.19437, equations 17 to 20): no token depends on another group. Dispatch is by integer
tables, not by one-hot products: a token's slot is `expert * capacity + position`, a table of the inverse tells each
slot its token, and both directions are gathers that are batched over the groups.

Legend: G groups, S tokens of a group, D model width, E experts, C capacity, F expert width, K choices of a token,
T = K * S choices of a group, N = E * C slots of a group; R rows and I indices of any number.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.transformer import INIT

EXPERT_INIT = nn.initializers.lecun_normal(batch_axis=0)


def capacity(tokens: int, experts: int, choices: int, factor: float) -> int:
    """Returns the slots of one expert for one group: `max(1, ceil(factor * choices * tokens / experts))`."""
    return max(1, math.ceil(factor * choices * tokens / experts))


def slots(expert_GT: jax.Array, experts: int, capacity: int) -> tuple[jax.Array, jax.Array]:
    """Gives every choice the next free slot of its expert, in the order of T.

    Args:
        expert_GT: `[G, T]` int32, the chosen expert.
        experts: number of experts E.
        capacity: slots C of each expert.

    Returns:
        The slot of every choice, `[G, T]` int32, E * C where the expert was full; and the choices that each expert
        received before dropping, `[G, E]` int32.
    """
    chosen_GTE = jax.nn.one_hot(expert_GT, experts, dtype=jnp.int32)
    rank_GTE = jnp.cumsum(chosen_GTE, axis=1)
    position_GT = jnp.take_along_axis(rank_GTE, expert_GT[:, :, None], axis=-1)[:, :, 0] - 1
    slot_GT = jnp.where(position_GT < capacity, expert_GT * capacity + position_GT, experts * capacity)
    return slot_GT, rank_GTE[:, -1]


def take(rows_GRD: jax.Array, index_GI: jax.Array) -> jax.Array:
    """Returns the rows `[G, I, D]` that the indices name, group by group; zeros for an index beyond the last row."""

    def take_one(rows_RD, index_I):
        return rows_RD.at[index_I].get(mode="fill", fill_value=0, wrap_negative_indices=False)

    return jax.vmap(take_one)(rows_GRD, index_GI)


def inverse(slot_GT: jax.Array, slots: int, tokens: int) -> jax.Array:
    """Returns the token in every slot, `[G, N]` int32; `tokens` where the slot is empty."""

    def inverse_one(slot_T):
        token_T = jnp.arange(slot_T.shape[0], dtype=jnp.int32) % tokens
        empty_N = jnp.full(slots, tokens, jnp.int32)
        return empty_N.at[slot_T].set(token_T, mode="drop", wrap_negative_indices=False)

    return jax.vmap(inverse_one)(slot_GT)


class Experts(nn.Module):
    """A routed layer of experts, each of two matrices with gelu between them, or gated as SwiGLU with a third.

    Attributes:
        experts: number of experts E.
        d_ff: width F of an expert.
        choices: experts of a token K; the gates of several are scaled to sum to one.
        capacity_factor: slots over choices; a choice beyond an expert's capacity is dropped and contributes zero.
        gated: `down(silu(gate(x)) * up(x))` in place of `down(gelu(up(x)))`.
    """

    experts: int
    d_ff: int
    choices: int
    capacity_factor: float
    gated: bool = False

    @nn.compact
    def __call__(self, x_GSD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns `[G, S, D]` and the balance loss, a scalar: the mean over groups."""
        groups, tokens, width = x_GSD.shape
        room = capacity(tokens, self.experts, self.choices, self.capacity_factor)
        gate_GT, expert_GT, probs_GSE = self.route(x_GSD)
        slot_GT, load_GE = slots(expert_GT, self.experts, room)
        token_GN = inverse(slot_GT, self.experts * room, tokens)
        x_GECD = take(x_GSD, token_GN).reshape(groups, self.experts, room, width)
        y_GND = self.feed_forward(x_GECD).reshape(groups, self.experts * room, width)
        y_GTD = take(y_GND, slot_GT) * gate_GT[:, :, None]
        y_GSD = y_GTD.reshape(groups, self.choices, tokens, width).sum(axis=1)
        share_GE = load_GE / (self.choices * tokens)
        balance_G = self.experts * jnp.sum(share_GE * jnp.mean(probs_GSE, axis=1), axis=-1)
        return y_GSD, jnp.mean(balance_G)

    def route(self, x_GSD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns gate and expert of every choice, `[G, T]`, all first choices first; and `probs_GSE`."""
        router_DE = self.param("router", INIT, (x_GSD.shape[-1], self.experts))
        probs_GSE = nn.softmax(jnp.einsum("gsd,de->gse", x_GSD, router_DE))
        gate_GSK, expert_GSK = jax.lax.top_k(probs_GSE, self.choices)
        if self.choices > 1:
            gate_GSK = gate_GSK / jnp.sum(gate_GSK, axis=-1, keepdims=True)
        flat = (x_GSD.shape[0], self.choices * x_GSD.shape[1])
        return gate_GSK.swapaxes(1, 2).reshape(flat), expert_GSK.swapaxes(1, 2).reshape(flat), probs_GSE

    def feed_forward(self, x_GECD: jax.Array) -> jax.Array:
        """Returns what every expert makes of its slots, `[G, E, C, D]`."""
        width = x_GECD.shape[-1]
        up_EDF = self.param("up", EXPERT_INIT, (self.experts, width, self.d_ff))
        down_EFD = self.param("down", EXPERT_INIT, (self.experts, self.d_ff, width))
        h_GECF = jnp.einsum("gecd,edf->gecf", x_GECD, up_EDF)
        if self.gated:
            gate_EDF = self.param("gate", EXPERT_INIT, (self.experts, width, self.d_ff))
            h_GECF = nn.silu(jnp.einsum("gecd,edf->gecf", x_GECD, gate_EDF)) * h_GECF
        else:
            h_GECF = nn.gelu(h_GECF)
        return jnp.einsum("gecf,efd->gecd", h_GECF, down_EFD)
