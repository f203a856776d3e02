"""Peak memory of one device: what a compiler must hold at the same time.

Read off the device program, so that what was decided is what is counted. `passes/buffers.py` says what is a buffer and
what runs as one kernel; here kernels get an order, buffers their lifetimes, and the largest sum is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swplan.ir.device import Compute, DeviceProgram, DeviceRegion, Loop, Move
from swplan.ir.graph import Graph
from swplan.passes.buffers import Buffers, Kernel, find_buffers

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
      by_role: bytes at the peak by role of the value; "temporary" is what moves made (gathered copies, sums).
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


@dataclass(slots=True)
class _Peak:
    """The most that is alive in a region, when, and what."""

    bytes: int = 0
    op: str = ""
    alive: dict[int, int] = field(default_factory=dict)


def peak_memory(program: DeviceProgram, graph: Graph) -> MemoryReport:
    """Predicts what XLA's buffer assignment holds on one device at the peak.

    Args:
      program: the program of one device.
      graph: the program that it was partitioned from, for the names of its inputs.
    """
    buffers = find_buffers(program)
    size = lambda v: program.values[v].aval.bytes  # noqa: E731
    arguments = {value: size(value) for value in program.top.inputs}
    results = {v: size(v) for i, v in enumerate(program.top.outputs) if i not in program.aliases}
    peak = _peak(buffers, program.top, set(program.top.inputs) | {buffers.of(v) for v in program.top.outputs})
    names = dict(zip(program.top.inputs, graph.names, strict=True))
    moved = {buffers.of(v) for op in program.top.ops if isinstance(op, Move) for v in op.results}

    def held(value: int, count: int) -> Held:
        made = program.values[value]
        return Held(made.origin, count, "temporary" if value in moved else made.role, names.get(value, ""))

    alive = [held(v, n) for v, n in (*arguments.items(), *results.items(), *peak.alive.items())]
    by_role: dict[str, int] = {}
    for one in alive:
        by_role[one.role] = by_role.get(one.role, 0) + one.bytes
    argument_bytes, result_bytes = sum(arguments.values()), sum(results.values())
    return MemoryReport(
        peak_bytes=argument_bytes + result_bytes + peak.bytes,
        argument_bytes=argument_bytes,
        result_bytes=result_bytes,
        temporary_bytes=peak.bytes,
        by_role=by_role,
        peak_op=peak.op,
        largest=tuple(sorted(alive, key=lambda one: (-one.bytes, one.origin))[:LARGEST]),
    )


def _peak(buffers: Buffers, region: DeviceRegion, elsewhere: set[int]) -> _Peak:
    """The peak of a region, without the buffers that are counted `elsewhere`."""
    kernels = _schedule(buffers.kernels[id(region)])
    last = _last_reads(buffers, region, kernels)
    alive: dict[int, int] = {}
    now, best = 0, _Peak()
    for position, kernel in enumerate(kernels):
        dying = [v for v in kernel.reads if v in alive and last[v] == position]
        spare = {v for v in dying if kernel.reads[v]}
        inner = _inside(buffers, kernel)
        for value in kernel.writes:
            if value in elsewhere:
                continue
            alive[value] = buffers.bytes(value)
            heir = next((v for v in spare if alive[v] == alive[value]), None)
            now += alive[value]
            if heir is not None:
                spare.remove(heir)
                dying.remove(heir)
                now -= alive.pop(heir)
        if now + inner.bytes > best.bytes:
            best = _Peak(now + inner.bytes, inner.op or _where(kernel), {**alive, **inner.alive})
        for value in (*dying, *(v for v in kernel.writes if v in alive and last.get(v, -1) <= position)):
            now -= alive.pop(value)
    return best


def _inside(buffers: Buffers, kernel: Kernel) -> _Peak:
    if not isinstance(kernel.op, Loop):
        return _Peak()
    peaks = [_peak(buffers, body, set(body.inputs)) for body in kernel.op.regions]
    return max(peaks, key=lambda peak: peak.bytes)


def _last_reads(buffers: Buffers, region: DeviceRegion, kernels: list[Kernel]) -> dict[int, int]:
    last = {value: position for position, kernel in enumerate(kernels) for value in kernel.reads}
    last.update(dict.fromkeys(map(buffers.of, region.outputs), len(kernels)))
    return last


def _schedule(kernels: list[Kernel]) -> list[Kernel]:
    """Breadth first: by the length of the longest path from an input, as XLA's BFScheduler orders."""
    level: dict[int, int] = {}
    keys = []
    for kernel in kernels:
        depth = 1 + max((level.get(value, 0) for value in kernel.reads), default=0)
        level.update(dict.fromkeys(kernel.writes, depth))
        keys.append(depth)
    return [kernels[i] for i in sorted(range(len(kernels)), key=lambda i: keys[i])]


def _where(kernel: Kernel) -> str:
    op = kernel.op
    if isinstance(op, Move):
        return f"{op.step.kind} for {op.reader} at {op.source}"
    assert isinstance(op, (Compute, Loop))
    return f"{op.op.primitive} at {op.op.source}"
