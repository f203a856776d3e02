"""Gives values their roles: parameter, optimizer state, batch, activation, gradient.

Found from what the step returns in place of what it took, never from names: state is what comes back updated;
a parameter is state on which the gradients (or a result other than the state) depend; the rest of the state belongs to
the optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from msgspec import structs

from swplan.ir.graph import Graph, Op, reads, walk

_JOINING = {"add", "sub", "add_any", "select_n", "scan", "cond", "while", "max"}


def state_positions(graph: Graph, pairs: Mapping[int, int]) -> bool:
    """Whether most of these outputs are the inputs updated (x' = x + ..., or x itself), not merely of their shape."""
    producers = {result: op for op in graph.top.ops for result in op.results}
    updated = 0
    for output, position in pairs.items():
        updated += _is_update(graph.top.outputs[output], graph.top.inputs[position], producers, graph)
    return 2 * updated >= len(pairs)


def _is_update(output: int, source: int, producers: Mapping[int, Op], graph: Graph) -> bool:
    """Whether same-shaped elementwise ops outside the backward pass, one of them joining, lead to `source`."""
    if output == source:
        return True
    frontier, seen = [(output, False)], set()
    while frontier:
        value, joined = frontier.pop()
        if value == source and joined:
            return True
        op = producers.get(value)
        if op is None or (value, joined) in seen or op.stage == "backward":
            continue
        seen.add((value, joined))
        if op.kind == "op" and not (op.rule and op.rule.fusible):
            continue
        shape = graph.avals[output].shape
        frontier += [(v, joined or op.primitive in _JOINING) for v in reads(op) if graph.avals[v].shape == shape]
    return False


def settle_stages(graph: Graph) -> Graph:
    """The same graph, in which what only the optimizer reads (decayed moments, schedules) is a part of it."""
    elsewhere = set(graph.top.outputs)
    ops: list[Op] = []
    for op in reversed(graph.top.ops):
        if op.stage == "forward" and elsewhere.isdisjoint(op.results):
            op = structs.replace(op, stage="optimizer")
        if op.stage != "optimizer":
            elsewhere.update(reads(op))
        ops.append(op)
    return replace(graph, top=replace(graph.top, ops=tuple(reversed(ops))))


def assign_roles(graph: Graph) -> Graph:
    """The same graph with a role for every input, constant, and value that the backward pass computes.

    Roles that it has already stay: the reader knows what the backward pass computes once more.
    """
    roles: dict[int, str] = {value: "constant" for value in graph.constants}
    for op, _ in walk(graph.top):
        role = "gradient" if op.stage == "backward" else "activation"
        roles.update({value: graph.roles.get(value, role) for value in op.results})
    state = {graph.top.inputs[position] for position in graph.aliases.values()}
    used = _ancestors(graph)
    for value in graph.top.inputs:
        roles[value] = ("parameter" if value in used else "optimizer") if value in state else "batch"
    if not state:
        roles.update(_stateless(graph))
    return replace(graph, roles=roles)


def _ancestors(graph: Graph) -> set[int]:
    """Values on which the backward pass or a result other than the state depends, before any optimizer op."""
    wanted = {value for i, value in enumerate(graph.top.outputs) if i not in graph.aliases}
    return _reach(graph, wanted, lambda op: op.stage == "backward")


def _reach(graph: Graph, wanted: set[int], also: object) -> set[int]:
    for op in reversed(graph.top.ops):
        if op.stage != "optimizer" and (also(op) or not wanted.isdisjoint(op.results)):
            wanted.update(reads(op))
    return wanted


def _stateless(graph: Graph) -> dict[int, str]:
    """Without state, an input that an output has the shape of (a gradient, a new value) counts as a parameter."""
    shapes = {graph.avals[v] for v in graph.top.outputs if graph.avals[v].shape}
    return {v: "parameter" for v in graph.top.inputs if graph.avals[v] in shapes}


def parameter_values(graph: Graph) -> frozenset[int]:
    """Parameters, and other forms of them: the slice that a loop takes, a cast, a transpose, a reshape."""
    found = {value for value in graph.top.inputs if graph.role(value) == "parameter"}
    for op, _ in walk(graph.top):
        if op.kind == "scan":
            pairs = zip(op.operands[op.carries :], op.regions[0].inputs[op.carries :], strict=True)
            found.update(inner for outer, inner in pairs if outer in found)
        elif op.primitive in ("convert_element_type", "transpose", "reshape", "squeeze") and op.operands[0] in found:
            found.update(op.results)
    return frozenset(found)
