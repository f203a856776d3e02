"""What XLA for CPU does that decides how much memory a program needs, where its versions differ.

The rest of `passes/` models what they have in common. Which version runs is known to `runtime/compiler.py` alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Xla:
    """The behaviour of a version.

    Attributes:
      name: the oldest jaxlib that does so.
      keeps_barriers: an optimization barrier holds until instructions are in order: nothing is fused across it. Else it
        is dropped first (openxla/xla: where `CpuCompiler` runs `OptimizationBarrierExpander`).
    """

    name: str
    keeps_barriers: bool
    results_first: bool
    inputs_in_place: bool


XLA_0_10 = Xla(name="0.10.2", keeps_barriers=False, results_first=False, inputs_in_place=False)
XLA_0_12 = Xla(name="0.12.0", keeps_barriers=True, results_first=True, inputs_in_place=True)
