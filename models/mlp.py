"""Multilayer perceptron classifiers: one in Flax linen, one in plain JAX with a dict of parameters.

Legend: B batch, D input width, F hidden width, C classes.
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from models import training


class MLP(nn.Module):
    """Two hidden layers with gelu.

    Attributes:
        d_ff: width F of the hidden layers.
        classes: number of classes C.
    """

    d_ff: int
    classes: int

    @nn.compact
    def __call__(self, x_BD: jax.Array) -> jax.Array:
        """Returns the logits `[B, C]`."""
        h_BF = nn.gelu(nn.Dense(self.d_ff)(x_BD))
        h_BF = nn.gelu(nn.Dense(self.d_ff)(h_BF))
        return nn.Dense(self.classes)(h_BF)


def tiny(*, batch: int = 16, d_model: int = 64, d_ff: int = 256, classes: int = 16, seed: int = 0):
    """Returns `(step, (state, batch))` of the linen MLP."""
    model = MLP(d_ff, classes)

    def loss_fn(params, batch):
        logits_BC = model.apply({"params": params}, batch["inputs"])
        accuracy = jnp.mean(jnp.argmax(logits_BC, axis=-1) == batch["labels"])
        return training.cross_entropy(logits_BC, batch["labels"]), {"accuracy": accuracy}

    return training.program(
        lambda key: model.init(key, jnp.zeros((1, d_model)))["params"],
        training.labelled_batch(batch, (d_model,), classes),
        loss_fn,
        training.adamw(),
        seed=seed,
    )


def tiny_plain(*, batch: int = 16, d_model: int = 64, d_ff: int = 256, classes: int = 16, seed: int = 0):
    """Returns `(step, (state, batch))` of an MLP in plain JAX: tanh and relu, no biases."""
    he_normal = jax.nn.initializers.he_normal()

    def init_params(key):
        keys = jax.random.split(key, 3)
        return {
            "in_DF": he_normal(keys[0], (d_model, d_ff)),
            "hidden_FF": he_normal(keys[1], (d_ff, d_ff)),
            "out_FC": he_normal(keys[2], (d_ff, classes)),
        }

    def loss_fn(params, batch):
        h_BF = jnp.tanh(batch["inputs"] @ params["in_DF"])
        h_BF = jax.nn.relu(h_BF @ params["hidden_FF"])
        logits_BC = h_BF @ params["out_FC"]
        return optax.softmax_cross_entropy_with_integer_labels(logits_BC, batch["labels"]).mean(), {}

    make_batch = training.labelled_batch(batch, (d_model,), classes)
    return training.program(init_params, make_batch, loss_fn, training.adamw(), seed=seed)
