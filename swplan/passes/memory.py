"""Peak memory of one device: what a compiler must hold at the same time.

Read off the device program, so that what was decided is what is counted. `passes/lowering.py` says what is to be done,
`passes/buffers.py` what runs as one kernel and in which order; here buffers get lifetimes, and the largest sum is
found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from msgspec import structs

from swplan.ir.device import Compute, DeviceProgram, DeviceRegion, Loop, Move
from swplan.ir.graph import Graph
from swplan.passes.buffers import copy_first, fuse, overwritten
from swplan.passes.heap import Life, heap_bytes, outside_holes, peak_position
from swplan.passes.instructions import Kernel, Lowering
from swplan.passes.lowering import lower
from swplan.passes.order import depth_first, schedule
from swplan.passes.xla import XLA_0_10, Xla

ALIGNMENT_BYTES = 64  # of every buffer: XLA's `cpu::MinAlign`
LARGEST = 20


@dataclass(frozen=True, slots=True)
class Held:
    """A buffer that is alive at the peak: the global value that it is (part of), and its name if that is an input."""

    origin: int
    bytes: int
    role: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What one device holds at the peak.

    Attributes:
      peak_bytes: arguments, results that do not replace one, and temporaries.
      argument_bytes: of the inputs.
      result_bytes: of the results that are not returned in the buffer of an input.
      temporary_bytes: of all else that is alive at the peak.
      by_role: bytes at the peak by role of the value; "temporary" is what moves made (gathered copies, sums), and
        copies of inputs; "gaps" is what lies unused between buffers.
      peak_op: primitive and source line of the op at the peak.
      largest: the largest buffers alive at the peak, largest first.
    """

    peak_bytes: int
    argument_bytes: int
    result_bytes: int
    temporary_bytes: int
    by_role: Mapping[str, int]
    peak_op: str
    largest: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """A region and all loops inside it on one time axis.

    Attributes:
      lives: of all buffers, in times.
      kernels: the kernel at each time.
      begins: time at which each kernel of the region itself begins.
      ends: time at which it ends.
    """

    lives: tuple[Life, ...]
    kernels: tuple[Kernel, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]


def peak_memory(program: DeviceProgram, graph: Graph, *, in_order: bool = False, xla: Xla = XLA_0_10) -> MemoryReport:
    """Predicts what XLA's buffer assignment holds on one device at the peak.

    Args:
      program: the program of one device.
      graph: the program that it was partitioned from, for the names of its inputs.
      in_order: ops run in the order of the program, where what is recomputed stays where it is needed; otherwise in
      the order that XLA makes of it on a CPU, which drops the barriers that hold it there.
      xla: the version that compiles the program, if not in that order.
    """
    work = lower(program, XLA_0_10 if in_order else xla, any_order=in_order)
    lives, kernels = temporaries_of(work, program, in_order)
    live_bytes, at = peak_position(lives, len(kernels))
    temporary_bytes = live_bytes if in_order else max(live_bytes, heap_bytes(lives))
    arguments = {value: work.bytes(value) for value in program.top.inputs}
    results = {v: work.bytes(v) for i, v in enumerate(program.top.outputs) if i not in program.aliases}
    temporaries = [(life.buffer, life.bytes) for life in lives if life.start <= at <= life.end]
    names = dict(zip(program.top.inputs, graph.names, strict=True))
    moved = {v for op in program.top.ops if isinstance(op, Move) for v in op.results}
    alive = [_held(work, v, n, names, moved) for v, n in (*arguments.items(), *results.items(), *temporaries)]
    argument_bytes, result_bytes = sum(arguments.values()), sum(results.values())
    return MemoryReport(
        peak_bytes=argument_bytes + result_bytes + temporary_bytes,
        argument_bytes=argument_bytes,
        result_bytes=result_bytes,
        temporary_bytes=temporary_bytes,
        by_role=_by_role(alive) | {"gaps": temporary_bytes - live_bytes},
        peak_op=_where(kernels[at] if kernels else None),
        largest=tuple(sorted(alive, key=lambda one: (-one.bytes, one.origin))[:LARGEST]),
    )


def _held(work: Lowering, buffer: int, count: int, names: Mapping[int, str], moved: set[int]) -> Held:
    value = work.program.values[work.likes.get(buffer, buffer)]
    temporary = buffer in moved or (buffer in work.likes and work.likes[buffer] in names)
    return Held(value.origin, count, "temporary" if temporary else value.role, names.get(buffer, ""))


def _by_role(alive: Iterable[Held]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in alive:
        found[one.role] = found.get(one.role, 0) + one.bytes
    return found


def temporaries_of(work: Lowering, program: DeviceProgram, in_order: bool) -> tuple[list[Life], tuple[Kernel, ...]]:
    """What lives beside arguments and results: donated inputs are written over, or copied where that is too early."""
    inputs, outputs = program.top.inputs, [work.of(v) for v in program.top.outputs]
    kernels = fuse(work.regions[id(program.top)], set(outputs), in_order=in_order)
    pairs = [(inputs[i], outputs[o]) for o, i in program.aliases.items() if outputs[o] != inputs[i]]
    copies = {old: work.new(old, work.bytes(old)) for old in sorted(overwritten(kernels, pairs))}
    written = copy_first(kernels, copies)
    order = list(written) if in_order else schedule(written, inputs)
    ranks = {} if in_order else depth_first(order, outputs)
    run = _run(work, order, _lives(work, order, outputs, {*inputs, *outputs}), ranks)
    if in_order:
        return list(run.lives), run.kernels
    replaced = {new for _, new in pairs}
    places = dict(pairs) | {new: new for new in outputs if new not in inputs and new not in replaced}
    holes = [_in_time(run, hole, hole.rank) for hole in _holes(work, order, places, ranks)]
    return outside_holes(run.lives, holes), run.kernels


def _holes(work: Lowering, order: Sequence[Kernel], places: Mapping[int, int], ranks: Mapping[int, int]) -> list[Life]:
    """When the places of results (old -> new) are free: while old is no longer read, and new not yet made."""
    made = {buffer: position for position, kernel in enumerate(order) for buffer in kernel.writes}
    last = {buffer: position for position, kernel in enumerate(order) for buffer in kernel.reads}
    found = []
    for old, new in places.items():
        start = _free_from(work, order, old, last.get(old, -1)) if old != new else 0
        end = made.get(new, -1) - 1
        if start <= end:
            rank = min(ranks.get(old, ranks[new]), ranks[new])
            found.append(structs.replace(_life(work, new, start, end), rank=rank))
    return found


def _free_from(work: Lowering, order: Sequence[Kernel], old: int, last: int) -> int:
    """When the place of a buffer may be written: by its last reader, if that may write over what it reads."""
    return last if work.xla.inputs_in_place and last >= 0 and order[last].reads[old] else last + 1


def _body(work: Lowering, body: DeviceRegion, carries: int) -> _Run:
    """One trip of a loop's body, without what its loop holds: the carries, and what it reads from outside."""
    outputs = [work.of(v) for v in body.outputs]
    kernels = fuse(work.regions[id(body)], set(outputs[:carries]), in_order=work.any_order)
    pairs = [(old, new) for old, new in zip(body.inputs[:carries], outputs, strict=False) if old != new]
    copies = {old: work.new(old, work.bytes(old)) for old in sorted(overwritten(kernels, pairs))}
    written = copy_first(kernels, copies)
    order = list(written) if work.any_order else schedule(written, body.inputs)
    lives = _lives(work, order, outputs[:carries], {*body.inputs[:carries], *outputs[:carries]})
    return _run(work, order, lives, {} if work.any_order else depth_first(order, outputs))


def _lives(work: Lowering, order: Sequence[Kernel], leaving: Iterable[int], elsewhere: set[int]) -> list[Life]:
    """Lifetimes of all buffers but those that are counted `elsewhere`; one that dies may be written over."""
    last = {buffer: position for position, kernel in enumerate(order) for buffer in kernel.reads}
    last.update(dict.fromkeys(leaving, len(order)))
    born: dict[int, int] = {}
    found = []
    for position, kernel in enumerate(order):
        dying = [buffer for buffer in kernel.reads if last[buffer] == position and buffer in born]
        spare = [buffer for buffer in dying if kernel.reads[buffer]]
        heirs: dict[int, int] = {}
        for buffer in kernel.writes:
            old = next((old for old in spare if work.bytes(old) == work.bytes(buffer)), None)
            if old is not None:
                spare.remove(old)
                heirs[old] = buffer
            if buffer not in elsewhere:
                born[buffer] = position
        for buffer in dying:
            heir = heirs.get(buffer, -1)
            found.append(_life(work, buffer, born.pop(buffer), position - (heir in born), heir))
        found += [_life(work, b, born.pop(b), position) for b in kernel.writes if b in born and b not in last]
    return found + [_life(work, buffer, start, len(order)) for buffer, start in born.items()]


def _life(work: Lowering, buffer: int, start: int, end: int, heir: int = -1) -> Life:
    return Life(buffer, -(-work.bytes(buffer) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES, start, end, heir)


def _run(work: Lowering, order: Sequence[Kernel], lives: Iterable[Life], ranks: Mapping[int, int]) -> _Run:
    """Kernels and lifetimes with the bodies of loops put where the loops stand; those rank before all else."""
    kernels: list[Kernel] = []
    inner: list[Life] = []
    begins, ends = [], []
    for kernel in order:
        begins.append(len(kernels))
        kernels.append(kernel)
        for body in kernel.op.regions if _is_loop(kernel) else ():
            run = _body(work, body, _carries(kernel.op))
            shift = len(kernels)
            inner += [_moved(life, shift, -1 - len(work.program.values) - len(work.sizes)) for life in run.lives]
            kernels += run.kernels
        ends.append(len(kernels) - 1)
    outer = _Run((), tuple(kernels), tuple(begins), tuple(ends))
    return replace(outer, lives=(*(_in_time(outer, life, ranks.get(life.buffer, 0)) for life in lives), *inner))


def _moved(life: Life, times: int, ranks: int) -> Life:
    return structs.replace(life, start=life.start + times, end=life.end + times, rank=life.rank + ranks)


def _in_time(run: _Run, life: Life, rank: int) -> Life:
    """A lifetime in positions of kernels as one in times; one that leaves its region lasts to the end."""
    last = len(run.begins) - 1
    start, end = run.begins[min(life.start, last)], run.ends[min(life.end, last)]
    return Life(life.buffer, life.bytes, start, end, life.heir, rank)


def _is_loop(kernel: Kernel) -> bool:
    return isinstance(kernel.op, Loop) and kernel.name == kernel.op.op.kind


def _carries(loop: Loop) -> int:
    return {"scan": loop.op.carries, "while": len(loop.results), "cond": 0}[loop.op.kind]


def _where(kernel: Kernel | None) -> str:
    if kernel is None or kernel.op is None:
        return "copies of donated inputs" if kernel else ""
    if isinstance(kernel.op, Move):
        return f"{kernel.op.step.kind} for {kernel.op.reader} at {kernel.op.source}"
    assert isinstance(kernel.op, (Compute, Loop))
    return f"{kernel.name} at {kernel.op.op.source}"
