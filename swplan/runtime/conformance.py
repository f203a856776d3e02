"""Compares what XLA compiled with the device program that was planned: collective by collective, byte by byte.

A difference is a bug of ours: the plan was priced by what it planned. What XLA does to a collective without changing
what is exchanged (several in one instruction, a wider type on a CPU) is accounted for and listed. It runs nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from swplan.ir.device import Compute, DeviceProgram, DeviceRegion, Loop, Move, walk_device
from swplan.ir.graph import Aval, Graph
from swplan.ir.strategy import split_degree
from swplan.runtime import hlo

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all")
KINDS += ("collective-permute", "collective-broadcast")
# What XLA's AllReducePromotion widens (bf16 on a CPU, 16-bit integers on a GPU), by the type that it widens to.
WIDENED = {"f32": "bf16", "s32": "s16", "u32": "u16"}


@dataclass(frozen=True, slots=True, order=True)
class Exchange:
    """What devices exchange in one collective, in the terms in which plan and program are compared.

    Attributes:
      kind: "all_reduce", "all_gather", "reduce_scatter", "all_to_all"; from XLA also "collective_permute", ...
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
        groups = " ".join(",".join(map(str, group)) for group in self.groups)
        trip = "" if self.exact else " in each trip of a loop of unknown length"
        return f"{' '.join(filter(None, [self.kind, self.join]))} {self.dtype} {self.bytes:,} B over {groups}{trip}"


@dataclass(frozen=True, slots=True)
class Collective:
    """An exchange that one of the two programs does `count` times, at one place.

    Attributes:
      source: the planned reader and the user's line, or the compiled instruction and the path of its equation.
      narrow: the type from which XLA may have widened what is sent.
      promoted: whether XLA says that it widened it, or another array of the same instruction.
      guessed: whether `narrow` is what XLA usually widens, and not read off the program.
    """

    exchange: Exchange
    count: int
    source: str
    narrow: str = ""
    promoted: bool = False
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """`count` exchanges that are not the same in both programs.

    `what` is "planned but not compiled", "compiled but not planned", or the one term in which they differ: "other
    groups", "other bytes", "other dtype", "other join", "other kind", "other exact" (one side alone knows how long the
    loop is); of what is accounted for, "sent in a wider type". `source` says where they come from.
    """

    what: str
    planned: Exchange | None
    compiled: Exchange | None
    count: int
    source: str

    def __str__(self) -> str:
        pair = f"planned {self.planned}; compiled {self.compiled}" if self.planned and self.compiled else ""
        return f"{self.count} x {self.what}: {pair or self.planned or self.compiled} ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """What the comparison found; true exactly when there is no difference.

    Attributes:
      differences: all differences.
      combined: the exchanges that one instruction does together, for each that does several.
      promoted: exchanges sent in a wider type than planned; accounted for.
      collectives: how many collectives were planned, each as often as it runs.
      unknown_loops: compiled loops of unknown length; what is in them is counted for one trip.
      planned_flops: flops of contractions on one device, by the rules of the ops.
      compiled_flops: likewise as compiled, by the definition of `hlo.matmul_flops`.
      planned_bytes: peak memory of one device, as planned, if it was given.
      compiled_bytes: arguments + results - what they share + temporaries, by XLA's memory analysis.
    """

    differences: tuple[Difference, ...]
    combined: tuple[tuple[Exchange, ...], ...]
    promoted: tuple[Difference, ...]
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
        lines += [f"in one instruction: {'; '.join(map(str, exchanges))}" for exchanges in self.combined]
        lines += [f"accounted for: {promotion}" for promotion in self.promoted]
        lines += [f"loop of unknown length, one trip counted: {name}" for name in self.unknown_loops]
        lines += [f"flops of contractions: {self.planned_flops:,} planned, {self.compiled_flops:,} compiled"]
        lines += [f"peak memory: {self.planned_bytes or 0:,} B planned, {self.compiled_bytes:,} B compiled"]
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
    local = compiled.runtime_executable().local_devices()
    ids = [device.id for device in (local if len(local) == module.devices else mesh.devices.flat)]
    planned, found = list(planned_collectives(program, graph, mesh)), list(compiled_collectives(module, ids))
    promoted, differences = _match(planned, [collective for arrays in found for collective in arrays])
    memory = compiled.memory_analysis()
    passed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Conformance(
        differences=differences,
        combined=tuple(tuple(c.exchange for c in arrays) for arrays in found if len(arrays) > 1),
        promoted=promoted,
        collectives=sum(collective.count for collective in planned),
        unknown_loops=tuple(hlo.unknown_loops(module)),
        planned_flops=planned_flops(program),
        compiled_flops=hlo.matmul_flops(module),
        planned_bytes=planned_bytes,
        compiled_bytes=passed + memory.temp_size_in_bytes,
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
            sent = Exchange(step.kind, hlo_dtype(value.aval), program.buffer_bytes(move), join, groups, exact)
            yield Collective(sent, count, f"{names.get(value.origin, value.aval)} for {move.reader} at {move.source}")


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
    grid = ids.transpose([*rest, *axes]).reshape(-1, prod(ids.shape[axis] for axis in axes))
    return tuple(map(tuple, grid.tolist()))


def _canonical(kind: str, groups: Iterable[tuple[int, ...]]) -> hlo.Groups:
    """Groups in an order of their own."""
    return tuple(sorted(tuple(sorted(group)) if kind == "all_reduce" else group for group in groups))


def hlo_dtype(aval: Aval) -> str:
    """The HLO name of a value's element type: a bool is a `pred` of one byte, a typed key lies in `u32` words."""
    short = {"bool": "pred", "float8_": "f8", "bfloat": "bf", "float": "f", "complex": "c", "uint": "u", "int": "s"}
    return re.sub("|".join(short), lambda match: short[match[0]], "uint32" if aval.is_key else aval.dtype)


def planned_flops(program: DeviceProgram) -> int:
    """Flops of contractions of one device in a step, by the rules of the ops, loops times their trips."""
    total = 0
    for op, trips in walk_device(program.top):
        if isinstance(op, Compute) and op.op.rule.work.unit == "matmul":
            points = op.op.rule.points // split_degree(op.strategy, program.sizes)
            total += trips * round(points * op.op.rule.work.per_point)
    return total


def compiled_collectives(module: hlo.Module, ids: Sequence[int]) -> Iterator[tuple[Collective, ...]]:
    """Every collective instruction that exchanges anything, array by array; an all-to-all is one, however passed."""
    for run in hlo.walk(module):
        opcode = run.instruction.opcode.removesuffix("-start")
        groups = hlo.instruction_groups(run.instruction, module.devices) if opcode in KINDS else ((),)
        if len(groups[0]) > 1:
            kind = opcode.replace("-", "_")
            groups = _canonical(kind, (tuple(ids[device] for device in group) for group in groups))
            yield tuple(_arrays(module, run, kind, groups))


def _arrays(module: hlo.Module, run: hlo.Run, kind: str, groups: hlo.Groups) -> Iterator[Collective]:
    at, values = run.instruction, run.computation.instructions
    applied = hlo.attribute(at, "to_apply")
    promoted, join = applied.endswith("_promoted"), hlo.reduction(module, applied)
    pairs = [(a, hlo.narrow_type(module, run.computation, name)) for name in at.operands for a in values[name].shapes]
    if kind == "all_to_all":
        whole = (sum(prod(array.dims) for array, _ in pairs),)
        pairs = [(hlo.Shape(pairs[0][0].dtype, whole), pairs[0][1])]
    for array, narrow in pairs:
        size = array.bytes * (len(groups[0]) if kind == "all_gather" else 1)
        exchange = Exchange(kind, array.dtype, size, join, groups, run.exact)
        guess = WIDENED.get(array.dtype, "") if promoted and not narrow else ""
        yield Collective(exchange, run.trips, f"{at.name} of {hlo.op_name(at)}", narrow or guess, promoted, bool(guess))


def _match(planned: list[Collective], found: list[Collective]) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """Takes equal exchanges away from both sides, then those sent in a wider type: (those, what is left)."""
    missing, extra, promoted = Counter[Exchange](), Counter[Exchange](), Counter[tuple[Exchange, Exchange]]()
    for collective in planned:
        missing[collective.exchange] += collective.count
    for collective in sorted(found, key=lambda c: (bool(c.narrow), c.guessed)):
        wide, left = collective.exchange, collective.count
        for likely in _likely(collective):
            taken = min(missing[likely], left)
            missing[likely] -= taken
            left -= taken
            promoted[likely, wide] += taken if likely != wide else 0
        extra[wide] += left
    ours, theirs = ({c.exchange: c.source for c in reversed(side)} for side in (planned, found))
    widened = [Difference("sent in a wider type", *pair, n, ours[pair[0]]) for pair, n in sorted((+promoted).items())]
    return tuple(widened), tuple(_differences(missing, extra, ours, theirs))


def _likely(collective: Collective) -> list[Exchange]:
    """What a compiled exchange may have been, likeliest first: itself, and itself in the narrower type."""
    wide, dtype = collective.exchange, collective.narrow or collective.exchange.dtype
    size = wide.bytes * hlo.item_bits(dtype) // hlo.item_bits(wide.dtype)
    both = [wide, replace(wide, dtype=dtype, bytes=size)]
    return both[::-1] if collective.promoted else both


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
    return terms[0] if len(terms) == 1 or terms in (["dtype", "bytes"], ["kind", "join"]) else ""
