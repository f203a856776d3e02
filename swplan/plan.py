"""Plan: what was decided, what it costs and why, as a value.

A plan is versioned JSON: it can be saved, compared and shown without JAX, devices or the program, and it is
byte-identical for
the same inputs. It never holds code. To run it, `api` pairs it with the traced step again and checks the fingerprint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from swplan._planfile import contradictions, format_of, write_whole
from swplan._planparts import (
    Alternative,
    Axis,
    Certificate,
    Collective,
    Memory,
    OpCost,
    PlannedPin,
    Precision,
    Recompute,
    Tensor,
    Trade,
)
from swplan.errors import PlanFileError, UsageError

FORMAT = 1


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A plan. See the module; units are SI, times are for one step on one device of the target.

    `fingerprint` is that of the program with its shapes, `structure` that of its ops and wiring alone: both of the
    program that runs, with its micro-batches and what it computes again.
    """

    format: int
    step: str
    fingerprint: str
    structure: str
    cluster: str
    devices: int
    step_time_s: float
    breakdown: dict[str, float]
    axes: tuple[Axis, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    exchanges: tuple[Collective, ...]
    ops: tuple[OpCost, ...]
    memory: Memory
    alternatives: tuple[Alternative, ...]
    certificate: Certificate
    precision: Precision
    notes: tuple[str, ...]
    options: tuple[tuple[int, ...], ...]
    choices: tuple[int, ...]
    micro_batches: int = 1
    recompute: Recompute = Recompute()
    found: tuple[Trade, ...] = ()
    pins: tuple[PlannedPin, ...] = ()

    @property
    def peak_memory_bytes(self) -> int:
        """Bytes that one device holds at the peak."""
        return self.memory.peak_bytes

    @property
    def mesh(self) -> dict[str, MeshAxis]:
        """Axis name -> its size (an int), with `.tiers`: the network tiers that it lies on."""
        return {axis.name: MeshAxis(axis.size, axis.tiers) for axis in self.axes}

    @property
    def shardings(self) -> Any:
        """The PartitionSpecs of inputs and outputs, in the trees of the step; by name if loaded from a file."""
        from swplan.runtime.shardings import shardings

        return shardings(self)

    def named_shardings(self, mesh: Any) -> Any:
        """The same as NamedShardings on a mesh of yours that has axes with the names of this plan's."""
        from swplan.runtime.shardings import named_shardings

        return named_shardings(self, mesh)

    def collectives(self) -> tuple[Collective, ...]:
        """Every exchange of a step, dearest first."""
        return self.exchanges

    def tensor(self, name: str) -> Tensor:
        """The input or result of this name.

        Raises:
          UsageError: there is none; lists near names.
        """
        for tensor in (*self.inputs, *self.outputs):
            if tensor.name == name:
                return tensor
        raise UsageError(_no_such(name, [t.name for t in (*self.inputs, *self.outputs)]))

    def explain(self, name: str, step: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Why something is as it is: readable text, which a notebook shows as HTML.

        Each decision comes with its runner-up, what that costs more, and what is in the way of cheaper choices. That
        asks the search again, so a plan from a file needs its step for it.

        Args:
          name: of an input or output, a primitive, a kind of collective, or part of a source line; or "mesh",
            "micro_batches", "recompute".
          step: the step of the plan; absent for a plan that was made here.
          *args: its arguments: arrays, or `jax.ShapeDtypeStruct`s.
          **kwargs: its keyword arguments.

        Raises:
          UsageError: nothing has this name; lists near names.
          PlanMismatchError: the step is another than that of the plan.
        """
        from swplan.views.explain import explain

        found = explain(self, name)
        if step is None and getattr(self, "program", None) is None:
            return found
        from swplan.runtime.explaining import explained

        return explained(found, self, step, args, kwargs)

    def frontier(self) -> Any:
        """Time against memory: the plans of which none takes less of both than another, fastest first.

        A plan that was made here solves its meshes and variants again within less and less memory, and counts finished
        programs; one from a file has the plans that its search met, as estimated.
        """
        from swplan.views.frontier import frontier

        if getattr(self, "program", None) is None:
            return frontier(self, self.found)
        from swplan.runtime.frontier import points

        return frontier(self, points(self))

    def to_json(self) -> bytes:
        """The plan as JSON: equal plans give equal bytes."""
        return msgspec.json.encode(self, order="deterministic")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the plan, whole or not at all."""
        write_whole(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Reads a plan file.

        Raises:
          PlanFileError: it does not exist, is not a plan, or was written in another format.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise PlanFileError(f"cannot read the plan file {os.fspath(path)!r}: {error.strerror or error}") from error
        return cls.from_json(data, where=os.fspath(path))

    @classmethod
    def from_json(cls, data: bytes, *, where: str = "plan") -> Plan:
        """A plan from its JSON.

        Raises:
          PlanFileError: it is not valid; says where.
        """
        found = format_of(data, where)
        if found != FORMAT:
            raise PlanFileError(
                f"{where}: written in plan format {found!r}, this swplan reads format {FORMAT}; make the plan again "
                "with this version"
            )
        try:
            plan = msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PlanFileError(f"{where}: not a valid plan: {error}") from error
        for wrong in contradictions(plan):
            raise PlanFileError(f"{where}: not a valid plan: {wrong}")
        return plan

    def __repr__(self) -> str:
        return f"<Plan of '{self.step}' for {self.cluster}: mesh {dict(self.mesh)}, {self.step_time_s:.4g} s a step>"

    def __str__(self) -> str:
        from swplan.views.text import plan_text

        return plan_text(self)

    def _repr_html_(self) -> str:
        from swplan.views.html import plan_html

        return plan_html(self)


class MeshAxis(int):
    """The size of a mesh axis, which also knows its network tiers."""

    tiers: tuple[str, ...]

    def __new__(cls, size: int, tiers: tuple[str, ...]) -> MeshAxis:
        """An int that carries the names of the tiers."""
        axis = super().__new__(cls, size)
        axis.tiers = tiers
        return axis


def _no_such(name: str, names: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, 5, 0.3) or names[:5]
    return f"the plan has no tensor {name!r}; near: {', '.join(near)}"


__all__ = [
    "FORMAT",
    "Alternative",
    "Axis",
    "Certificate",
    "Collective",
    "Memory",
    "MeshAxis",
    "OpCost",
    "Plan",
    "PlannedPin",
    "Precision",
    "Recompute",
    "Tensor",
    "Trade",
]
