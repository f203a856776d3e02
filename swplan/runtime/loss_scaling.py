"""Dynamic loss scaling for fp16: where the loss is, and the step that scales it.

fp16 gradients underflow, so the loss is multiplied by a scale before the backward pass and the gradients divided by it
after. A step whose gradients are not finite is skipped and the scale halved; after `GROWTH` good steps it doubles
(Micikevicius et al., Mixed Precision Training, ICLR 2018, arXiv 1710.03740, section 3.2). The step has to say where its
loss is: `swplan.value_and_grad` in place of `jax.value_and_grad`, which does nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from swplan.errors import TraceError

START = 2.0**15
GROWTH = 2000
LARGEST = 2.0**24


@dataclass(slots=True)
class Scaling:
    """What happens to losses while a step is traced: the scale (None: only count), and the gradients that were seen."""

    scale: Any = None
    losses: int = 0
    gradients: list[Any] = field(default_factory=list)


_ACTIVE: ContextVar[Scaling | None] = ContextVar("swplan_loss_scaling", default=None)


def value_and_grad(
    fun: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False, **options: Any
) -> Callable[..., Any]:
    """`jax.value_and_grad`, and a mark where the loss is, so that swplan may scale it for fp16.

    Args:
      fun: the loss, as for `jax.value_and_grad`.
      argnums: what it is differentiated by.
      has_aux: whether it returns (loss, anything else).
      **options: the others of `jax.value_and_grad`.
    """
    plain = jax.value_and_grad(fun, argnums, has_aux, **options)

    @functools.wraps(fun)
    def marked(*args: Any, **kwargs: Any) -> Any:
        scaling = _ACTIVE.get()
        if scaling is None:
            return plain(*args, **kwargs)
        scaling.losses += 1
        if scaling.scale is None:
            return plain(*args, **kwargs)
        return _scaled_value_and_grad(fun, argnums, has_aux, options, scaling)(*args, **kwargs)

    return marked


def _scaled_value_and_grad(fun: Callable, argnums: Any, has_aux: bool, options: Mapping, scaling: Scaling) -> Callable:
    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = fun(*args, **kwargs)
        loss, aux = out if has_aux else (out, None)
        return loss * scaling.scale.astype(loss.dtype), (loss, aux)

    def run(*args: Any, **kwargs: Any) -> Any:
        (_, (loss, aux)), grads = jax.value_and_grad(scaled, argnums, has_aux=True, **options)(*args, **kwargs)
        grads = jax.tree.map(lambda g: g * (1.0 / scaling.scale).astype(g.dtype), grads)
        scaling.gradients += jax.tree.leaves(grads)
        return ((loss, aux) if has_aux else loss), grads

    return run


@contextmanager
def scaling_of_losses(scaling: Scaling) -> Iterator[Scaling]:
    """While active, `swplan.value_and_grad` reports to this Scaling."""
    token = _ACTIVE.set(scaling)
    try:
        yield scaling
    finally:
        _ACTIVE.reset(token)


def initial_state() -> dict[str, jax.Array]:
    """The state of the scaling before the first step."""
    return {"scale": jnp.float32(START), "good_steps": jnp.int32(0)}


def scaled_step(step: Callable, aliases: Mapping[int, int]) -> Callable[..., Any]:
    """The step with its loss scaled: (scaling state, *args) -> (scaling state, what the step returns).

    Args:
      step: a step with exactly one marked loss.
      aliases: flat output position -> flat input position that it replaces: kept as it was when gradients overflow.
    """

    def run(state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        with scaling_of_losses(Scaling(scale=state["scale"])) as scaling:
            out = step(*args, **kwargs)
        if not scaling.gradients:
            raise TraceError(
                "the loss of this step could not be scaled: the function that takes its gradient was traced before,\n"
                "  inside a jax.jit of its own; remove that jax.jit, or choose precision='bf16'"
            )
        finite = _all_finite(scaling.gradients)
        old = jax.tree.leaves((args, kwargs))
        new, tree = jax.tree.flatten(out)
        kept = [_choose(finite, x, old[aliases[i]]) if i in aliases else x for i, x in enumerate(new)]
        return _next_state(state, finite), jax.tree.unflatten(tree, kept)

    run.__name__ = getattr(step, "__name__", "step")
    return run


def _choose(finite: Any, new: Any, old: Any) -> Any:
    return new if new is old else jnp.where(finite, new, old)


def _all_finite(gradients: Sequence[Any]) -> Any:
    """Whether no element overflowed. A sum of x - x is zero exactly then, and sums of parts are cheap to join."""
    return sum(jnp.sum((g - g).astype(jnp.float32)) for g in gradients) == 0


def _next_state(state: Mapping[str, Any], finite: Any) -> dict[str, Any]:
    good = jnp.where(finite, state["good_steps"] + 1, 0)
    grown = jnp.minimum(state["scale"] * 2, LARGEST)
    scale = jnp.where(finite, jnp.where(good >= GROWTH, grown, state["scale"]), jnp.maximum(state["scale"] / 2, 1.0))
    return {"scale": scale, "good_steps": jnp.where(good >= GROWTH, 0, good)}
