"""Reads a jaxpr into a Graph: the only walker of jaxprs.

Calls (`jit`, `checkpoint`, custom derivatives) are inlined. Loops keep their bodies as regions; what a body computes
from values that do not change from trip to trip moves out of it, and equal equations become one, as XLA would do:
so the collectives that are planned are the collectives that run. Decisions are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jax import lax

from swplan.ir.equations import aval_of, literal, params_key, scan_parts
from swplan.ir.folding import folded, inline, is_fixed, note_known, reshape_key, trip_count, unchanged
from swplan.ir.graph import Aval, Op, Region
from swplan.ir.ops import OpSpec, rule_of
from swplan.ir.pins import MARKS, marked
from swplan.ir.rule import Rule
from swplan.ir.source import is_recomputed, layer_of, source_line, stage_of

CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr", "eval_jaxpr": "call_jaxpr",
}  # fmt: skip
IDENTITIES = {"copy", "copy_p", "stop_gradient", "name", "device_put", "pvary"}


@dataclass(slots=True)
class Scope:
    """One region while it is being read: its ops, the values it defines, and the equations seen in it.

    Those of `lasting` depend on no input: no barrier keeps a compiler from finding them equal.
    """

    parent: Scope | None = None
    may_hoist: bool = False
    ops: list[Op] = field(default_factory=list)
    defined: set[int] = field(default_factory=set)
    seen: dict[Any, tuple[int, ...]] = field(default_factory=dict)
    lasting: dict[Any, tuple[int, ...]] = field(default_factory=dict)
    sealed: bool = False


@dataclass(slots=True)
class Reader:
    """State of one reading: all values so far, and the scope in which equations are read now."""

    avals: list[Aval] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    scalars: dict[Any, int] = field(default_factory=dict)
    rules: dict[Any, Rule] = field(default_factory=dict)
    gradients: set[int] = field(default_factory=set)
    scope: Scope = field(default_factory=Scope)
    inherited: str = ""
    layer: str = ""
    recomputed: set[int] = field(default_factory=set)
    uniform: dict[int, int] = field(default_factory=dict)
    unshaped: dict[int, int] = field(default_factory=dict)
    fixed: set[int] = field(default_factory=set)
    pins: list[Any] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)

    def stage(self, eqn: Any, operands: Sequence[int]) -> str:
        """Forward, backward or optimizer; what a loop of the backward pass computes is backward."""
        return self.inherited or stage_of(eqn, any(v in self.gradients for v in operands))

    def body(self, jaxpr: Any, consts: Sequence[int], inner: Sequence[int], stage: str, *, may_hoist: bool) -> Region:
        """Reads the body of a loop or branch."""
        outer, before = self.scope, self.inherited
        self.scope = Scope(outer, may_hoist=may_hoist)
        self.scope.defined.update(inner)
        self.inherited = stage if stage == "backward" else before
        outputs = self.read_closed(jaxpr, [*consts, *inner])
        region = Region(tuple(inner), tuple(outputs), tuple(self.scope.ops))
        self.scope, self.inherited = outer, before
        return region

    def fresh(self, aval: Aval) -> int:
        """A new value of this shape and dtype, in no scope yet."""
        self.avals.append(aval)
        return len(self.avals) - 1

    def value(self, aval: Aval) -> int:
        """A new value of this shape and dtype, defined in the current scope."""
        number = self.fresh(aval)
        self.scope.defined.add(number)
        return number

    def constant(self, array: Any) -> int:
        """The value of a literal or of an array that the program closes over; equal scalars are one value."""
        aval = aval_of(array)
        key = None if aval.is_key or aval.shape else (aval, np.asarray(array).tobytes())
        if key is not None and key in self.scalars:
            return self.scalars[key]
        self.avals.append(aval)
        value = len(self.avals) - 1
        self.constants[value] = array
        if key is not None:
            self.scalars[key] = value
        return value

    def read(self, jaxpr: Any, consts: Sequence[int], arguments: Sequence[int]) -> list[int]:
        """Reads all equations of an open jaxpr; returns the values of its results."""
        names: dict[Any, int] = dict(zip(jaxpr.constvars, consts, strict=True))
        names.update(zip(jaxpr.invars, arguments, strict=True))

        def lookup(atom: Any) -> int:
            return self.constant(literal(atom)) if hasattr(atom, "val") else names[atom]

        for eqn in jaxpr.eqns:
            results = self.equation(eqn, [lookup(atom) for atom in eqn.invars])
            names.update(zip(eqn.outvars, results, strict=True))
        return [lookup(atom) for atom in jaxpr.outvars]

    def read_closed(self, jaxpr: Any, arguments: Sequence[int]) -> list[int]:
        """Reads a jaxpr that may carry its own constants."""
        if hasattr(jaxpr, "jaxpr"):
            return self.read(jaxpr.jaxpr, [self.constant(c) for c in jaxpr.consts], arguments)
        return self.read(jaxpr, [], arguments)

    def equation(self, eqn: Any, operands: list[int]) -> Sequence[int]:
        """Reads one equation; returns the values of its results."""
        outer, self.layer = self.layer, layer_of(eqn, self.layer)
        results = self._read(eqn, operands)
        self.layer = outer
        return results

    def _read(self, eqn: Any, operands: list[int]) -> Sequence[int]:
        name = eqn.primitive.name
        if name in CALLS:
            body = CALLS[name] if CALLS[name] in eqn.params else "jaxpr"
            return self.call(eqn, eqn.params[body], operands)
        if name in IDENTITIES:
            return operands
        if name in MARKS:
            return marked(self, eqn, operands)
        if name in STRUCTURED:
            return STRUCTURED[name](self, eqn, operands)
        return self._simplified(eqn, operands) or self.plain(eqn, operands)

    def call(self, eqn: Any, jaxpr: Any, operands: list[int]) -> list[int]:
        """Reads what an equation calls; equations in there do not say that the call is a part of the backward pass."""
        before = self.inherited
        self.inherited = "backward" if self.stage(eqn, ()) == "backward" else before
        results = self.read_closed(jaxpr, operands)
        self.inherited = before
        return results

    def _simplified(self, eqn: Any, operands: list[int]) -> list[int] | None:
        """The result of an equation that need not run."""
        if len(eqn.outvars) != 1:
            return None
        result = aval_of(eqn.outvars[0].aval)
        same = unchanged(self, eqn, operands, result)
        known = folded(self, eqn, operands, result) if same is None else same
        return None if known is None else [known]

    def plain(self, eqn: Any, operands: list[int]) -> Sequence[int]:
        """An op without regions: found again if an equal one was read, put outside a loop if nothing in it changes."""
        params = params_key(eqn.params)
        reshape = reshape_key(self, eqn, operands)
        key: Any = reshape or (eqn.primitive.name, tuple(operands), params)
        scope: Scope | None = self.scope
        fixed = is_fixed(self, operands)
        while scope is not None:
            if key in scope.seen:
                return scope.seen[key]
            scope = None if scope.sealed and not fixed else scope.parent
        home = self._home(operands)
        inner, self.scope = self.scope, home
        results = tuple([self.value(aval_of(var.aval)) for var in eqn.outvars])
        self.emit(self._op(eqn, params, operands, results))
        self.scope = inner
        home.seen[key] = results
        if fixed:
            home.lasting[key] = results
        note_known(self, eqn, operands, results, reshape, fixed)
        return results

    def emit(self, op: Op) -> None:
        """Adds an op to the current scope."""
        self.scope.ops.append(op)
        if op.stage == "backward":
            self.gradients.update(op.results)

    def _op(self, eqn: Any, params: Any, operands: Sequence[int], results: Sequence[int]) -> Op:
        """The op of an equation; `params` is the key of those that it has."""
        name, source = eqn.primitive.name, source_line(eqn)
        before, after = tuple([self.avals[v] for v in operands]), tuple([self.avals[v] for v in results])
        key = (name, before, after, params)
        if key not in self.rules:
            self.rules[key] = rule_of(OpSpec(name, eqn.params, before, after), source)
        stage = self.stage(eqn, operands)
        if stage == "optimizer":
            self.gradients.update(results)
        elif is_recomputed(eqn):
            self.recomputed.update(results)
        rule, ends = self.rules[key], (tuple(operands), tuple(results))
        return Op(name, *ends, eqn.params, eqn.primitive, rule, source, stage, layer=self.layer)

    def _home(self, operands: Sequence[int]) -> Scope:
        """The outermost scope in which an op can stand.

        Ops of constants alone stay where they are: they cost nothing.
        """
        changing = [v for v in operands if v not in self.constants]
        scope = self.scope
        while changing and scope.may_hoist and scope.parent and not any(v in scope.defined for v in changing):
            scope = scope.parent
        return scope


def _scan(reader: Reader, eqn: Any, operands: list[int]) -> Sequence[int]:
    params = eqn.params
    consts, carries = scan_parts(params)
    trips = params["length"]
    if trips == 1:
        return _scan_once(reader, params["jaxpr"], operands, consts + carries, carries)
    stage = reader.stage(eqn, operands)
    inner = [reader.fresh(aval_of(var.aval)) for var in params["jaxpr"].jaxpr.invars[consts:]]
    body = reader.body(params["jaxpr"], operands[:consts], inner, stage, may_hoist=True)
    results = tuple(reader.value(aval_of(var.aval)) for var in eqn.outvars)
    kept = {"length": trips, "reverse": params["reverse"]}
    line = source_line(eqn)
    reader.emit(
        Op("scan", tuple(operands[consts:]), results, kept, None, None, line, stage, "scan", (body,), carries, trips)
    )
    return results


def _scan_once(reader: Reader, body: Any, operands: list[int], fixed: int, carries: int) -> list[int]:
    """A scan of one trip is its body, as XLA makes it."""
    slices = [inline(reader, lambda x: lax.squeeze(x, (0,)), value) for value in operands[fixed:]]
    results = reader.read_closed(body, [*operands[:fixed], *slices])
    stacked = [inline(reader, lambda x: lax.expand_dims(x, (0,)), value) for value in results[carries:]]
    return [*results[:carries], *stacked]


def _while(reader: Reader, eqn: Any, operands: list[int]) -> Sequence[int]:
    params = eqn.params
    heads, tails = params["cond_nconsts"], params["body_nconsts"]
    stage = reader.stage(eqn, operands)
    avals = [aval_of(var.aval) for var in eqn.outvars]
    regions = []
    for name, consts in (("cond_jaxpr", operands[:heads]), ("body_jaxpr", operands[heads : heads + tails])):
        inner = [reader.fresh(aval) for aval in avals]
        regions.append(reader.body(params[name], consts, inner, stage, may_hoist=True))
    results = tuple(reader.value(aval) for aval in avals)
    crossing, line, bodies = tuple(operands[heads + tails :]), source_line(eqn), tuple(regions)
    trips = trip_count(reader, params, operands)
    reader.emit(Op("while", crossing, results, {}, None, None, line, stage, "while", bodies, len(avals), trips))
    return results


def _cond(reader: Reader, eqn: Any, operands: list[int]) -> Sequence[int]:
    stage = reader.stage(eqn, operands)
    regions = [reader.body(branch, operands[1:], [], stage, may_hoist=False) for branch in eqn.params["branches"]]
    results = tuple(reader.value(aval_of(var.aval)) for var in eqn.outvars)
    line = source_line(eqn)
    reader.emit(Op("cond", (operands[0],), results, {}, None, None, line, stage, "cond", tuple(regions)))
    return results


def _checkpoint(reader: Reader, eqn: Any, operands: list[int]) -> Sequence[int]:
    """Inlines what is to be recomputed; none of it is found equal to anything outside: it would be kept after all.

    Only what depends on no input is: no barrier keeps it apart. What the backward pass starts it from is kept.
    """
    scope = reader.scope
    reader.kept.update(set(operands) - reader.gradients if reader.stage(eqn, ()) == "backward" else ())
    seen, sealed = scope.seen, scope.sealed
    scope.seen, scope.sealed = dict(scope.lasting), True
    results = reader.call(eqn, eqn.params["jaxpr"], operands)
    scope.seen, scope.sealed = seen | scope.lasting, sealed
    return results


STRUCTURED = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "checkpoint": _checkpoint,
    "remat2": _checkpoint,
    "remat": _checkpoint,
}
