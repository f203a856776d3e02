"""Instructions around products, windows and exchanges, which read dims in fixed orders: the copies that put them so.

Modelled on XLA for CPU (openxla/xla: `DotDecomposer`, `ConvCanonicalization`, `SelectAndScatterExpander`, the layouts
that it assigns to collectives).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import structs

from swplan.ir.device import Compute, DeviceOp, DeviceProgram, Move
from swplan.passes.instructions import BARRED, LOOP, WHOLE, Instruction, Lowering, in_order, wide

_PARTS = 8  # of an all-to-all that are told apart
_FUSED_PARTS = 4  # joined inside of a reader: seen with 4 parts, not with 8 (jaxlib 0.10.2)


def turns_product(program: DeviceProgram, op: Compute, producers: dict[int, DeviceOp], readers: Counter) -> bool:
    """Whether this is the transposition of a matrix product, which swaps its operands instead."""
    if op.op.primitive != "transpose" or len(program.values[op.operands[0]].aval.shape) != 2:
        return False
    made = producers.get(op.operands[0])
    return isinstance(made, Compute) and made.op.primitive == "dot_general" and readers[op.operands[0]] == 1


def _turned(
    work: Lowering, op: Compute, value: int, order: Sequence[int], producers: dict[int, DeviceOp]
) -> tuple[list[Instruction], int]:
    """What makes a copy of a value with its dims in another order, and the copy; a transposition is seen through."""
    made = producers.get(value)
    if isinstance(made, Compute) and made.op.primitive == "transpose" and value not in work.root:
        value, order = made.operands[0], [made.op.params["permutation"][dim] for dim in order]
    shape = work.program.values[value].aval.shape
    if work.any_order or in_order(order, shape):
        return [], work.of(value)
    key = (work.of(value), tuple(shape), tuple(order))
    if key in work.copies:
        return [], work.copies[key]
    work.copies[key] = work.new(value, work.program.values[value].aval.bytes)
    return [
        Instruction(op, "transpose", (work.of(value),), (work.copies[key],), LOOP, wide=(work.of(value),))
    ], work.copies[key]


def product(work: Lowering, op: Compute, producers: dict[int, DeviceOp]) -> list[Instruction]:
    """A product reads batch dims, then one free and one summed dim in either order; else it reads a transposed copy.

    Of an operand with batch dims of size 1 the transposition that XLA adds, where the other operand needs one, stays:
    it is told apart from those that the product takes in when those dims are dropped.
    """
    sides = [_dims_of_side(work, op, side) for side in (0, 1)]
    shapes = [work.program.values[value].aval.shape for value in op.operands]
    matrices = [_is_matrix(shape, *dims) for shape, dims in zip(shapes, sides, strict=True)]
    found, reads = [], []
    for side, (value, (batch, free, summed)) in enumerate(zip(op.operands, sides, strict=True)):
        order = batch + free + summed if side == 0 else batch + summed + free
        alone = batch and all(shapes[side][dim] == 1 for dim in batch)
        as_it_is = matrices[side] and (all(matrices) or not alone)
        made, read = ([], work.of(value)) if as_it_is else _turned(work, op, value, order, producers)
        found += made
        reads.append(read)
    return [*found, Instruction(op, "dot_general", tuple(reads), op.results)]


def _dims_of_side(work: Lowering, op: Compute, side: int) -> tuple[list[int], list[int], list[int]]:
    """Batch, free and summed dims of an operand of a product."""
    (sums, batches) = op.op.params["dimension_numbers"]
    batch, summed = list(batches[side]), list(sums[side])
    rank = len(work.program.values[op.operands[side]].aval.shape)
    return batch, [dim for dim in range(rank) if dim not in batch and dim not in summed], summed


def _is_matrix(shape: Sequence[int], batch: list[int], free: list[int], summed: list[int]) -> bool:
    return in_order([*batch, *sorted(free + summed)], shape) and all(
        sum(shape[dim] > 1 for dim in dims) <= 1 for dims in (free, summed)
    )


def convolution(work: Lowering, op: Compute, producers: dict[int, DeviceOp]) -> list[Instruction]:
    """A convolution reads images as (batch, space, feature), kernels as (space, in, out), and writes images."""
    numbers = op.op.params["dimension_numbers"]
    batch, feature, *space = numbers.lhs_spec
    outs, ins, *window = numbers.rhs_spec
    before, image = _turned(work, op, op.operands[0], [batch, *space, feature], producers)
    more, kernel = _turned(work, op, op.operands[1], [*window, ins, outs], producers)
    result = op.results[0]
    first, last, *middle = numbers.out_spec
    order = [first, *middle, last]
    if in_order(order, work.program.values[result].aval.shape):
        return [*before, *more, Instruction(op, "convolution", (image, kernel), op.results)]
    made = work.new(result, work.program.values[result].aval.bytes)
    turned = Instruction(op, "transpose", (made,), op.results, LOOP)
    return [*before, *more, Instruction(op, "convolution", (image, kernel), (made,)), turned]


def select_and_scatter(work: Lowering, op: Compute, producers: dict[int, DeviceOp]) -> list[Instruction]:
    """The index of every picked element is found by a window over one array of indices a dim, then scattered to."""
    source, operand = (work.of(v) for v in op.operands[:2])
    image, window = (work.program.values[v].aval for v in (op.operands[1], op.operands[0]))
    rank, item = len(image.shape), 4
    indices = [work.new(op.operands[1], image.size * item) for _ in image.shape]
    found = [work.new(op.operands[0], window.size * item) for _ in range(rank + 1)]
    zeros, joined = work.new(op.results[0], image.bytes), work.new(op.operands[0], window.size * item * rank)
    return [
        *(Instruction(op, "iota", (), (one,)) for one in indices),
        Instruction(op, "broadcast_in_dim", (), (zeros,)),
        Instruction(op, "reduce_window", (operand, *indices), tuple(found)),
        Instruction(op, "concatenate", tuple(found[1:]), (joined,)),
        Instruction(op, "scatter", (zeros, source, joined), op.results, alike=(zeros,)),
    ]


def move(work: Lowering, op: Move) -> list[Instruction]:
    """A gather or scatter runs on values whose split dim is the major one, an all-to-all on separate parts.

    One that is done again gathers along a dim of its own, which is the major one as the value lies.
    """
    source, result, kind = work.of(op.operands[0]), op.results[0], op.step.kind
    if kind == "slice" and work.xla.keeps_barriers:
        return _between_barriers(work, op, source)
    if kind in ("slice", "mask"):
        return [Instruction(op, kind, (source,), (result,), LOOP, wide=wide(work, op))]
    if kind == "all_to_all":
        return _all_to_all(work, op, source)
    shape = work.program.values[result].aval.shape
    order = [op.step.dim, *(dim for dim in range(len(shape)) if dim != op.step.dim)]
    if kind == "all_reduce" or work.any_order or in_order(order, shape):
        return [Instruction(op, kind, (source,), (result,))]
    back = tuple(order.index(dim) for dim in range(len(shape)))
    made, read = ([], source) if op.again else _turned(work, op, op.operands[0], order, {})
    turned = work.copies[result, shape, tuple(order)] = work.new(result, work.bytes(result))
    return [
        *(made if op.operands[0] in work.root else (structs.replace(one, turn=tuple(order)) for one in made)),
        Instruction(op, kind, (read,), (turned,)),
        Instruction(op, "copy", (turned,), (result,), LOOP, wide=(turned,), turn=back),
    ]


def _between_barriers(work: Lowering, op: Move, source: int) -> list[Instruction]:
    """A slice that fuses with nothing. A barrier takes its turn among instructions, and needs no memory."""
    result = op.results[0]
    turn, made = work.new(result, 0), work.new(result, work.bytes(result))
    return [
        Instruction(op, "barrier", (source,), (turn,), BARRED),
        Instruction(op, "slice", (source, turn), (made,), BARRED),
        Instruction(op, "barrier", (made,), (result,), alike=(made,)),
    ]


def _all_to_all(work: Lowering, op: Move, source: int) -> list[Instruction]:
    """What goes to each device is a buffer, and what comes from each (beyond a few devices they are counted as one)."""
    (result,), count = op.results, work.program.degree(op.step.axes)
    parts = count if count <= _PARTS else 1
    sent = [work.new(result, work.bytes(source) // parts) for _ in range(parts)]
    received = tuple(work.new(result, work.bytes(result) // parts) for _ in range(parts))
    slices = [Instruction(op, "slice", (source,), (part,), LOOP, wide=(source,)) for part in sent]
    exchange = Instruction(op, op.step.kind, tuple(sent), received)
    kind = LOOP if count <= _FUSED_PARTS else WHOLE
    return [*slices, exchange, Instruction(op, "concatenate", received, (result,), kind, wide=received[:1])]
