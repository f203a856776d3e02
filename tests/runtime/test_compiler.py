"""The XLA that is modelled is the one that compiles."""

import jax
import jax.numpy as jnp
from jax import lax

from swplan.runtime.compiler import xla


def test_barriers_hold_where_the_model_says_so():
    """What is before a barrier and what is after it are two kernels, or one."""
    step = jax.jit(lambda x, y: lax.optimization_barrier(jnp.tanh(x)) * y)
    square = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    text = step.lower(square, square).compile().as_text()
    kernels = text[text.index("\nENTRY") :].count(" fusion(")
    assert kernels == (2 if xla().keeps_barriers else 1)
