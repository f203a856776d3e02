"""What XLA for CPU does that decides how much memory a program needs, where its versions differ.

The rest of `passes/` models what they have in common. Which version runs is known to `runtime/compiler.py` alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Xla:
    """The behaviour of a version, as far as it is modelled.

    Barriers are what changed. Where they hold, values die in between, and it matters what is written over an input that
    is no longer read.

    Attributes:
      keeps_barriers: an optimization barrier holds until instructions are in order: nothing is fused across it. Else it
        is dropped before fusion (openxla/xla: when `CpuCompiler` runs `OptimizationBarrierExpander`).
      inputs_in_place: the last reader of a donated input may write what it makes over it.
    """

    keeps_barriers: bool
    inputs_in_place: bool


XLA_0_10 = Xla(keeps_barriers=False, inputs_in_place=False)
XLA_0_11 = Xla(keeps_barriers=True, inputs_in_place=True)
