"""A step with its arguments, traced once, and the exact program that a precision makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from swplan.plan import Precision
from swplan.runtime.loss_scaling import Scaling, initial_state, scaled_step, scaling_of_losses
from swplan.runtime.precise import applied
from swplan.runtime.trace import Program, Statics, trace

HIDDEN = 2
"""Leaves of the state of loss scaling, which comes before the arguments of a scaled step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A traced step.

    Attributes:
      step, args, kwargs, statics: what was traced.
      program: the step as written.
      losses: how many losses it marks with `swplan.value_and_grad`.
    """

    step: Callable
    args: tuple
    kwargs: Mapping[str, Any]
    statics: Statics
    program: Program
    losses: int

    @property
    def scalable(self) -> str:
        """Why its loss cannot be scaled safely; "" if it can."""
        if self.losses != 1:
            unmarked = "it does not say where its loss is: use swplan.value_and_grad"
            return "it has several losses" if self.losses else unmarked
        return (
            "" if self.program.graph.aliases else "it returns no updated state that an overflow could leave as it was"
        )

    def exact(self, precision: Precision) -> Program:
        """The program that runs in this precision."""
        return applied(precision, self._scaled() if precision.loss_scaling else self.program)

    def _scaled(self) -> Program:
        aliases = self.program.graph.aliases
        moved = {HIDDEN + out: HIDDEN + position for out, position in aliases.items()} | {i: i for i in range(HIDDEN)}
        statics = Statics(argnums=tuple(i + 1 for i in self.statics.argnums if i >= 0), argnames=self.statics.argnames)
        state = jax.eval_shape(initial_state)
        return trace(scaled_step(self.step, aliases), (state, *self.args), self.kwargs, statics=statics, aliases=moved)


def prepare(
    step: Callable, args: Sequence[Any], kwargs: Mapping[str, Any], statics: Statics, donate: bool | None = None
) -> Prepared:
    """Traces a step.

    Raises:
      TraceError, UnsupportedOpError: as `trace`.
    """
    with scaling_of_losses(Scaling()) as scaling:
        program = trace(step, args, kwargs, statics=statics, donate=donate)
    return Prepared(
        step=step, args=tuple(args), kwargs=dict(kwargs), statics=statics, program=program, losses=scaling.losses
    )
