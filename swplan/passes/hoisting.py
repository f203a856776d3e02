"""Casts of parameters leave loops: a stack of weights is cast once, not slice by slice on every trip and in every pass.

What a loop takes of a parameter only to cast it, it takes cast. The low copy is what devices then exchange, and the
parameter itself is read by the optimizer alone (a "master copy"). The copy is held for the whole step: half the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from msgspec import structs

from swplan.ir.graph import Aval, Graph, Op, Region, reads
from swplan.passes.precision import cast_rule
from swplan.passes.roles import parameter_values


@dataclass(slots=True)
class _Hoister:
    """Rewrites a graph; `made` finds the cast of a value to a dtype."""

    graph: Graph
    weights: frozenset[int]
    avals: list[Aval]
    made: dict[tuple[int, str], int] = field(default_factory=dict)

    def top(self) -> Region:
        ops: list[Op] = []
        for op in self.graph.top.ops:
            ops += self.scan(op) if op.kind == "scan" else [op]
        return replace(self.graph.top, ops=tuple(ops))

    def scan(self, op: Op) -> list[Op]:
        """A loop that takes its weights cast, after the casts that are not made yet."""
        before: list[Op] = []
        for position in range(op.carries, len(op.operands)):
            cast = self.only_cast(op, position)
            if cast is not None:
                outer = self.outside(op.operands[position], cast, before)
                op = _taking(op, position, outer, cast)
        return [*before, op]

    def only_cast(self, op: Op, position: int) -> Op | None:
        """The cast that is all a loop does with a slice of a weight; None if it does more."""
        (body,), outer = op.regions, op.operands[position]
        inner = body.inputs[position]
        users = [user for user in body.ops if inner in reads(user)]
        if outer not in self.weights or len(users) != 1 or inner in body.outputs:
            return None
        return users[0] if users[0].primitive == "convert_element_type" else None

    def outside(self, value: int, cast: Op, before: list[Op]) -> int:
        dtype = self.avals[cast.results[0]].dtype
        if (value, dtype) not in self.made:
            self.avals.append(Aval(self.avals[value].shape, dtype))
            self.made[value, dtype] = len(self.avals) - 1
            rule = cast_rule(self.avals[value].shape)
            results = (self.made[value, dtype],)
            before.append(structs.replace(cast, operands=(value,), results=results, rule=rule, stage="forward"))
        return self.made[value, dtype]


def _taking(op: Op, position: int, outer: int, cast: Op) -> Op:
    """The loop with another operand at a position, whose slice is what a cast in it gave."""
    (body,) = op.regions
    swap = lambda values, value: (*values[:position], value, *values[position + 1 :])  # noqa: E731
    inside = Region(swap(body.inputs, cast.results[0]), body.outputs, tuple(o for o in body.ops if o is not cast))
    return structs.replace(op, operands=swap(op.operands, outer), regions=(inside,))


def hoist_casts(graph: Graph) -> Graph:
    """The same graph, in which the loops of the top level take weights cast that they would only cast."""
    hoister = _Hoister(graph, parameter_values(graph), list(graph.avals))
    top = hoister.top()
    roles = {**graph.roles, **dict.fromkeys(hoister.made.values(), "activation")}
    return replace(graph, top=top, avals=tuple(hoister.avals), roles=roles)
