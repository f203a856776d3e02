"""Peak memory of one device: what a compiler must hold at the same time.

Read off the device program, so that what was decided is what is counted. `passes/lowering.py` says what is to be done,
`passes/buffers.py` what runs as one kernel and in which order; here buffers get lifetimes, and the largest sum is
found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swplan.ir.device import Compute, DeviceProgram, DeviceRegion, Loop, Move
from swplan.ir.graph import Graph
from swplan.passes.buffers import Kernel, copy_first, fuse, overwritten, schedule
from swplan.passes.instructions import Lowering
from swplan.passes.lowering import lower

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
        copies of inputs.
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
class _Life:
    """A buffer from the kernel that makes it to the last that reads it (positions in the schedule).

    `heir` is a result that this last kernel may write over it.
    """

    buffer: int
    bytes: int
    start: int
    end: int
    heir: int = -1


@dataclass(frozen=True, slots=True)
class _Peak:
    """The most that is alive in a region, at which kernel, and what."""

    bytes: int = 0
    kernel: Kernel | None = None
    alive: tuple[_Life, ...] = ()


def peak_memory(program: DeviceProgram, graph: Graph) -> MemoryReport:
    """Predicts what XLA's buffer assignment holds on one device at the peak.

    Args:
      program: the program of one device.
      graph: the program that it was partitioned from, for the names of its inputs.
    """
    work = lower(program)
    arguments = {value: work.bytes(value) for value in program.top.inputs}
    results = {v: work.bytes(v) for i, v in enumerate(program.top.outputs) if i not in program.aliases}
    peak = _top_peak(work, program)
    temporaries = [(life.buffer, life.bytes) for life in peak.alive]
    names = dict(zip(program.top.inputs, graph.names, strict=True))
    moved = {v for op in program.top.ops if isinstance(op, Move) for v in op.results}
    alive = [_held(work, v, n, names, moved) for v, n in (*arguments.items(), *results.items(), *temporaries)]
    argument_bytes, result_bytes = sum(arguments.values()), sum(results.values())
    return MemoryReport(
        peak_bytes=argument_bytes + result_bytes + peak.bytes,
        argument_bytes=argument_bytes,
        result_bytes=result_bytes,
        temporary_bytes=peak.bytes,
        by_role=_by_role(alive),
        peak_op=_where(peak.kernel),
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


def _top_peak(work: Lowering, program: DeviceProgram) -> _Peak:
    """The peak of the whole step: donated inputs are written over, or copied where they would be too early."""
    outputs = [work.of(v) for v in program.top.outputs]
    kernels = fuse(work.regions[id(program.top)], set(outputs))
    pairs = [
        (program.top.inputs[i], outputs[o]) for o, i in program.aliases.items() if outputs[o] != program.top.inputs[i]
    ]
    copies = {old: work.new(old, work.bytes(old)) for old in sorted(overwritten(kernels, pairs))}
    order = schedule(copy_first(kernels, copies))
    lives = _lives(work, order, outputs, {*program.top.inputs, *outputs})
    places = dict(pairs) | {
        new: new for new in outputs if new not in program.top.inputs and new not in dict(pairs).values()
    }
    return _peak(work, order, _outside_holes(lives, _holes(work, order, places)))


def _holes(work: Lowering, order: Sequence[Kernel], places: Mapping[int, int]) -> list[_Life]:
    """When the places of results (old -> new) are free: while old is no longer read, and new not yet made."""
    made = {buffer: position for position, kernel in enumerate(order) for buffer in kernel.writes}
    last = {buffer: position for position, kernel in enumerate(order) for buffer in kernel.reads}
    spans = [
        (new, last.get(old, -1) + 1 if old != new else 0, made[new] - 1) for old, new in places.items() if new in made
    ]
    return [_life(work, new, start, end) for new, start, end in spans if start <= end]


def _body_peak(work: Lowering, body: DeviceRegion, carries: int) -> _Peak:
    """The peak of a loop's body, beyond what its loop holds: the carries, and what it reads from outside."""
    outputs = [work.of(v) for v in body.outputs]
    kernels = fuse(work.regions[id(body)], set(outputs[:carries]) if carries else set())
    pairs = [(old, new) for old, new in zip(body.inputs[:carries], outputs, strict=False) if old != new]
    late = overwritten(kernels, pairs)
    in_place = {new for old, new in pairs if old not in late}
    order = schedule(kernels)
    return _peak(work, order, _lives(work, order, outputs[:carries], {*body.inputs[:carries], *in_place}))


def _lives(work: Lowering, order: Sequence[Kernel], leaving: Iterable[int], elsewhere: set[int]) -> list[_Life]:
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


def _life(work: Lowering, buffer: int, start: int, end: int, heir: int = -1) -> _Life:
    return _Life(buffer, -(-work.bytes(buffer) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES, start, end, heir)


def _outside_holes(lives: list[_Life], holes: list[_Life]) -> list[_Life]:
    """The buffers that do not fit into donated inputs of which a copy is in use: largest first, smallest hole first."""
    rooms = sorted(holes, key=lambda hole: (hole.bytes, hole.start))
    taken: list[list[_Life]] = [[] for _ in rooms]
    left = []
    for life in sorted(lives, key=lambda life: (-life.bytes, life.start)):
        room = next((i for i, hole in enumerate(rooms) if _fits(life, hole, taken[i])), None)
        left.append(life) if room is None else taken[room].append(life)
    return left


def _fits(life: _Life, hole: _Life, taken: Iterable[_Life]) -> bool:
    end = hole.end + (life.heir == hole.buffer)
    if life.bytes > hole.bytes or life.start < hole.start or life.end > end:
        return False
    return all(life.end < other.start or other.end < life.start for other in taken)


def _peak(work: Lowering, order: Sequence[Kernel], lives: Sequence[_Life]) -> _Peak:
    """The largest sum of buffers that are alive together, and of what loops need inside."""
    change = [0] * (len(order) + 2)
    for life in lives:
        change[life.start] += life.bytes
        change[life.end + 1] -= life.bytes
    inner = {
        i: _inside(work, kernel.op)
        for i, kernel in enumerate(order)
        if isinstance(kernel.op, Loop) and kernel.name == kernel.op.op.kind
    }
    best, now, at = -1, 0, 0
    for position in range(len(order)):
        now += change[position]
        total = now + (inner[position].bytes if position in inner else 0)
        if total > best:
            best, at = total, position
    if not order:
        return _Peak()
    inside = inner.get(at, _Peak())
    alive = tuple(life for life in lives if life.start <= at <= life.end)
    return _Peak(best, inside.kernel or order[at], (*alive, *inside.alive))


def _inside(work: Lowering, loop: Loop) -> _Peak:
    carries = {"scan": loop.op.carries, "while": len(loop.results), "cond": 0}[loop.op.kind]
    return max((_body_peak(work, body, carries) for body in loop.regions), key=lambda peak: peak.bytes)


def _where(kernel: Kernel | None) -> str:
    if kernel is None or kernel.op is None:
        return "copies of donated inputs" if kernel else ""
    if isinstance(kernel.op, Move):
        return f"{kernel.op.step.kind} for {kernel.op.reader} at {kernel.op.source}"
    assert isinstance(kernel.op, (Compute, Loop))
    return f"{kernel.name} at {kernel.op.op.source}"
