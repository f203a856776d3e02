"""Partial plans and pins: what a user fixed, as pins of the program before the search, with their prices after it.

A pin is priced by what the same mesh would cost without it, every other pin in place.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from swplan.costmodel.network import Placement
from swplan.errors import PinError, UsageError
from swplan.ir.graph import Graph
from swplan.ir.pin import Pin
from swplan.plan import Plan, PlannedPin
from swplan.runtime import describe
from swplan.runtime.alternatives import costs_of
from swplan.runtime.pinning import checked_spec
from swplan.search.exploring import Explored
from swplan.search.pinning import Names, Pinned, checked, pinned
from swplan.search.planner import find
from swplan.search.subject import Candidate, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What holds a search: pins, and the mesh of another plan.

    Attributes:
      like: whose mesh and inputs are taken over.
      fixed: axes that names stand for: those of that plan.
      sized: whether meshes in sharding constraints give sizes.
      any: whether there is any pin.
      remark: what is to be said of them.
    """

    like: Plan | None
    fixed: Names
    sized: bool
    any: bool
    remark: str

    @property
    def is_held(self) -> bool:
        """Whether the search may not take just any plan."""
        return self.any or self.like is not None

    def of(self, prepared: Subject) -> Pinned | None:
        """The pins of a variant of the program."""
        return pinned(prepared, self.fixed, self.sized) if self.any else None

    def meshes(self, prepared: Subject) -> list[Placement] | None:
        """The only meshes that are searched; None for all."""
        return None if self.like is None else [_placement(self.like, prepared)]


def hold(prepared: Subject, like: Plan | None) -> Hold:
    """What the pins of a program mean on a cluster.

    Raises:
      PinError: no mesh can satisfy them.
    """
    fixed = {axis.name: (position,) for position, axis in enumerate(like.axes)} if like is not None else {}
    found = pinned(prepared, fixed)
    free = Hold(like=like, fixed=fixed, sized=True, any=bool(found.nodes), remark="")
    settled, remark = checked(found, prepared, free.meshes(prepared))
    return replace(free, sized=settled.sized, remark=remark)


def _placement(like: Plan, prepared: Subject) -> Placement:
    if like.devices != prepared.cluster.devices:
        raise UsageError(
            f"like=: that plan is for {like.devices} devices, {prepared.cluster.spec} has {prepared.cluster.devices}"
        )
    order = tuple(sorted(range(len(like.axes)), key=lambda axis: like.axes[axis].position))
    return Placement(cluster=prepared.cluster, sizes=tuple(axis.size for axis in like.axes), order=order)


def with_named(graph: Graph, pins: Mapping[str, Any], like: Plan | None) -> Graph:
    """The program with pins of the inputs and results that a partial plan names.

    Raises:
      PinError: a name that the program does not have, or a spec that does not fit.
    """
    found: dict[tuple[str, int], Pin] = {}
    for tensor in like.inputs if like is not None else ():
        if tensor.name in graph.names:
            value = graph.top.inputs[graph.names.index(tensor.name)]
            if len(graph.avals[value].shape) == len(tensor.spec):
                label = f"{tensor.name} in the plan of '{like.step}'"
                found["input", value] = Pin(number=value, spec=tensor.spec, label=label, place="input")
    for name, spec in pins.items():
        for place, number in _places(graph, name):
            value = number if place == "input" else graph.top.outputs[number]
            whole = checked_spec(spec, graph.avals[value], f"pins[{name!r}]")
            found[place, number] = Pin(number=number, spec=whole, label=name, place=place)
    return replace(graph, pins=(*graph.pins, *found.values())) if found else graph


def _places(graph: Graph, name: str) -> list[tuple[str, int]]:
    """The decisions about inputs and results of a name; a result that replaces an input lies as that does."""
    inputs = [v for one, v in zip(graph.names, graph.top.inputs, strict=True) if fnmatchcase(one, name)]
    outputs = [i for i, one in enumerate(graph.output_names) if fnmatchcase(one, name)]
    found = [("input", value) for value in inputs]
    found += [("input", graph.top.inputs[graph.aliases[i]]) if i in graph.aliases else ("output", i) for i in outputs]
    if found:
        return list(dict.fromkeys(found))
    names = [*graph.names, *graph.output_names]
    near = difflib.get_close_matches(name, names, 5, 0.3) or names[:5]
    raise PinError(f"pins[{name!r}]: the step has no input or result of this name; near: {', '.join(near)}")


def prices(explored: Explored, held: Hold) -> tuple[PlannedPin, ...]:
    """Every pin of a plan with its price; what is taken over from another plan has none."""
    pins = held.of(explored.subject)
    if pins is None:
        return ()
    best = explored.found.best
    whole_s = sum(costs_of(explored.subject, explored.found).values())
    return tuple(
        PlannedPin(
            tensor=_tensor(pins, pin),
            spec=pin.spec,
            axes=_axes(explored.subject, best, pin),
            source=pin.label,
            price_s=max(0.0, whole_s - _without_s(explored.subject, best, pins, pin)),
        )
        for pin in pins.pins
        if held.like is None or not pin.label.endswith(f" in the plan of '{held.like.step}'")
    )


def _without_s(prepared: Subject, best: Candidate, pins: Pinned, pin: Pin) -> float:
    """Step time of the best plan on the same mesh without one pin."""
    found = find(prepared, max_axes=1, meshes=[best.placement], pins=pins.without(pin.group))
    return sum(costs_of(prepared, found).values()) if found is not None else float("inf")


def _tensor(pins: Pinned, pin: Pin) -> str:
    node = next(node for node, held in pins.nodes.values() if any(one.group == pin.group for one in held))
    return str(node.aval) if pin.place == "value" else pin.label


def _axes(prepared: Subject, best: Candidate, pin: Pin) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each name of a pin with the mesh axes that it stands for."""
    names: Sequence[str] = [axis.name for axis in describe.axes_of(prepared, best)]
    return tuple((name, tuple(names[axis] for axis in best.bound.names[name])) for name in sorted(set(pin.names)))
