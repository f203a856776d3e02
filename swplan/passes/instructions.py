"""Instructions: what a compiler schedules, and the buffers that it reads and writes.

Between a device program and its kernels: `passes/lowering.py` makes them, `passes/buffers.py` fuses them, and
`passes/memory.py` counts what they hold. The classes of ops follow XLA for CPU (openxla/xla:
`InstructionFusion::IsExpensive`, `CpuInstructionFusion`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from swplan.ir.device import Compute, DeviceOp, DeviceProgram, Move
from swplan.ir.graph import Aval
from swplan.passes.xla import Xla

LOOP, LIBRARY, BARRED, WHOLE = "loop", "library", "barred", "whole"

SHAPING = {"broadcast_in_dim", "transpose", "rev", "slice", "dynamic_slice", "pad", "concatenate", "gather", "iota"}
_SUMS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"}
REDUCTIONS = _SUMS | {"reduce_and", "reduce_or", "argmax", "argmin"}
REARRANGING = SHAPING | REDUCTIONS
IN_PLACE = {"dynamic_update_slice", "scatter", "scatter-add", "scatter_mul", "scatter_min", "scatter_max"}
EXPENSIVE = set(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma div erf erf_inv erfc exp exp2 expm1 gather lgamma
    log log1p logistic pow rem rsqrt sin sinh sqrt tan tanh""".split()  # noqa: SIM905
)
_LIBRARY_ELEMENTS = 2048  # larger float sums are calls of XLA's CPU library: seen at 4096, not at 2048 (jaxlib 0.10.2)


class Instruction(Struct, frozen=True, gc=False):
    """What is scheduled, before fusion.

    Attributes:
      op: the device op for which it is done.
      name: a primitive, or the kind of a move.
      reads: buffers.
      writes: buffers.
      kind: "loop" (fuses with loops), "library" (a call that takes in arithmetic), "barred" (between barriers: takes
        in changes of layout only), "whole" (fuses with nothing).
      costly: whether it is not repeated for several readers.
      alike: reads of which each element is read only for the same element of the result: it may be written over.
      wide: reads as large as the result.
      turn: of the copies around an exchange, the order of dims in which each element is read. XLA lays out values so
        that copies which undo each other do not exist.
    """

    op: DeviceOp
    name: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    kind: str = WHOLE
    costly: bool = False
    alike: tuple[int, ...] = ()
    wide: tuple[int, ...] = ()
    turn: tuple[int, ...] = ()


class Kernel(Struct, frozen=True, gc=False):
    """What runs as one.

    Attributes:
      op: the device op whose results it writes.
      name: a primitive, or the kind of a move.
      reads: buffer -> whether the kernel may write over it, because it reads each element only for the same element.
      writes: buffers that it makes.
      turns: buffer -> its turn among the readers of the buffer, where that is not the order of the program.
    """

    op: DeviceOp | None
    name: str
    reads: Mapping[int, bool]
    writes: tuple[int, ...]
    turns: Mapping[int, int] = {}


@dataclass(slots=True)
class Lowering:
    """The instructions of every region (by identity), and the buffers that values became.

    Attributes:
      root: a value that is another one under a new shape -> that one.
      sizes: bytes of buffers that are no value of the program.
      likes: such a buffer -> the value that it is a copy of, or stands for.
      any_order: products and exchanges read dims in any order, without copies that put them in theirs.
    """

    program: DeviceProgram
    xla: Xla
    any_order: bool = False
    root: dict[int, int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    likes: dict[int, int] = field(default_factory=dict)
    regions: dict[int, list[Instruction]] = field(default_factory=dict)
    copies: dict[tuple, int] = field(default_factory=dict)
    zeros: dict[int, list[int]] = field(default_factory=dict)

    def of(self, value: int) -> int:
        """The buffer that holds a value."""
        return self.root.get(value, value)

    def bytes(self, buffer: int) -> int:
        """Bytes of a buffer."""
        return self.sizes[buffer] if buffer in self.sizes else self.program.values[buffer].aval.bytes

    def new(self, like: int, size: int) -> int:
        """A buffer that is no value of the program."""
        buffer = len(self.program.values) + len(self.sizes)
        self.sizes[buffer], self.likes[buffer] = size, like
        return buffer


def kind_of(work: Lowering, op: Compute) -> str:
    """Whether an op fuses with loops, is a call of a library, or stands alone."""
    name, aval = op.op.primitive, work.program.values[op.operands[0]].aval if op.operands else None
    if name in _SUMS and aval.size > _LIBRARY_ELEMENTS and aval.dtype in ("float32", "bfloat16", "float16"):
        return LIBRARY
    fusible = bool(op.op.rule and op.op.rule.fusible) or name in REARRANGING or name == "dynamic_update_slice"
    return LOOP if fusible and len(op.results) == 1 else WHOLE


def alike(work: Lowering, op: Compute, kind: str) -> tuple[int, ...]:
    """Reads that an op may write over: what it reads element by element, and not under another shape."""
    if op.op.primitive in IN_PLACE:
        return (work.of(op.operands[0]),)
    if kind != LOOP or op.op.primitive in REARRANGING:
        return ()
    values = work.program.values
    shape = values[op.results[0]].aval.shape
    same = [work.of(v) for v in op.operands if values[v].aval.shape == shape]
    return tuple([buffer for buffer in same if values[work.likes.get(buffer, buffer)].aval.shape == shape])


def wide(work: Lowering, op: Compute | Move) -> tuple[int, ...]:
    """Reads with as many dims and elements as the result."""
    values, constants = work.program.values, work.program.constants
    result = values[op.results[0]].aval
    return tuple([work.of(v) for v in op.operands if v not in constants and _is_wide(values[v].aval, result)])


def _is_wide(aval: Aval, result: Aval) -> bool:
    return aval.shape == result.shape or (len(aval.shape) >= len(result.shape) and aval.size >= result.size)


def in_order(permutation: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a transposition leaves every element where it lies: dims of size 1 move freely."""
    moved = [dim for dim in permutation if shape[dim] > 1]
    return moved == sorted(moved)
