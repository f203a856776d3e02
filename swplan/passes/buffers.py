"""Which values of a device program are buffers, and which ops run as one kernel.

A compiler fuses: an elementwise result that only other loops read is computed inside them and never exists; what costs
little is computed again by every reader. A reshape is its operand under another shape. What is left are the buffers that
`passes/memory.py` follows from the kernel that writes them to the last one that reads them.

Modelled on XLA (`InstructionFusion::IsExpensive` and `CpuInstructionFusion`, openxla/xla), not on one version of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from swplan.ir.device import Compute, DeviceOp, DeviceProgram, DeviceRegion, Loop, Move

ALIGNMENT_BYTES = 64  # XLA's CPU backend aligns every buffer so (cpu::MinAlign)

_BITCASTS = {"reshape", "squeeze", "expand_dims", "copy", "name", "stop_gradient", "sharding_constraint", "bitcast_convert_type"}
_SHAPING = {"broadcast_in_dim", "transpose", "rev", "slice", "dynamic_slice", "pad", "concatenate", "gather", "iota", "split"}
_IN_PLACE = {"dynamic_update_slice", "scatter", "scatter-add", "scatter_add", "scatter_mul", "scatter_min", "scatter_max"}
_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "reduce_prod"}
_EXPENSIVE = set(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma div erf erf_inv erfc exp exp2 expm1 lgamma log log1p
    logistic pow rem rsqrt sin sinh sqrt tan tanh gather""".split()
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """What runs as one: it reads buffers and writes others.

    Attributes:
      op: the op whose results it writes.
      reads: buffer -> whether the kernel may write over it, because it reads each element only for the same element.
      writes: buffers that it makes.
    """

    op: DeviceOp
    reads: dict[int, bool]
    writes: tuple[int, ...]


@dataclass(slots=True)
class Buffers:
    """The buffers of a program.

    Attributes:
      root: a value that is another one under a new shape -> that one.
      kernels: for each region (by identity), its kernels in program order.
    """

    program: DeviceProgram
    root: dict[int, int] = field(default_factory=dict)
    kernels: dict[int, list[Kernel]] = field(default_factory=dict)

    def of(self, value: int) -> int:
        """The buffer that holds a value."""
        return self.root.get(value, value)

    def bytes(self, value: int) -> int:
        """Bytes of a buffer, aligned."""
        return -(-self.program.values[value].aval.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def find_buffers(program: DeviceProgram) -> Buffers:
    """The buffers and kernels of a whole program."""
    buffers = Buffers(program)
    for region in regions(program.top):
        _rename(buffers, region)
    for region in regions(program.top):
        buffers.kernels[id(region)] = _kernels(buffers, region)
    return buffers


def regions(region: DeviceRegion) -> Iterator[DeviceRegion]:
    """A region and all that lie in it."""
    yield region
    for op in region.ops:
        for body in op.regions if isinstance(op, Loop) else ():
            yield from regions(body)


def outside_reads(region: DeviceRegion) -> set[int]:
    """Values of enclosing regions that a region reads."""
    used, made = set(region.outputs), set(region.inputs)
    for op in region.ops:
        used.update(op.operands)
        made.update(op.results)
        for body in op.regions if isinstance(op, Loop) else ():
            used |= outside_reads(body)
    return used - made


def op_reads(op: DeviceOp) -> tuple[int, ...]:
    """All values that an op reads, those that its regions take from outside included."""
    if not isinstance(op, Loop):
        return op.operands
    extra = set().union(*map(outside_reads, op.regions)) - set(op.operands)
    return (*op.operands, *sorted(extra))


def _rename(buffers: Buffers, region: DeviceRegion) -> None:
    for op in region.ops:
        if _is_bitcast(buffers.program, op):
            buffers.root[op.results[0]] = buffers.of(op.operands[0])


def _is_bitcast(program: DeviceProgram, op: DeviceOp) -> bool:
    if not isinstance(op, Compute) or op.operands[0:1] == ():
        return False
    before, after = program.values[op.operands[0]].aval, program.values[op.results[0]].aval
    if op.op.primitive in _BITCASTS:
        return before.bytes == after.bytes
    if op.op.primitive == "broadcast_in_dim":
        return before.size == after.size
    return op.op.primitive == "transpose" and _long(before.shape) == _long(after.shape) and _keeps_order(op, before.shape)


def _long(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size > 1]


def _keeps_order(op: Compute, shape: tuple[int, ...]) -> bool:
    moved = [dim for dim in op.op.params["permutation"] if shape[dim] > 1]
    return moved == sorted(moved)


def _is_loop(op: DeviceOp) -> bool:
    """Whether a compiler can compute the op's operands inside of it, and the op inside of its readers."""
    if isinstance(op, Move):
        return op.step.kind in ("slice", "mask")
    if isinstance(op, Loop):
        return False
    return bool(op.op.rule and op.op.rule.fusible) or op.op.primitive in _REDUCTIONS | _SHAPING


def _name(op: DeviceOp) -> str:
    return op.step.kind if isinstance(op, Move) else op.op.primitive


def _kernels(buffers: Buffers, region: DeviceRegion) -> list[Kernel]:
    ops = [op for op in region.ops if not (op.results and op.results[0] in buffers.root)]
    fused = _fused(buffers, region, ops)
    inside: dict[int, dict[int, bool]] = {}
    kernels = []
    for op in ops:
        reads = _reads(buffers, op, inside)
        if op.results[0] in fused:
            inside[op.results[0]] = reads
        else:
            kernels.append(Kernel(op, reads, op.results))
    return kernels


def _fused(buffers: Buffers, region: DeviceRegion, ops: list[DeviceOp]) -> set[int]:
    """Results that are computed inside of all their readers."""
    readers: dict[int, list[DeviceOp]] = {buffers.of(value): [_BORDER] for value in region.outputs}
    for op in ops:
        for value in {buffers.of(value) for value in op_reads(op)}:
            readers.setdefault(value, []).append(op)
    return {op.results[0] for op in ops if _is_fused(op, readers.get(op.results[0], []))}


_BORDER = Loop(op=None, operands=(), results=(), regions=())  # type: ignore[arg-type]


def _is_fused(op: DeviceOp, readers: list[DeviceOp]) -> bool:
    name = _name(op)
    if len(op.results) != 1 or not _is_loop(op) or name in _IN_PLACE:
        return False
    costly = name in _EXPENSIVE or name in _REDUCTIONS
    return (len(readers) == 1 or not costly) and all(map(_is_loop, readers))


def _reads(buffers: Buffers, op: DeviceOp, inside: dict[int, dict[int, bool]]) -> dict[int, bool]:
    """The buffers that an op reads, by way of what is fused into it."""
    found: dict[int, bool] = {}
    for slot, value in enumerate(op_reads(op)):
        root = buffers.of(value)
        same = _same_elements(buffers.program, op, slot, value)
        for source, through in inside.get(root, {root: True}).items():
            found[source] = found.get(source, True) and same and through
    return {value: same for value, same in found.items() if value not in buffers.program.constants}


def _same_elements(program: DeviceProgram, op: DeviceOp, slot: int, value: int) -> bool:
    """Whether an element of the operand is read only for the same element of the result."""
    if isinstance(op, Loop):
        return False
    if _name(op) in _IN_PLACE:
        return slot == 0
    if not _is_loop(op) or _name(op) in _REDUCTIONS | _SHAPING | {"slice"}:
        return False
    return program.values[value].aval.size == program.values[op.results[0]].aval.size
