"""Rows: all that one device does in a step, equal things counted together, before any degree is known.

Read off the device program of a template. A row knows what it does, how often, in which part of the step, and whether
it is done for every micro-batch: what depends on the batch is, until it is summed over the data axis.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from swplan.estimate.template import Template
from swplan.ir.device import Compute, DeviceOp, DeviceRegion, Loop, Move
from swplan.ir.graph import Op
from swplan.ir.layout import Layout, Step
from swplan.ir.strategy import Strategy as Split

MICRO, STEP, GATHER = "micro-batch", "step", "gathered"
"""How often a row is done: for every micro-batch, once a step, or once a step unless parameters are split (ZeRO-3)."""


class Place(NamedTuple):
    """Where in a step a row belongs.

    stage: "forward", "backward" or "optimizer". layered: inside the layers, which pipeline stages share.
    rate: one of MICRO, STEP, GATHER. stacked: it works on all layers at once, as optimizers do.
    """

    stage: str
    layered: bool
    rate: str
    stacked: bool


@dataclass(frozen=True, slots=True)
class OpRow:
    """Runs of an op under one strategy; `op` stands for all that are equal.

    `is_core`: it makes or reads scores of attention; `is_again`: it makes scores in the forward pass; `is_inside`: it
    is a product of a fused attention, which its chip rates as a whole.
    """

    op: Op
    split: Split
    place: Place
    is_again: bool
    is_core: bool
    count: float
    is_inside: bool = False


@dataclass(frozen=True, slots=True)
class MoveRow:
    """Runs of one step of a resharding of values of a shape; `sums` whether it joins parts of micro-batches."""

    step: Step
    whole_bytes: int
    shape: tuple[int, ...]
    place: Place
    is_batch: bool
    sums: bool
    count: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A step as rows.

    Attributes:
        template: of which it was made.
        ops, moves: the rows.
        layers: trips of the loops of the forward pass.
        border: what the forward pass hands from layer to layer: bytes, unsplit, and layout.
        in_micro: local values that differ between micro-batches.
        stacked: local values that hold something of every layer.
    """

    template: Template
    ops: tuple[OpRow, ...]
    moves: tuple[MoveRow, ...]
    layers: int
    border: tuple[tuple[int, Layout], ...]
    in_micro: frozenset[int]
    stacked: frozenset[int]


@dataclass(slots=True)
class _Reader:
    template: Template
    ops: dict[Hashable, list] = field(default_factory=dict)
    moves: dict[Hashable, list] = field(default_factory=dict)
    micro: set[int] = field(default_factory=set)
    stacked: set[int] = field(default_factory=set)
    layers: int = 0
    border: list[tuple[int, Layout]] = field(default_factory=list)
    counting: bool = True

    def region(self, region: DeviceRegion, trips: float, layered: bool) -> None:
        for op in region.ops:
            if isinstance(op, Loop):
                self.loop(op, trips, layered)
            elif isinstance(op, Move):
                self.move(op, trips, layered)
            else:
                self.compute(op, trips, layered)

    def compute(self, op: Compute, trips: float, layered: bool) -> None:
        is_micro = any(v in self.micro for v in op.operands)
        self.micro.update(op.results if is_micro else ())
        is_stacked = self.spread(op)
        rate = MICRO if is_micro and op.op.stage != "optimizer" else STEP
        place = Place(op.op.stage, layered, rate, is_stacked)
        cores, made = self.template.cores, op.op.results[0]
        flags = made in cores.again, made in cores.touching
        key = (id(op.op.rule), op.strategy, self.template.fused.traffic(op.op), place, flags)
        if self.counting:
            self.ops.setdefault(key, [op.op, op.strategy, place, *flags, 0.0])[5] += trips

    def move(self, op: Move, trips: float, layered: bool) -> None:
        was_micro = op.operands[0] in self.micro
        held = self.template.program.values[op.operands[0]]
        joined = {self.template.axes[a] for a in op.step.axes if op.step.before[a] < -1}
        sums = was_micro and held.origin not in self.template.batch and bool(joined - {"model"})
        is_stacked = self.spread(op)
        self.micro.update(op.results if was_micro and not sums else ())
        gathers = op.step.kind == "all_gather" and not was_micro and op.stage != "optimizer"
        rate = STEP if sums else MICRO if was_micro else GATHER if gathers else STEP
        aval = self.template.graph.avals[held.origin]
        place = Place(op.stage, layered, rate, is_stacked)
        key = (op.step, aval.bytes, aval.shape, place, was_micro, sums)
        if self.counting:
            self.moves.setdefault(key, [0.0])[0] += trips

    def spread(self, op: DeviceOp) -> bool:
        """Notes which values are stacks of all layers; whether the op makes one."""
        values, avals = self.template.program.values, self.template.graph.avals
        lengths = {avals[values[v].origin].shape[:1] for v in op.operands if v in self.stacked}
        found = [v for v in op.results if lengths and avals[values[v].origin].shape[:1] in lengths]
        self.stacked.update(found)
        return bool(found)

    def loop(self, op: Loop, trips: float, layered: bool) -> None:
        count, inside = op.op.trips or 1, layered or (op.op.kind == "scan" and (op.op.trips or 1) > 1)
        counting, self.counting = self.counting, False
        for _ in range(2):
            for body in op.regions:
                self.enter(op, body)
                self.region(body, 0.0, inside)
                self.leave(op, body)
        self.counting = counting
        for body in op.regions:
            self.region(body, trips * count, inside)
        if counting and inside and not layered and op.op.stage == "forward":
            self.layers += count
            self.border = self.border or self.carried(op)

    def carried(self, op: Loop) -> list[tuple[int, Layout]]:
        """The carries of a loop that belong to the batch."""
        values, avals = self.template.program.values, self.template.graph.avals
        inner = op.regions[0].inputs[: op.op.carries]
        return [(avals[values[v].origin].bytes, values[v].layout) for v in inner if v in self.micro]

    def enter(self, op: Loop, body: DeviceRegion) -> None:
        operands = op.operands if op.op.kind != "cond" else ()
        for outer, inner in zip(operands, body.inputs, strict=False):
            self.micro.update((inner,) if outer in self.micro else ())
        if op.op.kind == "scan":
            self.stacked.update(op.operands[op.op.carries :])
            self.stacked.update(op.results[op.op.carries :])

    def leave(self, op: Loop, body: DeviceRegion) -> None:
        looped = body.inputs if op.op.kind == "while" else body.inputs[: op.op.carries]
        for inner, again in zip(body.outputs, looped, strict=False):
            self.micro.update((again,) if inner in self.micro else ())
        for inner, outer in zip(body.outputs, op.results, strict=False):
            self.micro.update((outer,) if inner in self.micro else ())


def rows_of(template: Template) -> Rows:
    """Reads the rows off the device program of a template, and adds what it makes again."""
    reader, graph, program = _Reader(template), template.graph, template.program
    pairs = zip(graph.top.inputs, program.top.inputs, strict=True)
    reader.micro.update(local for value, local in pairs if graph.role(value) == "batch")
    for op in program.top.ops:
        if isinstance(op, Loop) and op.op.kind == "scan" and (op.op.trips or 1) > 1:
            reader.stacked.update(op.operands[op.op.carries :])
    _stack_state(reader)
    reader.region(program.top, 1.0, False)
    return Rows(
        template=template,
        ops=tuple(OpRow(*entry) for entry in reader.ops.values()),
        moves=tuple(MoveRow(*key, count=entry[0]) for key, entry in reader.moves.items()),
        layers=reader.layers,
        border=tuple(reader.border),
        in_micro=frozenset(reader.micro),
        stacked=frozenset(reader.stacked),
    )


def _stack_state(reader: _Reader) -> None:
    """Arguments of the shape of a stack are stacks too: what is cast for loops, and the moments of its optimizer."""
    values, avals = reader.template.program.values, reader.template.graph.avals
    inputs = reader.template.program.top.inputs
    shapes = {avals[values[v].origin].shape for v in reader.stacked}
    reader.stacked.update(v for v in inputs if avals[values[v].origin].shape in shapes)
