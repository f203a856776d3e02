"""A mixed-precision optimizer on its own: what training holds and moves for a given number of parameters.

One matrix stands for all parameters of a device. Beside them the optimizer keeps a master copy, two moments and the
accumulated gradient, four words a parameter, as BaGuaLu's does (Ma et al., PPoPP 2022, section 4.2: 16 bytes).

Legend: R rows, D columns of the matrix.
"""

import jax
import jax.numpy as jnp

WIDTH = 4096


def adam(*, parameters: int = 1 << 24, batch: int = 128, learning_rate: float = 1e-3):
    """Returns `(step, (state, batch))`: one product, its gradient, and Adam on a master copy. Shapes only.

    Args:
        parameters: of the matrix, rounded down to full rows of 4,096.
        batch: rows of the input; a token for each would do, so that the optimizer is all that counts.
        learning_rate: of Adam.
    """
    rows = parameters // WIDTH
    shape = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32)
    state = {name: shape for name in ("weights", "master", "mean", "square", "gradient")}

    def loss(weights_RD: jax.Array, x_BR: jax.Array) -> jax.Array:
        return jnp.mean((x_BR @ weights_RD) ** 2)

    def step(state: dict, batch: dict) -> tuple[dict, jax.Array]:
        value, new_RD = jax.value_and_grad(loss)(state["weights"], batch["inputs"])
        mean_RD = 0.9 * state["mean"] + 0.1 * new_RD
        square_RD = 0.999 * state["square"] + 0.001 * new_RD**2
        master_RD = state["master"] - learning_rate * mean_RD / (jnp.sqrt(square_RD) + 1e-8)
        gradient_RD = 0.0 * state["gradient"] + new_RD
        updated = {"weights": master_RD + 0.0 * state["weights"], "master": master_RD}
        return updated | {"mean": mean_RD, "square": square_RD, "gradient": gradient_RD}, value

    return step, (state, {"inputs": jax.ShapeDtypeStruct((batch, rows), jnp.float32)})
