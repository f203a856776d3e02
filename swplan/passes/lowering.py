"""Device ops as instructions: what disappears, what is added.

A reshape is its operand under another shape and disappears. Smaller operands are broadcast. Scanned arrays are sliced
in the body, stacked results are written into arrays of zeros that exist before the loop. Modelled on JAX's lowering and
on XLA for CPU. It knows nothing of fusion (`passes/buffers.py`) and nothing of time (`passes/memory.py`).
"""

from __future__ import annotations

from collections import Counter

from swplan.ir.device import Compute, DeviceOp, DeviceProgram, DeviceRegion, Loop, Move
from swplan.passes.instructions import (
    EXPENSIVE,
    IN_PLACE,
    LOOP,
    REARRANGING,
    REDUCTIONS,
    Instruction,
    Lowering,
    alike,
    in_order,
    kind_of,
    wide,
)
from swplan.passes.products import convolution, move, product, select_and_scatter, turns_product
from swplan.passes.sums import join_sums
from swplan.passes.xla import Xla

_BITCASTS = {"reshape", "squeeze", "expand_dims", "copy", "name", "stop_gradient", "sharding_constraint"}
_AT_TIMES = {"broadcast_in_dim", "transpose"}  # a bitcast where no element moves
_SPECIAL = {"dot_general": product, "conv_general_dilated": convolution, "select_and_scatter_add": select_and_scatter}


def lower(program: DeviceProgram, xla: Xla, *, any_order: bool = False) -> Lowering:
    """The instructions of a whole program; with `any_order`, of a target that copies nothing to reorder its dims."""
    work = Lowering(program, xla, any_order)
    _region(work, program.top, None)
    return work


def outside_reads(region: DeviceRegion) -> set[int]:
    """Values of enclosing regions that a region reads."""
    used, made = set(region.outputs), set(region.inputs)
    for op in region.ops:
        used.update(op.operands)
        made.update(op.results)
        for body in op.regions if isinstance(op, Loop) else ():
            used |= outside_reads(body)
    return used - made


def _region(work: Lowering, region: DeviceRegion, loop: Loop | None) -> None:
    found: list[Instruction] = []
    outer_copies = dict(work.copies)
    readers = Counter(value for op in region.ops for value in op.operands)
    producers: dict[int, DeviceOp] = {}
    if loop is not None and loop.op.kind == "scan":
        pairs = zip(loop.operands, region.inputs, strict=True)
        slices = [(work.of(outer), inner) for outer, inner in pairs][loop.op.carries :]
        found += [Instruction(loop, "dynamic_slice", (outer,), (inner,), LOOP) for outer, inner in slices]
    for op in region.ops:
        found += _instructions(work, op, producers, readers)
        producers.update(dict.fromkeys(op.results, op))
    if loop is not None and loop.op.kind == "scan":
        stacked = region.outputs[loop.op.carries :]
        found += [Instruction(loop, "dynamic_update_slice", (work.of(v),), (work.new(v, 0),), LOOP) for v in stacked]
    work.copies = outer_copies
    found = _zeros_first(work, found, region)
    work.regions[id(region)] = found if work.any_order else join_sums(work, found)


def _instructions(work: Lowering, op: DeviceOp, producers: dict[int, DeviceOp], readers: Counter) -> list[Instruction]:
    if isinstance(op, Loop):
        return [_loop(work, op)]
    if isinstance(op, Move):
        return move(work, op)
    if _is_bitcast(work.program, op) or turns_product(work.program, op, producers, readers):
        work.root[op.results[0]] = work.of(op.operands[0])
        return []
    name, kind = op.op.primitive, kind_of(work, op)
    if name in _SPECIAL:
        return _SPECIAL[name](work, op, producers)
    costly = name in EXPENSIVE or name in REDUCTIONS
    made, reads = _spread(work, op, kind)
    return [*made, Instruction(op, name, reads, op.results, kind, costly, alike(work, op, kind), wide(work, op))]


def _spread(work: Lowering, op: Compute, kind: str) -> tuple[list[Instruction], tuple[int, ...]]:
    """What an op reads; smaller operands of an elementwise op are broadcast first, once for each shape."""
    values = work.program.values
    operands = [v for v in op.operands if v not in work.program.constants]
    reads = tuple([work.of(v) for v in operands])
    if kind != LOOP or op.op.primitive in REARRANGING or op.op.primitive in IN_PLACE:
        return [], reads
    result = values[op.results[0]].aval
    smaller = [v for v in operands if values[v].aval.shape != result.shape and values[v].aval.size < result.size]
    if not smaller:
        return [], reads
    made, spread = [], {}
    for value in smaller:
        aval = values[value].aval
        key = (work.of(value), aval.shape, ("as", *result.shape))
        if key not in work.copies:
            work.copies[key] = work.new(value, int(result.size * aval.item_bytes))
            made.append(Instruction(op, "broadcast_in_dim", (work.of(value),), (work.copies[key],), LOOP))
        spread[work.of(value)] = work.copies[key]
    return made, tuple([spread.get(read, read) for read in reads])


def _is_bitcast(program: DeviceProgram, op: Compute) -> bool:
    """Whether the result is the operand as it lies in memory, under another shape."""
    if not op.operands or not (op.op.primitive in _BITCASTS or op.op.primitive in _AT_TIMES):
        return False
    before, after = program.values[op.operands[0]].aval, program.values[op.results[0]].aval
    if op.op.primitive in _BITCASTS:
        return before.bytes == after.bytes
    if op.op.primitive == "broadcast_in_dim":
        return before.size == after.size and op.operands[0] not in program.constants
    return in_order(op.op.params["permutation"], before.shape)


def _loop(work: Lowering, op: Loop) -> Instruction:
    for body in op.regions:
        _region(work, body, op)
    operands = tuple(work.of(v) for v in op.operands)
    outside = set().union(*(map(work.of, outside_reads(body)) for body in op.regions))
    if op.op.kind == "scan":
        work.zeros[id(op)] = [work.new(v, work.bytes(v)) for v in op.results[op.op.carries :]]
    zeros = tuple(work.zeros.get(id(op), ()))
    carried = set(operands[: op.op.carries]) - outside - set(operands[op.op.carries :])
    reads = (*operands, *sorted(outside - set(operands)), *zeros)
    return Instruction(
        op, op.op.kind, tuple(v for v in reads if v not in work.program.constants), op.results, alike=(*carried, *zeros)
    )


def _zeros_first(work: Lowering, found: list[Instruction], region: DeviceRegion) -> list[Instruction]:
    """Stacked results start as zeros, made once for each size and copied where several loops or results need them.

    A target that runs in the order of the program makes them where a loop begins.
    """
    if work.any_order:
        return [made for one in found for made in (*_zeros_of(work, one), one)]
    wanted = [(one.op, zero) for one in found if isinstance(one.op, Loop) for zero in work.zeros.get(id(one.op), ())]
    counts = Counter(work.bytes(zero) for _, zero in wanted)
    made: list[Instruction] = []
    shared = {size: work.new(work.likes[zero], size) for _, zero in wanted if counts[size := work.bytes(zero)] > 1}
    made += [Instruction(wanted[0][0], "zeros", (), (buffer,)) for buffer in shared.values()]
    for op, zero in wanted:
        source = (shared[work.bytes(zero)],) if work.bytes(zero) in shared else ()
        made.append(Instruction(op, "copy" if source else "zeros", source, (zero,)))
    return made + found


def _zeros_of(work: Lowering, one: Instruction) -> list[Instruction]:
    """What makes the zeros of a loop."""
    return [Instruction(one.op, "zeros", (), (zero,)) for zero in work.zeros.get(id(one.op), ())]
