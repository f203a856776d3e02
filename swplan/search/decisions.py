"""The decision graph: everything about a program that has to be decided, and which decisions touch.

A node is an op (to choose: its strategy) or a variable (to choose: its layout). Variables are inputs, results, loop
carries, scanned slices and stacked results, the one copy of a value that several ops read, and the copy of that copy
that several ops of the backward pass read. An edge is a value that goes from one to another and is resharded where
their layouts differ. No mesh is known here yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct

from swplan.ir.again import Again, read_again
from swplan.ir.graph import Aval, Graph, Op, Region, reads
from swplan.ir.pin import Pin

Key = tuple[str, int]


class Node(Struct, frozen=True, gc=False):
    """One decision. `key` names it in the plan; `count` is how often it runs; `stacked` how many values it holds.

    `pins` is what a user asks of it.
    """

    key: Key
    count: int
    op: Op | None = None
    aval: Aval | None = None
    pending: bool = False
    role: str = "activation"
    stacked: int = 1
    pins: tuple[Pin, ...] = ()


class Edge(Struct, frozen=True, gc=False):
    """A value that goes from `source` (its result `out`) to `target` (its operand `slot`), `count` times a step.

    `aval` is the value where it is resharded; `source_shift`, `target_shift` say how many leading dims it has beyond
    the layouts that the two nodes choose (a scanned array has one more than its slice).
    """

    source: int
    out: int
    target: int
    slot: int
    aval: Aval
    count: int
    source_shift: int = 0
    target_shift: int = 0


@dataclass(frozen=True, slots=True)
class DecisionGraph:
    """All decisions of a program. `index` finds a node by its key; `loops` are first and last node of each loop."""

    graph: Graph
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    index: dict[Key, int]
    loops: tuple[tuple[int, int], ...] = ()


def producer_key(op: Op) -> Key:
    """The key of the decision about an op."""
    return ("op", op.results[0])


@dataclass(slots=True)
class _Builder:
    graph: Graph
    readers: dict[int, int]
    again: Again
    pinned: dict[Key, tuple[Pin, ...]]
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    loops: list[tuple[int, int]] = field(default_factory=list)
    origin: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    scope: dict[int, int] = field(default_factory=dict)
    copied: dict[int, int] = field(default_factory=dict)

    def variable(self, key: Key, value: int, count: int, pending: bool = False, stacked: int = 1) -> int:
        """A node that chooses a layout for something with the shape of `value`."""
        aval, role, pins = self.graph.avals[value], self.graph.role(value), self.pinned.get(key, ())
        self.nodes.append(Node(key, count, None, aval, pending, role, stacked, pins))
        return len(self.nodes) - 1

    def define(self, value: int, node: int, out: int, count: int, shift: int = 0) -> None:
        """Says who produces a value; if several ops read it, or it is pinned, they read one copy, a decision too."""
        self.origin[value], self.scope[value] = (node, out, shift), count
        shared = self.readers.get(value, 0) > 1 or (self.pinned and ("copy", value) in self.pinned)
        if shared and self.graph.avals[value].shape:
            copy = self.variable(("copy", value), value, count)
            self.connect(value, copy, 0)
            self.origin[value] = (copy, 0, 0)

    def connect(self, value: int, target: int, slot: int, target_shift: int = 0, reader: Op | None = None) -> None:
        """Adds the edge of a value to a node; it is resharded where it is defined, outside of loops that read it."""
        aval = self.graph.avals[value]
        if not aval.shape and value in self.graph.constants:
            return
        source, out, shift = self.origin[value]
        if reader is not None and value in self.copied and self.again.is_later(reader, value):
            source, out, shift = self.copied[value], 0, 0
        self.edges.append(Edge(source, out, target, slot, aval, self.scope[value], shift, target_shift))

    def region(self, region: Region, count: int) -> None:
        """Adds the ops of a region that runs `count` times."""
        by_kind = {"op": self.op, "scan": self.scan, "while": self.loop, "cond": self.cond}
        for op in region.ops:
            first = len(self.nodes)
            by_kind[op.kind](op, count)
            self.loops += [(first, len(self.nodes) - 1)] if op.kind in ("scan", "while") else []

    def copy_again(self, op: Op) -> None:
        """A layout for what later ops read of values of which this op is the first to do so."""
        for value in self.again.reads(op):
            if self.again.counts[value] > 1 and value not in self.copied:
                node = self.variable(("again", value), value, self.scope[value])
                self.connect(value, node, 0)
                self.copied[value] = node

    def op(self, op: Op, count: int) -> None:
        self.copy_again(op)
        self.nodes.append(Node(producer_key(op), count, op))
        node = len(self.nodes) - 1
        for slot, value in enumerate(op.operands):
            self.connect(value, node, slot, 0, op)
        for out, value in enumerate(op.results):
            self.define(value, node, out, count)

    def carry(self, op: Op, body: Region, count: int, trips: int) -> None:
        """One layout for each carry: of its first value, inside, and after the loop."""
        for i in range(op.carries):
            inner = body.inputs[i]
            node = self.variable(("carry", inner), inner, count, pending=True)
            self.connect(op.operands[i], node, 0)
            self.define(inner, node, 0, count * trips)

    def scan(self, op: Op, count: int) -> None:
        (body,), trips = op.regions, op.trips or 1
        self.copy_again(op)
        self.carry(op, body, count, trips)
        for outer, inner in zip(op.operands[op.carries :], body.inputs[op.carries :], strict=True):
            node = self.variable(("slice", inner), inner, count, stacked=trips)
            self.connect(outer, node, 0, target_shift=1, reader=op)
            self.define(inner, node, 0, count * trips)
        carries = [self._carry_node(value) for value in body.inputs[: op.carries]]
        self.region(body, count * trips)
        for i, value in enumerate(body.outputs):
            if i < op.carries:
                self.connect(value, carries[i], 1)
                self.define(op.results[i], carries[i], 0, count)
            else:
                node = self.variable(("stack", op.results[i]), value, count * trips, pending=True, stacked=trips)
                self.connect(value, node, 0)
                self.define(op.results[i], node, 0, count, shift=1)

    def _carry_node(self, inner: int) -> int:
        return next(i for i in range(len(self.nodes) - 1, -1, -1) if self.nodes[i].key == ("carry", inner))

    def loop(self, op: Op, count: int) -> None:
        condition, body = op.regions
        self.carry(op, body, count, op.trips or 1)
        carries = [self._carry_node(value) for value in body.inputs]
        for value, node in zip(condition.inputs, carries, strict=True):
            self.define(value, node, 0, count * (op.trips or 1))
        self.region(condition, count * (op.trips or 1))
        self.replicated(condition.outputs[0], ("predicate", op.results[0]), count)
        self.region(body, count * (op.trips or 1))
        for value, node, result in zip(body.outputs, carries, op.results, strict=True):
            self.connect(value, node, 1)
            self.define(result, node, 0, count)

    def cond(self, op: Op, count: int) -> None:
        self.replicated(op.operands[0], ("predicate", op.results[0]), count)
        for body in op.regions:
            self.region(body, count)
        for i, result in enumerate(op.results):
            node = self.variable(("branch", result), result, count, pending=True)
            for slot, body in enumerate(op.regions):
                self.connect(body.outputs[i], node, slot)
            self.define(result, node, 0, count)

    def replicated(self, value: int, key: Key, count: int) -> None:
        """A reader that needs a scalar whole on every device."""
        self.connect(value, self.variable(key, value, count), 0)


def _readers(graph: Graph) -> dict[int, int]:
    """How many ops, loop borders and results read each value."""
    readers: dict[int, int] = dict.fromkeys(graph.top.outputs, 0)

    def note(values: Iterable[int]) -> None:
        for value in values:
            readers[value] = readers.get(value, 0) + 1

    def visit(region: Region) -> None:
        for op in region.ops:
            note(op.operands)
            for body in op.regions:
                visit(body)
        note(region.outputs)

    visit(graph.top)
    return readers


def _pinned(graph: Graph) -> dict[Key, tuple[Pin, ...]]:
    """By decision, what a user asks of it; a pinned value is laid out as the copy that is read of it."""
    found: dict[Key, tuple[Pin, ...]] = {}
    for pin in graph.pins:
        key = ("copy" if pin.place == "value" else pin.place, pin.number)
        found[key] = (*found.get(key, ()), pin)
    return found


def decision_graph(graph: Graph) -> DecisionGraph:
    """All decisions of a program, in program order."""
    builder = _Builder(graph, _readers(graph), read_again(graph), _pinned(graph))
    inputs = {}
    for value in graph.top.inputs:
        inputs[value] = builder.variable(("input", value), value, 1)
        builder.define(value, inputs[value], 0, 1)
    for value in sorted(v for v in graph.constants if graph.avals[v].shape):
        builder.define(value, builder.variable(("constant", value), value, 1), 0, 1)
    builder.region(graph.top, 1)
    for position, value in enumerate(graph.top.outputs):
        if position in graph.aliases:
            builder.connect(value, inputs[graph.top.inputs[graph.aliases[position]]], 0)
        elif value not in graph.constants:
            builder.connect(value, builder.variable(("output", position), value, 1), 0)
    nodes = tuple(builder.nodes)
    index = {node.key: i for i, node in enumerate(nodes)}
    return DecisionGraph(graph, nodes, tuple(builder.edges), index, tuple(builder.loops))


def users(graph: Graph) -> dict[int, list[Op]]:
    """The ops that read each value, loops by what their bodies take from outside included."""
    found: dict[int, list[Op]] = {}

    def visit(region: Region) -> None:
        for op in region.ops:
            for value in reads(op):
                found.setdefault(value, []).append(op)
            for body in op.regions:
                visit(body)

    visit(graph.top)
    return found
