"""Pins: layouts that a user asks for, as the reader notes them beside the values that they speak of.

A pin is no op: the pinned value stays the value that it is, so nothing is kept twice for the backward pass. Only a
second, different pin of one value makes a new value, since each has one layout. What a pin means on a mesh is decided
in `search/pinning.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from swplan.ir.graph import Graph, Op, Region
from swplan.ir.ops import OpSpec, rule_of
from swplan.ir.pin import Pin, Spec
from swplan.ir.source import source_line

MARKS = {"sharding_constraint", "reshard", "swplan_pin", "swplan_keep"}
"""Primitives that say something of a value and compute nothing."""
AGAIN = "sharding_constraint"


def marked(reader: Any, eqn: Any, operands: list[int]) -> Sequence[int]:
    """Reads an equation that marks a value; returns the value."""
    (value,) = operands
    if eqn.primitive.name == "swplan_keep":
        reader.kept.add(value)
        return operands
    spec, sizes = _asked(eqn, len(reader.avals[value].shape))
    if spec is None or not spec or all(entry is None for entry in spec):
        return operands
    pin = Pin(number=value, spec=spec, label=source_line(eqn), sizes=sizes)
    others = [one for one in reader.pins if one.number == value]
    if any(one.spec == spec for one in others):
        return operands
    if others:
        value = _once_more(reader, eqn, value)
        pin = replace(pin, number=value)
    reader.pins.append(pin)
    return [value]


def _once_more(reader: Any, eqn: Any, value: int) -> int:
    """The same value as a new one."""
    aval, line = reader.avals[value], source_line(eqn)
    rule, stage = rule_of(OpSpec(AGAIN, {}, (aval,), (aval,)), line), reader.stage(eqn, [value])
    result = reader.value(aval)
    reader.emit(Op(AGAIN, (value,), (result,), {}, None, rule, line, stage))
    return result


def _asked(eqn: Any, rank: int) -> tuple[Spec | None, tuple[tuple[str, int], ...]]:
    """The spec of an equation, and the sizes of the mesh that it names; None if it says nothing about names."""
    if eqn.primitive.name == "swplan_pin":
        return eqn.params["spec"], ()
    sharding = eqn.params.get("sharding", eqn.params.get("dst_sharding"))
    spec, mesh = getattr(sharding, "spec", None), getattr(sharding, "mesh", None)
    if spec is None or (eqn.primitive.name == "reshard" and not any(spec)):
        return None, ()
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes, strict=True))
    spec = spec_of(spec, rank, type(spec).UNCONSTRAINED, eqn.params.get("unconstrained_dims", ()))
    one = lambda entry: entry if entry is None else tuple(name for name in entry if sizes[name] > 1)  # noqa: E731
    return tuple(map(one, spec)), tuple(sorted((name, size) for name, size in sizes.items() if size > 1))


def spec_of(entries: Sequence[Any], rank: int, unconstrained: Any = ..., open_dims: Sequence[int] = ()) -> Spec:
    """A spec for every dim of a value, of one that may be shorter and name an axis alone."""
    entries = (*entries, *[None] * (rank - len(entries)))
    return tuple(
        None if dim in open_dims or entry is unconstrained or entry is ... else _names(entry)
        for dim, entry in enumerate(entries)
    )


def _names(entry: Any) -> tuple[str, ...]:
    return () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)


def carried(pins: Sequence[Pin], moved: Mapping[int, int]) -> tuple[Pin, ...]:
    """Pins, and the same of values that took the place of pinned ones: old -> new."""
    more = (replace(pin, number=moved[pin.number]) for pin in pins if pin.place == "value" and pin.number in moved)
    return (*pins, *more)


def kept_values(graph: Graph) -> frozenset[int]:
    """What a user wants kept for the backward pass, in all its forms: cast, stacked by a loop, sliced by another."""
    kept = set(graph.kept)
    for _ in range(2 if kept else 0):
        _spread(graph.top, kept)
    return frozenset(kept)


def _spread(region: Region, kept: set[int]) -> None:
    for op in reversed(region.ops):
        if op.primitive == "convert_element_type" and not kept.isdisjoint((*op.operands, *op.results)):
            kept.update((*op.operands, *op.results))
        if op.kind != "scan":
            continue
        (body,) = op.regions
        kept.update(inner for outer, inner in zip(op.results, body.outputs, strict=True) if outer in kept)
        _spread(body, kept)
        kept.update(outer for outer, inner in zip(op.operands, body.inputs, strict=True) if inner in kept)
