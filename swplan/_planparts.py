"""The records that a Plan holds: `swplan.plan` offers them all."""

from __future__ import annotations

import msgspec


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh axis.

    `position` counts from the innermost on the network; `tiers` are those that an exchange along it crosses.
    """

    name: str
    size: int
    position: int
    tiers: tuple[str, ...]


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or a result: `spec` names, for each dim, the axes that split it, major first."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    spec: tuple[tuple[str, ...], ...]
    bytes: int
    device_bytes: int
    replaces: str = ""


class Collective(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange.

    `bytes` is the local buffer of one run (the larger of input and output), `count` runs a step, `time_s` is of all
    runs.
    """

    kind: str
    axes: tuple[str, ...]
    group_size: int
    dtype: str
    bytes: int
    count: int
    algorithm: str
    time_s: float
    stage: str
    tensor: str
    source: str
    why: str


class OpCost(msgspec.Struct, frozen=True, kw_only=True):
    """All ops of one primitive at one source line that are split alike.

    `time_s` of all runs; `binding` is the resource that limits it.
    """

    primitive: str
    source: str
    stage: str
    split: str
    count: int
    flops: float
    bytes: float
    time_s: float
    binding: str


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one device: at its peak, in bytes, by role; where the peak is; the largest values alive there."""

    peak_bytes: int
    capacity_bytes: int
    by_role: dict[str, int]
    peak_op: str
    peak_source: str
    largest: tuple[tuple[str, int], ...]


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """Another plan. `excluded` says what rules it out ("" if it is merely slower); None where no such plan is legal.

    `breakdown` is as that of the plan, to say where another plan loses; empty if it was not priced cause by cause.
    """

    name: str
    mesh: tuple[tuple[str, int], ...]
    step_time_s: float | None
    peak_memory_bytes: int | None
    excluded: str
    breakdown: dict[str, float] = {}


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """How good the answer is: the search's cost, a proven lower bound for it, and how the two were found.

    The bound holds for the meshes in `meshes` and the folded graph of `decisions` distinct decisions.
    """

    cost_s: float
    bound_s: float
    method: str
    meshes: int
    decisions: int
    decisions_unfolded: int

    @property
    def gap(self) -> float:
        """(cost - bound) / cost; 0 is optimal."""
        return max(0.0, (self.cost_s - self.bound_s) / self.cost_s) if self.cost_s > 0 else 0.0


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """The precision in which each class of ops runs, that of layers which differ ("dense in Llama/head"), and why."""

    policy: str
    classes: dict[str, str]
    loss_scaling: bool
    why: str
    layers: dict[str, str] = {}


class Recompute(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the forward pass that the backward pass computes again (as the traced program numbers them)."""

    what: str = "nothing"
    values: tuple[int, ...] = ()


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """Time against memory: a plan that was found on the way, on which mesh, and what it does to save memory."""

    step_time_s: float
    peak_memory_bytes: int
    mesh: tuple[int, ...]
    micro_batches: int
    recompute: str


class PlannedPin(msgspec.Struct, frozen=True, kw_only=True):
    """A layout that the user asked for: of which tensor, in the user's names, and what it costs.

    `spec` has an entry for each dim: names, () where it is not split, None where it was left open. `axes` says which
    mesh axes each name stands for, `source` is the line of the program or the name in a partial plan. `price_s` is
    the step time less that of the best plan on the same mesh without this pin, others in place; 0 if it costs nothing.
    """

    tensor: str
    spec: tuple[tuple[str, ...] | None, ...]
    axes: tuple[tuple[str, tuple[str, ...]], ...]
    source: str
    price_s: float
