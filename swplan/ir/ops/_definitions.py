"""How a primitive is defined: its rule, and how its equation is bound on one device's part.

A definition has a `rule` (spec -> Rule) and at most one of two ways to run on local shapes:
  localize: (spec, local) -> params, where the same primitive is bound with other params (shapes, slice sizes);
  lower: (spec, local, operands) -> results, where the local program is another one (iota with an offset).
Without either, the primitive is bound with its params unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swplan._registry import Registry
from swplan.errors import UnsupportedOpError
from swplan.ir.graph import Aval
from swplan.ir.rule import Rule


@dataclass(frozen=True, slots=True)
class OpSpec:
    """An equation with its global shapes."""

    primitive: str
    params: Mapping[str, Any]
    operands: tuple[Aval, ...]
    results: tuple[Aval, ...]


@dataclass(frozen=True, slots=True)
class Local:
    """One device's part of an equation.

    Attributes:
      operands: local shape of every operand.
      results: local shape of every result.
      offset: (result position, dim) -> index at which the local block starts in the global result; an int (0) where
        the dim is not split, else a traced int32 scalar.
      part: factor name -> index of this device's part of that factor, over all axes that lie on it; an int (0) where
        the factor is not split, else a traced int32 scalar.
    """

    operands: tuple[tuple[int, ...], ...]
    results: tuple[tuple[int, ...], ...]
    offset: Callable[[int, int], Any]
    part: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """Everything that swplan knows about a primitive."""

    rule: Callable[[OpSpec], Rule]
    localize: Callable[[OpSpec, Local], Mapping[str, Any]] | None = None
    lower: Callable[[OpSpec, Local, Sequence[Any]], Sequence[Any]] | None = None


DEFINITIONS: Registry[str, Definition] = Registry("rule for primitive")


def define(*primitives: str, localize: Any = None, lower: Any = None) -> Callable[[Any], Any]:
    """Registers the decorated function (spec -> Rule) as the rule of these primitives."""

    def decorate(rule: Callable[[OpSpec], Rule]) -> Callable[[OpSpec], Rule]:
        for primitive in primitives:
            DEFINITIONS.register(primitive, Definition(rule, localize, lower))
        return rule

    return decorate


def register_rule(primitive: str, *, localize: Any = None, lower: Any = None) -> Callable[[Any], Any]:
    """Adds a rule for a primitive that swplan does not know: decorates a function (spec: OpSpec) -> Rule.

    Args:
      primitive: its name, as the error that asks for it prints it.
      localize: (spec, local) -> params with which the same primitive is bound on one device's part, if they differ.
      lower: (spec, local, operands) -> results, where one device runs another program.

    Raises:
      DuplicateKeyError: there is a rule already; names its place.
    """
    return define(primitive, localize=localize, lower=lower)


def rule_of(spec: OpSpec, source: str) -> Rule:
    """The rule of an equation.

    Raises:
      UnsupportedOpError: no rule is registered; names the user's source line and how to add one.
    """
    if spec.primitive not in DEFINITIONS:
        shapes = ", ".join(map(str, spec.operands))
        raise UnsupportedOpError(
            f"swplan has no rule for the primitive '{spec.primitive}' ({shapes})\n"
            f"  at {source}\n"
            f"  To add one: @swplan.register_rule('{spec.primitive}') on a function (spec) -> swplan.Rule\n"
            "  that names the factors of its dims; swplan.whole_rule(...) shards nothing and is always right."
        )
    return DEFINITIONS[spec.primitive].rule(spec)


def bind_local(handle: Any, spec: OpSpec, local: Local, operands: Sequence[Any]) -> list[Any]:
    """Runs one equation on one device's operands; returns its local results."""
    definition = DEFINITIONS[spec.primitive]
    if definition.lower is not None:
        return list(definition.lower(spec, local, operands))
    params = definition.localize(spec, local) if definition.localize else spec.params
    placed = {name: None for name in ("sharding", "out_sharding") if params.get(name) is not None}
    out = handle.bind(*operands, **{**params, **placed})
    return list(out) if handle.multiple_results else [out]
