"""Partitions: a global Graph and decisions -> the program of one device, every collective explicit.

Each op takes its operands in the layouts that its strategy asks for. A value that is not there in that layout is
resharded from the copy that was decided on for it, once for each layout, in the scope where the value is defined: so no
collective runs twice for the same thing, or in a loop for something that does not change there. Only what the backward
pass reads again (`ir/again.py`) is exchanged again for it, which holds less in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from swplan.ir.again import Again, is_made_again, read_again
from swplan.ir.device import Compute, DeviceOp, DeviceProgram, DeviceRegion, DeviceValue, Loop, Move
from swplan.ir.graph import Aval, Graph, Op, Region
from swplan.ir.layout import Layout, Step, local_shape, replicated, reshard, shift
from swplan.ir.strategy import op_layouts, remaking

Choices = Mapping[tuple[str, int], tuple[int, ...]]


@dataclass(slots=True)
class _Scope:
    ops: list[DeviceOp] = field(default_factory=list)


@dataclass(slots=True)
class _Home:
    """A global value on the devices: the layouts in which it exists, and the one that others are made from."""

    scope: _Scope
    base: Layout
    versions: dict[Layout, int]


@dataclass(slots=True)
class _Partitioner:
    graph: Graph
    sizes: tuple[int, ...]
    choices: Choices
    again: Again
    values: list[DeviceValue] = field(default_factory=list)
    homes: dict[int, _Home] = field(default_factory=dict)
    later: dict[int, _Home] = field(default_factory=dict)
    scope: _Scope = field(default_factory=_Scope)
    made: dict[int, Op] = field(default_factory=dict)
    pinned: frozenset[int] = frozenset()
    parts: dict[tuple[Aval, Layout], Aval] = field(default_factory=dict)

    def new(self, origin: int, layout: Layout) -> int:
        """A new local value: the part of a global one in this layout."""
        key = whole, _ = self.graph.avals[origin], layout
        part = self.parts.get(key)
        if part is None:
            part = self.parts[key] = Aval(local_shape(whole.shape, layout, self.sizes), whole.dtype)
        self.values.append(DeviceValue(part, layout, origin, self.graph.role(origin)))
        return len(self.values) - 1

    def define(self, value: int, layout: Layout) -> int:
        """Introduces a global value in the current scope, in this layout."""
        local = self.new(value, layout)
        self.homes[value] = _Home(self.scope, layout, {layout: local})
        return local

    def fetch(self, value: int, layout: Layout, reader: Op | None = None) -> int:
        """The local value in this layout, resharded where it is defined if it does not exist yet."""
        home = self.homes[value]
        if layout in home.versions and value not in self.again.counts and value not in self.pinned:
            return home.versions[layout]
        if value in self.made and layout not in home.versions:
            return self._make_again(value, home, layout, reader)
        copy = self.choices.get(("copy", value), home.base)
        if value in self.pinned and home.base != copy:
            home.versions = {copy: self._move(value, home, reshard(home.base, copy), copy, reader)}
            home.base = copy
        if reader is not None and value in self.again.counts and self.again.is_later(reader, value):
            return self._fetch_again(value, copy, layout, reader)
        return self._move(value, home, reshard(home.base, copy) + reshard(copy, layout), layout, reader)

    def _fetch_again(self, value: int, copy: Layout, layout: Layout, reader: Op) -> int:
        """The same for the backward pass, from the copy on."""
        if value not in self.later:
            self.later[value] = _Home(self.homes[value].scope, copy, {copy: self.fetch(value, copy)})
        second = self.choices.get(("again", value), copy)
        steps = reshard(copy, second) + reshard(second, layout)
        return self._move(value, self.later[value], steps, layout, reader, again=True)

    def _move(
        self,
        value: int,
        home: _Home,
        steps: tuple[Step, ...],
        target: Layout,
        reader: Op | None,
        again: bool = False,
    ) -> int:
        """Goes the steps that are left from the last layout on the way in which the value exists."""
        if target in home.versions:
            return home.versions[target]
        reached = max((i + 1 for i, step in enumerate(steps) if step.after in home.versions), default=0)
        name, line, stage = (reader.primitive, reader.source, reader.stage) if reader else ("return", "", "optimizer")
        for step in steps[reached:]:
            result = self.new(value, step.after)
            home.scope.ops.append(Move(step, (home.versions[step.before],), (result,), name, line, stage, again))
            home.versions[step.after] = result
        return home.versions[target]

    def _make_again(self, value: int, home: _Home, layout: Layout, reader: Op | None) -> int:
        """A broadcast constant or an iota is not exchanged: every device makes the part that it needs."""
        op = self.made[value]
        (strategy,), (whole,) = remaking(op.rule, (layout,))
        if whole not in home.versions:
            operands = tuple(self.fetch(v, replicated(len(self.sizes)), op) for v in op.operands)
            home.versions[whole] = self.new(value, whole)
            home.scope.ops.append(Compute(op, strategy, operands, (home.versions[whole],)))
        return self._move(value, home, reshard(whole, layout), layout, reader)

    def region(self, region: Region) -> None:
        """Partitions the ops of a region into the current scope."""
        by_kind = {"op": self.op, "scan": self.scan, "while": self.loop, "cond": self.cond}
        for op in region.ops:
            by_kind[op.kind](op)

    def op(self, op: Op) -> None:
        strategy = self.choices["op", op.results[0]]
        needed, left = op_layouts(op.rule, strategy)
        operands = tuple([self.fetch(value, layout, op) for value, layout in zip(op.operands, needed, strict=True)])
        results = tuple([self.define(value, layout) for value, layout in zip(op.results, left, strict=True)])
        self.scope.ops.append(Compute(op, strategy, operands, results, self._present(op.after)))
        if is_made_again(op, self.graph):
            self.made[op.results[0]] = op

    def _present(self, value: int | None) -> int | None:
        """What a device holds of a value as it was made."""
        return None if value is None else self.homes[value].versions[self.homes[value].base]

    def scan(self, op: Op) -> None:
        (body,) = op.regions
        carries = [self.choices["carry", inner] for inner in body.inputs[: op.carries]]
        slices = [self.choices["slice", inner] for inner in body.inputs[op.carries :]]
        stacks = [self.choices["stack", result] for result in op.results[op.carries :]]
        outside = carries + [shift(layout, 1) for layout in slices]
        operands = tuple(self.fetch(v, layout, op) for v, layout in zip(op.operands, outside, strict=True))
        local = self._body(body, carries + slices, carries + stacks, op)
        after = carries + [shift(layout, 1) for layout in stacks]
        self._loop(op, operands, after, (local,))

    def loop(self, op: Op) -> None:
        condition, body = op.regions
        carries = [self.choices["carry", inner] for inner in body.inputs]
        operands = tuple(self.fetch(v, layout, op) for v, layout in zip(op.operands, carries, strict=True))
        whole = replicated(len(self.sizes))
        regions = (self._body(condition, carries, [whole], op), self._body(body, carries, carries, op))
        self._loop(op, operands, carries, regions)

    def cond(self, op: Op) -> None:
        operands = (self.fetch(op.operands[0], replicated(len(self.sizes)), op),)
        after = [self.choices["branch", result] for result in op.results]
        regions = tuple(self._body(body, [], after, op) for body in op.regions)
        self._loop(op, operands, after, regions)

    def _body(self, body: Region, inputs: list[Layout], outputs: list[Layout], op: Op) -> DeviceRegion:
        outer, self.scope = self.scope, _Scope()
        entering = tuple(self.define(v, layout) for v, layout in zip(body.inputs, inputs, strict=True))
        self.region(body)
        leaving = tuple(self.fetch(v, layout, op) for v, layout in zip(body.outputs, outputs, strict=True))
        region, self.scope = DeviceRegion(entering, leaving, tuple(self.scope.ops)), outer
        return region

    def _loop(self, op: Op, operands: tuple[int, ...], after: list[Layout], regions: tuple[DeviceRegion, ...]) -> None:
        results = tuple(self.define(v, layout) for v, layout in zip(op.results, after, strict=True))
        self.scope.ops.append(Loop(op, operands, results, regions))


def partition(graph: Graph, sizes: tuple[int, ...], choices: Choices) -> DeviceProgram:
    """The program of one device.

    Args:
      graph: the program, global shapes.
      sizes: sizes of the mesh axes.
      choices: a strategy for every op and a layout for every variable, by the keys of `search.decisions`.
    """
    pinned = frozenset(pin.number for pin in graph.pins if pin.place == "value")
    work = _Partitioner(graph, sizes, choices, again=read_again(graph), pinned=pinned)
    whole = replicated(len(sizes))
    inputs = tuple(work.define(value, choices["input", value]) for value in graph.top.inputs)
    constants = {
        work.define(value, whole): array for value, array in sorted(graph.constants.items(), key=lambda item: item[0])
    }
    work.region(graph.top)
    outputs = tuple(
        work.fetch(value, output_layout(graph, position, choices, whole))
        for position, value in enumerate(graph.top.outputs)
    )
    top = _pruned(DeviceRegion(inputs, outputs, tuple(work.scope.ops)), set(outputs))
    return DeviceProgram(
        values=tuple(work.values), top=top, constants=constants, sizes=sizes, aliases=dict(graph.aliases)
    )


def _pruned(region: DeviceRegion, needed: set[int]) -> DeviceRegion:
    """Without what nothing reads: a version of a value that was made and then came to be had another way."""
    kept: list[DeviceOp] = []
    for op in reversed(region.ops):
        if isinstance(op, Loop):
            needed.update(v for body in op.regions for v in body.outputs)
            op = replace(op, regions=tuple(_pruned(body, needed) for body in op.regions))
        elif needed.isdisjoint(op.results):
            continue
        needed.update(op.operands)
        needed.update(() if getattr(op, "after", None) is None else (op.after,))
        kept.append(op)
    return replace(region, ops=tuple(reversed(kept)))


def output_layout(graph: Graph, position: int, choices: Choices, whole: Layout) -> Layout:
    """The layout in which a result is returned: that of the input it replaces, or its own."""
    if position in graph.aliases:
        return choices["input", graph.top.inputs[graph.aliases[position]]]
    return choices.get(("output", position), whole)
