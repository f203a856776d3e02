"""Device ops as the instructions that a compiler schedules: what disappears, what is added, what becomes one.

A reshape is its operand under another shape and disappears. A product whose dims stand in no order that a matrix product
can read gets transposed copies of its operands. Sums over the same devices that do not wait for each other become one
exchange. Scanned arrays are sliced in the body, stacked results are written into arrays of zeros that exist before the loop.

Modelled on XLA for CPU (openxla/xla: `DotDecomposer`, `ConvCanonicalization`, `SelectAndScatterExpander`, `AllReduceCombiner`,
JAX's lowering of scan). It knows nothing of fusion (`passes/buffers.py`) and nothing of time (`passes/memory.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from swplan.ir.device import Compute, DeviceOp, DeviceProgram, DeviceRegion, Loop, Move

LOOP, LIBRARY, WHOLE = "loop", "library", "whole"

_BITCASTS = {"reshape", "squeeze", "expand_dims", "copy", "name", "stop_gradient", "sharding_constraint"}
_SHAPING = {"broadcast_in_dim", "transpose", "rev", "slice", "dynamic_slice", "pad", "concatenate", "gather", "iota", "split"}
_SUMS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod"}
_REDUCTIONS = _SUMS | {"reduce_and", "reduce_or", "argmax", "argmin"}
_IN_PLACE = {"dynamic_update_slice", "scatter", "scatter-add", "scatter_add", "scatter_mul", "scatter_min", "scatter_max"}
_EXPENSIVE = set(
    """acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma div erf erf_inv erfc exp exp2 expm1 gather lgamma log
    log1p logistic pow rem rsqrt sin sinh sqrt tan tanh""".split()
)
_LIBRARY_ELEMENTS = 2048  # larger float sums are calls of XLA's CPU library: seen at 4096, not at 2048 (jaxlib 0.10.2)


@dataclass(frozen=True, slots=True)
class Instruction:
    """What is scheduled, before fusion.

    Attributes:
      op: the device op for which it is done.
      name: a primitive, or the kind of a move.
      reads: buffers.
      writes: buffers.
      kind: "loop" (fuses with loops), "library" (a call that takes in arithmetic), "whole" (fuses with nothing).
      costly: whether it is not repeated for several readers.
      alike: reads of which each element is read only for the same element of the result: it may be written over.
      wide: reads with as many dims as the result.
    """

    op: DeviceOp
    name: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    kind: str = WHOLE
    costly: bool = False
    alike: tuple[int, ...] = ()
    wide: tuple[int, ...] = ()


@dataclass(slots=True)
class Lowering:
    """The instructions of every region (by identity), and the buffers that values became.

    Attributes:
      root: a value that is another one under a new shape -> that one.
      sizes: bytes of buffers that are no value of the program.
      likes: such a buffer -> the value that it is a copy of, or stands for.
    """

    program: DeviceProgram
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


def lower(program: DeviceProgram) -> Lowering:
    """The instructions of a whole program."""
    work = Lowering(program)
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
        slices = region.inputs[loop.op.carries :]
        found += [Instruction(loop, "dynamic_slice", (), (value,), LOOP) for value in slices]
    for op in region.ops:
        found += _instructions(work, op, producers, readers)
        producers.update(dict.fromkeys(op.results, op))
    if loop is not None and loop.op.kind == "scan":
        stacked = region.outputs[loop.op.carries :]
        found += [
            Instruction(loop, "dynamic_update_slice", (work.of(v),), (work.new(v, 0),), LOOP) for v in stacked
        ]
    work.copies = outer_copies
    work.regions[id(region)] = _join_sums(work, _zeros_first(work, found, region))


def _instructions(
    work: Lowering, op: DeviceOp, producers: dict[int, DeviceOp], readers: Counter
) -> list[Instruction]:
    if isinstance(op, Loop):
        return [_loop(work, op)]
    if isinstance(op, Move):
        return _move(work, op)
    if _is_bitcast(work.program, op) or _turns_product(work.program, op, producers, readers):
        work.root[op.results[0]] = work.of(op.operands[0])
        return []
    special = {"dot_general": _product, "conv_general_dilated": _convolution, "select_and_scatter_add": _select_and_scatter}
    if op.op.primitive in special:
        return special[op.op.primitive](work, op, producers)
    name = op.op.primitive
    costly = name in _EXPENSIVE or name in _REDUCTIONS
    made, reads = _spread(work, op)
    return [*made, Instruction(op, name, reads, op.results, _kind(work, op), costly, _alike(work, op), _wide(work, op))]


def _spread(work: Lowering, op: Compute) -> tuple[list[Instruction], tuple[int, ...]]:
    """What an op reads; smaller operands of an elementwise op are broadcast first, once for each shape."""
    reads = tuple(work.of(v) for v in op.operands if v not in work.program.constants)
    result = work.program.values[op.results[0]].aval
    if _kind(work, op) != LOOP or op.op.primitive in _REDUCTIONS | _SHAPING | _IN_PLACE:
        return [], reads
    made = []
    for value in op.operands:
        aval = work.program.values[value].aval
        key = (work.of(value), aval.shape, ("as", *result.shape))
        if value in work.program.constants or aval.size == result.size or key in work.copies:
            continue
        work.copies[key] = work.new(value, int(result.size * aval.item_bytes))
        made.append(Instruction(op, "broadcast_in_dim", (work.of(value),), (work.copies[key],), LOOP))
    shapes = {work.of(v): work.program.values[v].aval.shape for v in op.operands}
    return made, tuple(work.copies.get((read, shapes[read], ("as", *result.shape)), read) for read in reads)


def _move(work: Lowering, op: Move) -> list[Instruction]:
    """A gather or scatter runs on values whose split dim is the major one; an all-to-all takes parts and leaves parts."""
    source, result, kind = work.of(op.operands[0]), op.results[0], op.step.kind
    if kind in ("slice", "mask"):
        return [Instruction(op, kind, (source,), (result,), LOOP, False, _alike(work, op), _wide(work, op))]
    if kind == "all_to_all":
        sent, received = work.new(result, work.bytes(source)), work.new(result, work.bytes(result))
        before = Instruction(op, "slice", (source,), (sent,), LOOP, wide=(source,))
        after = Instruction(op, "concatenate", (received,), (result,), LOOP, wide=(received,))
        return [before, Instruction(op, kind, (sent,), (received,)), after]
    shape = work.program.values[result].aval.shape
    order = [op.step.dim, *(dim for dim in range(len(shape)) if dim != op.step.dim)]
    if kind == "all_reduce" or in_order(order, shape):
        return [Instruction(op, kind, (source,), (result,))]
    made, read = _turned(work, op, op.operands[0], order, {})
    turned = work.copies[result, shape, tuple(order)] = work.new(result, work.bytes(result))
    return [*made, Instruction(op, kind, (read,), (turned,)), Instruction(op, "copy", (turned,), (result,), LOOP, wide=(turned,))]


def _kind(work: Lowering, op: Compute) -> str:
    name, aval = op.op.primitive, work.program.values[op.operands[0]].aval if op.operands else None
    if name in _SUMS and aval.size > _LIBRARY_ELEMENTS and aval.dtype in ("float32", "bfloat16", "float16"):
        return LIBRARY
    fusible = bool(op.op.rule and op.op.rule.fusible) or name in _REDUCTIONS | _SHAPING or name == "dynamic_update_slice"
    return LOOP if fusible and len(op.results) == 1 else WHOLE


def _alike(work: Lowering, op: Compute | Move) -> tuple[int, ...]:
    """Reads that the op may write over."""
    name = op.step.kind if isinstance(op, Move) else op.op.primitive
    if name in _IN_PLACE:
        return (work.of(op.operands[0]),)
    plain = isinstance(op, Compute) and _kind(work, op) == LOOP and name not in _REDUCTIONS | _SHAPING
    if not plain:
        return ()
    size = work.program.values[op.results[0]].aval.size
    return tuple(work.of(v) for v in op.operands if work.program.values[v].aval.size == size)


def _wide(work: Lowering, op: Compute | Move) -> tuple[int, ...]:
    values = work.program.values
    rank = len(values[op.results[0]].aval.shape)
    size = values[op.results[0]].aval.size
    whole = [v for v in op.operands if len(values[v].aval.shape) >= rank and v not in work.program.constants]
    return tuple(work.of(v) for v in whole if values[v].aval.size >= size)


def _is_bitcast(program: DeviceProgram, op: Compute) -> bool:
    """Whether the result is the operand as it lies in memory, under another shape."""
    if not op.operands:
        return False
    before, after = program.values[op.operands[0]].aval, program.values[op.results[0]].aval
    if op.op.primitive in _BITCASTS:
        return before.bytes == after.bytes
    if op.op.primitive == "broadcast_in_dim":
        return before.size == after.size and op.operands[0] not in program.constants
    return op.op.primitive == "transpose" and in_order(op.op.params["permutation"], before.shape)


def in_order(permutation: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a transposition leaves every element where it lies: dims of size 1 move freely."""
    moved = [dim for dim in permutation if shape[dim] > 1]
    return moved == sorted(moved)


def _turns_product(program: DeviceProgram, op: Compute, producers: dict[int, DeviceOp], readers: Counter) -> bool:
    """Whether this is the transposition of a matrix product, which swaps its operands instead."""
    if op.op.primitive != "transpose" or len(program.values[op.operands[0]].aval.shape) != 2:
        return False
    made = producers.get(op.operands[0])
    return isinstance(made, Compute) and made.op.primitive == "dot_general" and readers[op.operands[0]] == 1


def _turned(work: Lowering, op: Compute, value: int, order: Sequence[int], producers: dict[int, DeviceOp]) -> tuple[list[Instruction], int]:
    """A copy of a value with its dims in another order, and what makes it; a transposition of one starts from its operand."""
    made = producers.get(value)
    if isinstance(made, Compute) and made.op.primitive == "transpose" and value not in work.root:
        value, order = made.operands[0], [made.op.params["permutation"][dim] for dim in order]
    shape = work.program.values[value].aval.shape
    if in_order(order, shape):
        return [], work.of(value)
    key = (work.of(value), tuple(shape), tuple(order))
    if key in work.copies:
        return [], work.copies[key]
    work.copies[key] = work.new(value, work.program.values[value].aval.bytes)
    return [Instruction(op, "transpose", (work.of(value),), (work.copies[key],), LOOP, wide=(work.of(value),))], work.copies[key]


def _product(work: Lowering, op: Compute, producers: dict[int, DeviceOp]) -> list[Instruction]:
    """A product reads batch dims, then one free and one summed dim in either order; else it reads a transposed copy."""
    (sums, batches) = op.op.params["dimension_numbers"]
    found, reads = [], []
    for side, value in enumerate(op.operands):
        shape = work.program.values[value].aval.shape
        batch, summed = list(batches[side]), list(sums[side])
        free = [dim for dim in range(len(shape)) if dim not in batch and dim not in summed]
        order = batch + free + summed if side == 0 else batch + summed + free
        matrix = in_order([*batch, *sorted(free + summed)], shape) and all(
            sum(shape[dim] > 1 for dim in dims) <= 1 for dims in (free, summed)
        )
        made, read = ([], work.of(value)) if matrix else _turned(work, op, value, order, producers)
        found += made
        reads.append(read)
    return [*found, Instruction(op, "dot_general", tuple(reads), op.results)]


def _convolution(work: Lowering, op: Compute, producers: dict[int, DeviceOp]) -> list[Instruction]:
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


def _select_and_scatter(work: Lowering, op: Compute, producers: dict[int, DeviceOp]) -> list[Instruction]:
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
    return Instruction(op, op.op.kind, tuple(v for v in reads if v not in work.program.constants), op.results, alike=(*carried, *zeros))


def _zeros_first(work: Lowering, found: list[Instruction], region: DeviceRegion) -> list[Instruction]:
    """Stacked results start as zeros, made once for each size and copied where several loops or results need them."""
    wanted = [(one.op, zero) for one in found if isinstance(one.op, Loop) for zero in work.zeros.get(id(one.op), ())]
    counts = Counter(work.bytes(zero) for _, zero in wanted)
    made: list[Instruction] = []
    shared = {size: work.new(work.likes[zero], size) for _, zero in wanted if counts[size := work.bytes(zero)] > 1}
    made += [Instruction(wanted[0][0], "zeros", (), (buffer,)) for buffer in shared.values()]
    for op, zero in wanted:
        source = (shared[work.bytes(zero)],) if work.bytes(zero) in shared else ()
        made.append(Instruction(op, "copy" if source else "zeros", source, (zero,)))
    return made + found


def _join_sums(work: Lowering, found: list[Instruction]) -> list[Instruction]:
    """All-reduces over the same axes of which none waits for another become one instruction."""
    sums = [position for position, one in enumerate(found) if one.name == "all_reduce"]
    groups = _groups([_exchange(work, found[position]) for position in sums], _waits(found, sums))
    members = [[found[sums[index]] for index in group] for group in groups]
    joined = {id(group[0]): _merge(group) for group in members}
    dropped = {id(one) for group in members for one in group[1:]}
    return in_sequence([joined.get(id(one), one) for one in found if id(one) not in dropped])


def _waits(found: list[Instruction], sums: list[int]) -> list[int]:
    """For each of the `sums`, the others whose results it needs, as bits."""
    bits = {position: 1 << index for index, position in enumerate(sums)}
    needs: dict[int, int] = {}
    waits = []
    for position, one in enumerate(found):
        known = 0
        for buffer in one.reads:
            known |= needs.get(buffer, 0)
        if position in bits:
            waits.append(known)
            known |= bits[position]
        if known:
            needs.update(dict.fromkeys(one.writes, known))
    return waits


def _groups(keys: Sequence[tuple], waits: list[int]) -> list[list[int]]:
    """Runs of equal keys: a run ends where one waits for a member, or a member for it."""
    waits, groups = list(waits), []
    for key in dict.fromkeys(keys):
        runs: list[list[int]] = []
        members = needed = 0
        for index in (index for index, other in enumerate(keys) if other == key):
            if not runs or waits[index] & members or needed >> index & 1:
                waits = _joined(waits, members, needed)
                runs.append([])
                members = needed = 0
            runs[-1].append(index)
            members, needed = members | 1 << index, needed | waits[index]
        waits = _joined(waits, members, needed)
        groups += runs
    return groups


def _joined(waits: list[int], members: int, needed: int) -> list[int]:
    """What waits for one of the members waits for all of them, and they for all that one needs."""
    if not members & (members - 1):
        return waits
    together = members | needed
    return [known | (together if known & members else 0) | (needed if members >> i & 1 else 0) for i, known in enumerate(waits)]


def in_sequence(instructions: Sequence[Instruction]) -> list[Instruction]:
    """The instructions in an order in which each comes after what it reads, else as they stand."""
    writer = {buffer: position for position, one in enumerate(instructions) for buffer in one.writes}
    needs = [{writer[buffer] for buffer in one.reads if buffer in writer} for one in instructions]
    users: dict[int, list[int]] = {}
    for position, sources in enumerate(needs):
        for source in sources:
            users.setdefault(source, []).append(position)
    left = [len(sources) for sources in needs]
    ready = [position for position, count in enumerate(left) if not count]
    order = []
    while ready:
        position = heappop(ready)
        order.append(instructions[position])
        for user in users.get(position, ()):
            left[user] -= 1
            if not left[user]:
                heappush(ready, user)
    assert len(order) == len(instructions), "swplan bug: joined sums wait for each other"
    return order


def _exchange(work: Lowering, one: Instruction) -> tuple:
    return one.op.step.axes, one.op.step.join, work.program.values[one.op.operands[0]].aval.dtype


def _merge(members: list[Instruction]) -> Instruction:
    return replace(
        members[0],
        reads=tuple(v for one in members for v in one.reads),
        writes=tuple(v for one in members for v in one.writes),
    )
