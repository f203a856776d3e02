"""What every program in `models/` shares: the training state, the step around a loss, losses and optimizers.

Not for model code: each model file holds its own. Everything computes in the dtype of its inputs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

Tree = Any

# The set-up runs once: optimising it would cost more than it could win.
FAST_COMPILE = {"xla_backend_optimization_level": 0}


@struct.dataclass
class TrainState:
    """All that one training step hands to the next.

    Attributes:
        params: the parameters, a tree of fp32 arrays.
        opt_state: the state of the optax optimizer.
        step: number of steps taken, int32 scalar.
        key: PRNG key from which each step folds its own; None where the model draws no random numbers.
    """

    params: Tree
    opt_state: Tree
    step: jax.Array
    key: jax.Array | None = None


def make_step(loss_fn: Callable, optimizer: optax.GradientTransformation, dtype: str = "float32") -> Callable:
    """Returns `step(state, batch) -> (state, aux)`, one update of the parameters.

    Args:
        loss_fn: `loss_fn(params, batch) -> (loss, aux)`; `loss_fn(params, batch, key)` where the state has a key.
        optimizer: the optax optimizer whose state is in `state.opt_state`.
        dtype: in which the network computes: the parameters are cast to it once, fp32 stays the master copy.
    """
    if dtype != "float32":
        loss_fn = in_dtype(loss_fn, dtype)

    def step(state: TrainState, batch: Tree) -> tuple[TrainState, dict]:
        keys = () if state.key is None else (jax.random.fold_in(state.key, state.step),)
        (loss, aux), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch, *keys)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(params=params, opt_state=opt_state, step=state.step + 1), {"loss": loss, **aux}

    return step


def in_dtype(loss_fn: Callable, dtype: str) -> Callable:
    """Returns `loss_fn` of parameters cast to a dtype."""

    def cast_loss_fn(params: Tree, *args: Any) -> Any:
        return loss_fn(jax.tree.map(lambda leaf: leaf.astype(dtype), params), *args)

    return cast_loss_fn


def abstract(fn: Callable[[], Tree]) -> Tree:
    """Returns the shapes and dtypes of `fn()` as `jax.ShapeDtypeStruct`; computes and allocates nothing."""
    return jax.eval_shape(fn)


def program(
    init_params: Callable,
    make_batch: Callable,
    loss_fn: Callable,
    optimizer: optax.GradientTransformation,
    *,
    seed: int = 0,
    stochastic: bool = False,
    only_shapes: bool = False,
    dtype: str = "float32",
) -> tuple[Callable, tuple[TrainState, Tree]]:
    """Returns `(step, (state, batch))` of a model.

    Args:
        init_params: `init_params(key) -> params`.
        make_batch: `make_batch(key) -> batch`.
        loss_fn: see `make_step`.
        optimizer: an optax optimizer.
        seed: of the parameters and of the batch.
        stochastic: put a PRNG key into the state; the loss then takes a key.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        dtype: see `make_step`.
    """

    def setup(key: jax.Array) -> tuple[TrainState, Tree]:
        params_key, batch_key, step_key = jax.random.split(key, 3)
        params = init_params(params_key)
        step = jnp.zeros((), jnp.int32)
        state = TrainState(params, optimizer.init(params), step, step_key if stochastic else None)
        return state, make_batch(batch_key)

    step = make_step(loss_fn, optimizer, dtype)
    if only_shapes:
        return step, abstract(lambda: setup(jax.random.key(seed)))
    return step, jax.jit(setup, compiler_options=FAST_COMPILE)(jax.random.key(seed))


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the mean of `logsumexp(logits) - logits[label]` over all labels, in nats.

    The logit of the label is taken by a one-hot product, which has no index into the class dim.

    Args:
        logits: `[..., V]` unnormalised log probabilities.
        labels: `[...]` integers in `[0, V)`.
    """
    logits = logits.astype(jnp.float32)
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.sum(one_hot * logits, axis=-1))


def token_batch(batch: int, seq: int, vocab: int) -> Callable:
    """Returns `make_batch(key)` for a language model: `inputs` and `targets`, random int32 `[batch, seq]`."""

    def make_batch(key: jax.Array) -> dict:
        inputs_key, targets_key = jax.random.split(key)
        return {
            "inputs": jax.random.randint(inputs_key, (batch, seq), 0, vocab),
            "targets": jax.random.randint(targets_key, (batch, seq), 0, vocab),
        }

    return make_batch


def labelled_batch(batch: int, shape: tuple[int, ...], classes: int) -> Callable:
    """Returns `make_batch(key)` for a classifier: `inputs` fp32 `[batch, *shape]`, `labels` int32 `[batch]`."""

    def make_batch(key: jax.Array) -> dict:
        inputs_key, labels_key = jax.random.split(key)
        return {
            "inputs": jax.random.normal(inputs_key, (batch, *shape)),
            "labels": jax.random.randint(labels_key, (batch,), 0, classes),
        }

    return make_batch


def adamw(*, learning_rate: float = 3e-3, eps: float = 1e-3, weight_decay: float = 0.01):
    """Returns AdamW with a constant learning rate.

    The default eps is large on purpose: where a gradient is nearly zero, Adam with eps = 1e-8 turns the rounding
    noise of a sum into a step of full size, and two correct runs that sum in different orders would part.
    """
    return optax.adamw(learning_rate, eps=eps, weight_decay=weight_decay)


def clipped_adamw(*, learning_rate: float = 3e-3, warmup: int = 2, steps: int = 1000, eps: float = 1e-3):
    """Returns AdamW after clipping by the global norm 1, with linear warm-up and a cosine decay over `steps`."""
    schedule = optax.warmup_cosine_decay_schedule(learning_rate / 10, learning_rate, warmup, steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, eps=eps, weight_decay=0.01))
