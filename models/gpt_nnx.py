"""A decoder-only GPT in Flax nnx: `nnx.split` at setup, `nnx.merge` inside the step; unrolled, or scanned by hand.

Legend: B batch, L sequence (M the same, as keys), D model width, H heads, K width of one head, V vocabulary.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from models import training

INIT = nnx.initializers.normal(0.02)


class Attention(nnx.Module):
    """Causal multi-head self-attention with separate query, key and value projections `[D, H, K]`."""

    def __init__(self, d_model: int, heads: int, rngs: nnx.Rngs):
        head = (heads, d_model // heads)
        self.query_DHK = nnx.Param(INIT(rngs.params(), (d_model, *head)))
        self.key_DHK = nnx.Param(INIT(rngs.params(), (d_model, *head)))
        self.value_DHK = nnx.Param(INIT(rngs.params(), (d_model, *head)))
        self.out_HKD = nnx.Param(INIT(rngs.params(), (*head, d_model)))

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        length = x_BLD.shape[1]
        q_BLHK = jnp.einsum("bld,dhk->blhk", x_BLD, self.query_DHK[...])
        k_BMHK = jnp.einsum("bmd,dhk->bmhk", x_BLD, self.key_DHK[...])
        v_BMHK = jnp.einsum("bmd,dhk->bmhk", x_BLD, self.value_DHK[...])
        scores_BHLM = jnp.einsum("blhk,bmhk->bhlm", q_BLHK, k_BMHK) / q_BLHK.shape[-1] ** 0.5
        seen_LM = jnp.arange(length)[:, None] >= jnp.arange(length)[None]
        weights_BHLM = nnx.softmax(jnp.where(seen_LM[None, None], scores_BHLM, -1e30))
        mixed_BLHK = jnp.einsum("bhlm,bmhk->blhk", weights_BHLM, v_BMHK)
        return jnp.einsum("blhk,hkd->bld", mixed_BLHK, self.out_HKD[...])


class Block(nnx.Module):
    """One pre-norm layer: attention, then feed-forward, each with a residual."""

    def __init__(self, d_model: int, heads: int, rngs: nnx.Rngs):
        self.norm_1 = nnx.LayerNorm(d_model, use_fast_variance=False, rngs=rngs)
        self.attention = Attention(d_model, heads, rngs)
        self.norm_2 = nnx.LayerNorm(d_model, use_fast_variance=False, rngs=rngs)
        self.up = nnx.Linear(d_model, 4 * d_model, kernel_init=INIT, rngs=rngs)
        self.down = nnx.Linear(4 * d_model, d_model, kernel_init=INIT, rngs=rngs)

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Returns `[B, L, D]`."""
        x_BLD = x_BLD + self.attention(self.norm_1(x_BLD))
        return x_BLD + self.down(nnx.gelu(self.up(self.norm_2(x_BLD))))


class GPT(nnx.Module):
    """The network from tokens to logits; the layers are a list, or one block with stacked parameters."""

    def __init__(self, vocab: int, layers: int, d_model: int, heads: int, seq: int, scanned: bool, rngs: nnx.Rngs):
        self.embed = nnx.Embed(vocab, d_model, embedding_init=INIT, rngs=rngs)
        self.position_LD = nnx.Param(INIT(rngs.params(), (seq, d_model)))
        self.norm = nnx.LayerNorm(d_model, use_fast_variance=False, rngs=rngs)
        self.head = nnx.Linear(d_model, vocab, use_bias=False, kernel_init=INIT, rngs=rngs)
        self.scanned = scanned
        if scanned:
            init = nnx.vmap(lambda keys: Block(d_model, heads, keys))
            self.blocks = init(rngs.split(layers))
        else:
            self.blocks = nnx.List([Block(d_model, heads, rngs) for _ in range(layers)])

    def __call__(self, tokens_BL: jax.Array) -> jax.Array:
        """Returns the logits `[B, L, V]`."""
        x_BLD = self.embed(tokens_BL) + self.position_LD[...][None]
        return self.head(self.norm(self.scan(x_BLD) if self.scanned else self.unroll(x_BLD)))

    def unroll(self, x_BLD: jax.Array) -> jax.Array:
        """Applies the blocks of the list one after the other."""
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return x_BLD

    def scan(self, x_BLD: jax.Array) -> jax.Array:
        """Applies the stacked block once for each of its slices."""
        definition, stacked = nnx.split(self.blocks)
        return jax.lax.scan(lambda x_BLD, params: (nnx.merge(definition, params)(x_BLD), None), x_BLD, stacked)[0]


def tiny_nnx(
    *,
    vocab: int = 256,
    layers: int = 2,
    d_model: int = 64,
    heads: int = 8,
    seq: int = 32,
    batch: int = 8,
    scan_layers: bool = False,
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a two-layer GPT over bytes; `state.params` is an `nnx.State`."""

    def build(key):
        return GPT(vocab, layers, d_model, heads, seq, scan_layers, nnx.Rngs(key))

    definition = nnx.graphdef(nnx.eval_shape(lambda: build(jax.random.key(seed))))

    def loss_fn(params, batch):
        logits_BLV = nnx.merge(definition, params)(batch["inputs"])
        return training.cross_entropy(logits_BLV, batch["targets"]), {}

    return training.program(
        lambda key: nnx.state(build(key)),
        training.token_batch(batch, seq, vocab),
        loss_fn,
        training.adamw(),
        seed=seed,
    )


def tiny_nnx_scanned(*, batch: int = 8, seq: int = 32, layers: int = 4, scan_layers: bool = True, **options):
    """A four-layer GPT: parameters stacked by a vmapped initialiser, layers applied by `jax.lax.scan`."""
    return tiny_nnx(batch=batch, seq=seq, layers=layers, scan_layers=scan_layers, **options)
