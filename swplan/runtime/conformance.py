"""Compares what XLA compiled with the device program that was planned: collective by collective, byte by byte.

A difference is a bug of ours: the plan was priced by what it planned. What XLA does to a collective without changing what
is exchanged (several in one instruction, a wider type on a CPU) is accounted for and listed. It runs nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from swplan.ir.device import Compute, DeviceProgram, DeviceRegion, Loop, Move, walk_device
from swplan.ir.graph import Aval, Graph
from swplan.ir.strategy import split_degree
from swplan.runtime import hlo

KINDS = {"all-reduce": "all_reduce", "all-gather": "all_gather", "reduce-scatter": "reduce_scatter",
         "all-to-all": "all_to_all", "ragged-all-to-all": "ragged_all_to_all", "collective-permute": "permute",
         "collective-broadcast": "broadcast"}  # fmt: skip
JOINS = {"add": "sum", "maximum": "max", "or": "max", "minimum": "min", "and": "min", "multiply": "product"}
# What XLA's AllReducePromotion widens (bf16 on a CPU, 16-bit integers on a GPU), by the type that it widens to.
WIDENED = {"f32": "bf16", "s32": "s16", "u32": "u16"}


@dataclass(frozen=True, slots=True, order=True)
class Exchange:
    """What devices exchange in one collective, in the terms in which plan and program are compared.

    Attributes:
      kind: "all_reduce", "all_gather", "reduce_scatter", "all_to_all"; from XLA also "permute", ...
      dtype: HLO element type.
      bytes: the larger of one device's input and output.
      join: "sum", "max", "min"; "" where nothing is reduced.
      groups: device ids, group by group; in a group by rank (sorted for an all_reduce, where rank means nothing).
      exact: False in a loop of unknown length, of which one trip is counted.
    """

    kind: str
    dtype: str
    bytes: int
    join: str
    groups: hlo.Groups
    exact: bool = True

    def __str__(self) -> str:
        groups = "".join("{" + ",".join(map(str, group)) + "}" for group in self.groups)
        trip = "" if self.exact else " in each trip of a loop of unknown length"
        return f"{' '.join(filter(None, [self.kind, self.join]))} {self.dtype} {self.bytes:,} B over {groups}{trip}"


@dataclass(frozen=True, slots=True)
class Collective:
    """An exchange that one of the two programs does `count` times, at one place.

    Attributes:
      name: the planned reader, or the compiled instruction.
      source: the user's line, or the path of the equation.
      narrow: the type from which XLA may have widened what is sent.
      promoted: whether XLA says that it widened it.
    """

    exchange: Exchange
    count: int
    name: str
    source: str
    narrow: str = ""
    promoted: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """`count` exchanges that are not in both programs.

    `what` is "planned but not compiled", "compiled but not planned", or, where one of each are alike in all but one term,
    "other groups", "other bytes", "other dtype", "other join", "other kind", "other exact" (only one side knows the loop's
    length). `source` says where they come from.
    """

    what: str
    planned: Exchange | None
    compiled: Exchange | None
    count: int
    source: str

    def __str__(self) -> str:
        pair = f"planned {self.planned}; compiled {self.compiled}" if self.planned and self.compiled else ""
        return f"{self.count} x {self.what}: {pair or self.planned or self.compiled} ({self.source})"


@dataclass(frozen=True, slots=True)
class Promotion:
    """`count` runs of a planned exchange that the compiled program does in a wider type."""

    planned: Exchange
    compiled: Exchange
    count: int


@dataclass(frozen=True, slots=True)
class Combined:
    """An instruction that does several exchanges at once."""

    name: str
    exchanges: tuple[Exchange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """What the comparison found; true exactly when there is no difference.

    Attributes:
      differences: all differences.
      combined: instructions that do several planned exchanges at once.
      promoted: exchanges done in a wider type than planned.
      collectives: how many collectives were planned, each as often as it runs.
      unknown_loops: compiled loops of unknown length; what is in them is counted for one trip.
      planned_flops: flops of contractions on one device, by the rules of the ops.
      compiled_flops: likewise as compiled, by the definition of `hlo.matmul_flops`.
      planned_bytes: peak memory of one device, as planned, if it was given.
      compiled_bytes: arguments + results - what they share + temporaries, by XLA's memory analysis.
    """

    differences: tuple[Difference, ...]
    combined: tuple[Combined, ...]
    promoted: tuple[Promotion, ...]
    collectives: int
    unknown_loops: tuple[str, ...]
    planned_flops: int
    compiled_flops: int
    planned_bytes: int | None
    compiled_bytes: int

    def __bool__(self) -> bool:
        return not self.differences

    @property
    def flops_ratio(self) -> float | None:
        """Planned flops of contractions divided by compiled ones; None if none were compiled."""
        return self.planned_flops / self.compiled_flops if self.compiled_flops else None

    @property
    def memory_ratio(self) -> float | None:
        """Planned peak memory divided by XLA's; None if no plan of memory was given."""
        return None if self.planned_bytes is None else self.planned_bytes / self.compiled_bytes

    def __str__(self) -> str:
        verdict = "runs as planned" if self else f"differs from its plan in {len(self.differences)} ways"
        lines = [f"compiled program {verdict} ({self.collectives} collectives planned)", *map(str, self.differences)]
        lines += [f"{len(c.exchanges)} collectives in one instruction: {c.name}" for c in self.combined]
        lines += [f"{p.count} x sent as {p.compiled.dtype}: {p.planned}" for p in self.promoted]
        lines += [f"loop of unknown length, one trip counted: {name}" for name in self.unknown_loops]
        lines += [f"flops of contractions: {self.planned_flops:,} planned, {self.compiled_flops:,} compiled"]
        planned = "not given" if self.planned_bytes is None else f"{self.planned_bytes:,} B planned"
        lines += [f"peak memory: {planned}, {self.compiled_bytes:,} B compiled"]
        return "\n  ".join(lines)


def compare(
    program: DeviceProgram, graph: Graph, mesh: Any, compiled: Any, *, planned_bytes: int | None = None
) -> Conformance:
    """Compares a compiled step with its plan.

    Args:
      program: the device program.
      graph: the program from which it was made.
      mesh: the jax Mesh for which it was built, its axes in the order of `program.sizes`.
      compiled: `executable.run.lower(...).compile()`.
      planned_bytes: peak memory of one device, as planned.
    """
    module = hlo.parse(compiled.as_text())
    planned, found = list(planned_collectives(program, graph, mesh)), list(compiled_collectives(module, mesh))
    promoted, differences = _match(planned, [collective for arrays in found for collective in arrays])
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    loops = [run.instruction for run in hlo.walk(module) if run.instruction.opcode == "while"]
    return Conformance(
        differences=differences,
        combined=tuple(Combined(c[0].name, tuple(x.exchange for x in c)) for c in found if len(c) > 1),
        promoted=promoted,
        collectives=sum(collective.count for collective in planned),
        unknown_loops=tuple(loop.name for loop in loops if hlo.trip_count(module, loop) is None),
        planned_flops=planned_flops(program),
        compiled_flops=hlo.matmul_flops(module),
        planned_bytes=planned_bytes,
        compiled_bytes=used + memory.temp_size_in_bytes,
    )


def planned_collectives(program: DeviceProgram, graph: Graph, mesh: Any) -> Iterator[Collective]:
    """Every collective of a device program; those along axes of size 1 do not exist."""
    names = dict(zip(graph.top.inputs, graph.names, strict=True))
    ids = np.array([device.id for device in mesh.devices.flat]).reshape(program.sizes)
    for move, count, exact in _moves(program.top, 1, True):
        step, value = move.step, program.values[move.operands[0]]
        if move.is_collective and program.degree(step.axes) > 1:
            groups = _canonical(step.kind, _along(ids, step.axes))
            join = step.join if step.kind in ("all_reduce", "reduce_scatter") else ""
            size = program.buffer_bytes(move)
            exchange = Exchange(step.kind, hlo_dtype(value.aval), size, join, groups, exact)
            name = f"{names.get(value.origin, value.aval)} for {move.reader}"
            yield Collective(exchange, count, name, move.source)


def _moves(region: DeviceRegion, trips: int, exact: bool) -> Iterator[tuple[Move, int, bool]]:
    for op in region.ops:
        if isinstance(op, Move):
            yield op, trips, exact
        elif isinstance(op, Loop):
            for body in op.regions:
                yield from _moves(body, trips * (op.op.trips or 1), exact and op.op.trips is not None)


def _along(ids: np.ndarray, axes: tuple[int, ...]) -> hlo.Groups:
    """The groups of devices along some axes of the mesh together, the first of them major."""
    rest = [axis for axis in range(ids.ndim) if axis not in axes]
    size = prod(ids.shape[axis] for axis in axes)
    return tuple(map(tuple, ids.transpose([*rest, *axes]).reshape(-1, size).tolist()))


def _canonical(kind: str, groups: Iterable[tuple[int, ...]]) -> hlo.Groups:
    """Groups in an order of their own."""
    return tuple(sorted(tuple(sorted(group)) if kind == "all_reduce" else group for group in groups))


def hlo_dtype(aval: Aval) -> str:
    """The HLO name of a value's element type: a bool is a `pred` of one byte, a typed key lies in `u32` words."""
    if aval.is_key or aval.dtype == "bool":
        return "u32" if aval.is_key else "pred"
    short = {"float8_": "f8", "bfloat": "bf", "float": "f", "complex": "c", "uint": "u", "int": "s"}
    return re.sub("|".join(short), lambda match: short[match[0]], aval.dtype)


def planned_flops(program: DeviceProgram) -> int:
    """Flops of contractions of one device in a step, by the rules of the ops, loops times their trips."""
    total = 0
    for op, trips in walk_device(program.top):
        if isinstance(op, Compute) and op.op.rule.work.unit == "matmul":
            points = op.op.rule.points // split_degree(op.strategy, program.sizes)
            total += trips * round(points * op.op.rule.work.per_point)
    return total


def compiled_collectives(module: hlo.Module, mesh: Any) -> Iterator[tuple[Collective, ...]]:
    """Every collective instruction that exchanges anything, array by array; an all-to-all is one, however passed."""
    ids = [device.id for device in mesh.devices.flat]
    for run in hlo.walk(module):
        kind = KINDS.get(run.instruction.opcode.removesuffix("-start"))
        groups = hlo.instruction_groups(run.instruction, module.devices) if kind else ((),)
        if len(groups[0]) > 1:
            groups = _canonical(kind, (tuple(ids[device] for device in group) for group in groups))
            yield tuple(_arrays(module, run, kind, groups))


def _arrays(module: hlo.Module, run: hlo.Run, kind: str, groups: hlo.Groups) -> Iterator[Collective]:
    at, values = run.instruction, run.computation.instructions
    applied = hlo.attribute(at, "to_apply")
    promoted, join = applied.endswith("_promoted"), _join(module, applied)
    pairs = [(a, hlo.narrow_type(module, run.computation, name)) for name in at.operands for a in values[name].shapes]
    if kind == "all_to_all":
        whole = (sum(prod(array.dims) for array, _ in pairs),)
        pairs = [(hlo.Shape(pairs[0][0].dtype, whole), pairs[0][1])]
    for array, narrow in pairs:
        size = array.bytes * (len(groups[0]) if kind == "all_gather" else 1)
        exchange = Exchange(kind, array.dtype, size, join, groups, run.exact)
        narrow = WIDENED.get(array.dtype, "") if promoted else narrow
        yield Collective(exchange, run.trips, at.name, hlo.op_name(at), narrow, promoted)


def _join(module: hlo.Module, applied: str) -> str:
    opcodes = [i.opcode for i in module.computations[applied].instructions.values()] if applied else [""]
    return next((JOINS[opcode] for opcode in opcodes if opcode in JOINS), opcodes[-1])


def _match(planned: list[Collective], found: list[Collective]) -> tuple[tuple[Promotion, ...], tuple[Difference, ...]]:
    """Takes equal exchanges away from both sides, then those sent in a wider type; what is left differs."""
    missing, extra, promoted = Counter[Exchange](), Counter[Exchange](), Counter[tuple[Exchange, Exchange]]()
    for collective in planned:
        missing[collective.exchange] += collective.count
    for collective in sorted(found, key=lambda c: (c.promoted, bool(c.narrow))):
        wide, left = collective.exchange, collective.count
        left -= 0 if collective.promoted else _take(missing, wide, left)
        if left and collective.narrow:
            narrow = _narrowed(wide, collective.narrow)
            taken = _take(missing, narrow, left)
            promoted[narrow, wide] += taken
            left -= taken
        extra[wide] += left
    promotions = tuple(Promotion(narrow, wide, count) for (narrow, wide), count in sorted(promoted.items()) if count)
    return promotions, tuple(_differences(missing, extra, _sources(planned), _sources(found)))


def _take(counter: Counter[Exchange], key: Exchange, count: int) -> int:
    """Takes away as many as there are, at most `count`; returns how many."""
    taken = min(counter[key], count)
    counter[key] -= taken
    return taken


def _narrowed(wide: Exchange, dtype: str) -> Exchange:
    return replace(wide, dtype=dtype, bytes=wide.bytes * hlo.item_bits(dtype) // hlo.item_bits(wide.dtype))


def _sources(collectives: list[Collective]) -> dict[Exchange, str]:
    return {c.exchange: " at ".join(filter(None, [c.name, c.source])) for c in reversed(collectives)}


def _differences(
    missing: Counter[Exchange], extra: Counter[Exchange], ours: dict[Exchange, str], theirs: dict[Exchange, str]
) -> Iterator[Difference]:
    """Pairs what is alike in all but one term; the rest stands alone."""
    for plan, other in product(sorted(+missing), sorted(+extra)):
        term = _one_term(plan, other)
        count = min(missing[plan], extra[other]) if term else 0
        if count:
            missing[plan] -= count
            extra[other] -= count
            yield Difference(f"other {term}", plan, other, count, f"{ours[plan]}; {theirs[other]}")
    for plan, count in sorted((+missing).items()):
        yield Difference("planned but not compiled", plan, None, count, ours[plan])
    for other, count in sorted((+extra).items()):
        yield Difference("compiled but not planned", None, other, count, theirs[other])


def _one_term(plan: Exchange, other: Exchange) -> str:
    """The one term in which two exchanges differ, or "". With the type the bytes may differ, with the kind the join."""
    terms = [f.name for f in fields(Exchange) if getattr(plan, f.name) != getattr(other, f.name)]
    follows = {"dtype": "bytes", "kind": "join"}
    if len(terms) == 2 and follows.get(terms[0]) == terms[1]:
        terms = terms[:1]
    return terms[0] if len(terms) == 1 else ""
