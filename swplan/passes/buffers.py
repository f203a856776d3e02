"""Which values are buffers, and which instructions run as one kernel.

A compiler fuses: a result that only loops read is computed inside them and never exists; what costs little is computed
again by every reader, what costs more is not. What is left are kernels that read and write buffers; `passes/order.py`
says in which order.

Modelled on XLA for CPU (openxla/xla: `InstructionFusion`, `CpuInstructionFusion`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from msgspec import structs

from swplan.passes.fusion import CHEAP
from swplan.passes.instructions import BARRED, LIBRARY, LOOP, Instruction, Kernel
from swplan.passes.order import turns_of_readers

_ARITHMETIC = {"add", "sub", "mul", "neg", "square", "integer_pow", "add_any", "broadcast_in_dim"}
_CONSTANT = "constant"
_MADE_OF_LITTLE = {"broadcast_in_dim", "iota", _CONSTANT}
_MANY = -1

# How a result's elements are read from a buffer: () each for the same element, a permutation of dims, or None.
_Order = tuple[int, ...] | None
_Orders = dict[int, _Order]


def fuse(instructions: Sequence[Instruction], kept: set[int], *, in_order: bool = False) -> list[Kernel]:
    """The kernels of a region, in program order.

    Args:
      instructions: of the region.
      kept: buffers that must exist: what leaves the region.
      in_order: they run in that order, so that nothing asks for the turns of readers; and nothing is computed in more
        than one kernel but what `passes/fusion.py` says.
    """
    plan = _plan(instructions, kept, CHEAP if in_order else None)
    turns = {} if in_order else turns_of_readers(instructions, plan.absorbed, plan.gone)
    inside: dict[int, _Orders] = {}
    kernels = []
    for position, one in enumerate(instructions):
        reads = _reads(one, inside, plan.absorbed.get(position, set()))
        if one.writes[0] in plan.inlined:
            inside[one.writes[0]] = reads
        if one.writes[0] not in plan.gone:
            same = {buffer: order == () for buffer, order in reads.items()}
            kernels.append(Kernel(one.op, one.name, same, one.writes, turns.get(position, {})))
    return kernels


@dataclass(slots=True)
class _Fusion:
    """What becomes of each buffer.

    Attributes:
      ends: buffer -> the one kernel in which it is computed (by position of its last instruction), or many.
      inlined: buffers that some readers compute themselves.
      gone: those of them that all readers compute themselves: they never exist.
      absorbed: position of a reader -> what it computes itself.
      library: positions of the calls of a library, and of the arithmetic that they took in.
      constant: positions of loops over constants.
      repeated: ops that may be computed in several kernels; all that cost little, if absent.
    """

    ends: dict[int, int] = field(default_factory=dict)
    inlined: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    absorbed: dict[int, set[int]] = field(default_factory=dict)
    library: set[int] = field(default_factory=set)
    constant: set[int] = field(default_factory=set)
    repeated: Set[str] | None = None

    def costs(self, one: Instruction) -> bool:
        """Whether something is not computed more than once."""
        return one.costly if self.repeated is None else one.name not in self.repeated


def _plan(instructions: Sequence[Instruction], kept: set[int], repeated: Set[str] | None) -> _Fusion:
    """Decides from the last instruction to the first, so that what repeats a reader repeats what it reads (as XLA)."""
    readers: dict[int, list[int]] = {}
    producers: dict[int, str] = {}
    for position, one in enumerate(instructions):
        name = _CONSTANT if one.kind == LOOP and _is_constant(one, producers) else one.name
        for buffer in one.writes:
            producers[buffer] = name
        for buffer in dict.fromkeys(one.reads):
            readers.setdefault(buffer, []).append(position)
    library = {position for position, one in enumerate(instructions) if one.kind == LIBRARY}
    plan = _Fusion(library=library, repeated=repeated)
    for position in range(len(instructions) - 1, -1, -1):
        one = instructions[position]
        users = readers.get(one.writes[0], [])
        if one.kind == LOOP and users:
            wide = one.wide if len(one.wide) > 1 else ()
            free = sum(producers.get(buffer) not in _MADE_OF_LITTLE for buffer in wide) <= 1
            if producers[one.writes[0]] == _CONSTANT:
                plan.constant.add(position)
            _inline(plan, instructions, position, users, must_exist=one.writes[0] in kept, repeatable=free)
    return plan


def _is_constant(one: Instruction, producers: Mapping[int, str]) -> bool:
    """Whether a loop's result is one constant everywhere."""
    return one.name != "iota" and all(producers.get(buffer) == _CONSTANT for buffer in one.reads)


def _inline(
    plan: _Fusion,
    instructions: Sequence[Instruction],
    position: int,
    users: list[int],
    *,
    must_exist: bool,
    repeatable: bool,
) -> None:
    """Decides whether the readers of a loop compute it themselves. One that reads little may be in both places."""
    one = instructions[position]
    loops = {LOOP, LIBRARY} if position in plan.constant else set()

    def takes_in(user: int) -> bool:
        reader = instructions[user]
        if user in plan.library and plan.repeated is not None:
            return (len(users) == 1 or not plan.costs(one)) and one.name in _ARITHMETIC
        return reader.kind in loops or _takes_in(reader, user in plan.library, one, len(users))

    takers = [user for user in users if takes_in(user)]
    everywhere = len(takers) == len(users) and not must_exist
    ends = {plan.ends.get(instructions[user].writes[0], user) for user in takers}
    costs = plan.costs(one) and (len(ends) > 1 or _MANY in ends or not everywhere)
    if not takers or costs or not (everywhere or repeatable):
        return
    buffer = one.writes[0]
    plan.inlined.add(buffer)
    if everywhere:
        plan.gone.add(buffer)
    else:
        ends.add(position)
    plan.ends[buffer] = ends.pop() if len(ends) == 1 else _MANY
    for user in takers:
        plan.absorbed.setdefault(user, set()).add(buffer)
    if not plan.library.isdisjoint(takers):
        plan.library.add(position)


def _takes_in(reader: Instruction, is_library: bool, one: Instruction, users: int) -> bool:
    """Whether `reader` can compute `one` inside of it."""
    if is_library:
        return users == 1 and one.name in _ARITHMETIC
    if reader.kind == BARRED:
        return users == 2 and one.name == "copy"  # both are of one slice: its barrier, and itself
    repeats = reader.name == "broadcast_in_dim" and one.costly
    return reader.kind == LOOP and not repeats


def _reads(one: Instruction, inside: Mapping[int, _Orders], absorbed: set[int]) -> _Orders:
    """The buffers that an instruction reads, by way of what is fused into it."""
    found: _Orders = {}
    for buffer in one.reads:
        order = one.turn or (() if buffer in one.alike else None)
        sources = inside[buffer].items() if buffer in absorbed else ((buffer, ()),)
        for source, through in sources:
            whole = _composed(through, order) if through != () else order
            found[source] = whole if found.get(source, whole) == whole else None
    return found


def _composed(first: _Order, second: _Order) -> _Order:
    """The order in which elements are read by way of a value that is itself read in an order."""
    if first is None or second is None or not (first and second):
        return None if first is None or second is None else first or second
    turned = tuple(first[dim] for dim in second)
    return () if turned == tuple(range(len(turned))) else turned


def overwritten(kernels: Sequence[Kernel], pairs: Sequence[tuple[int, int]]) -> set[int]:
    """The old buffers of (old, new) pairs that must be copied so that new can be written in their place.

    Old must be read before new is written, whatever the order in which kernels run: every reader of old is an ancestor
    of the kernel that writes new, or is that kernel and reads each element only for the same element (openxla/xla:
    `CopyInsertion`).
    """
    new_of = dict(pairs)
    readers: dict[int, int] = dict.fromkeys(new_of, 0)
    before: dict[int, int] = {}
    after: dict[int, int] = {}
    bit = 1
    for kernel in kernels:
        known = 0
        for buffer in kernel.reads:
            known |= after.get(buffer, 0)
        before.update(dict.fromkeys(kernel.writes, known))
        marked = [buffer for buffer in kernel.reads if buffer in new_of]
        for buffer in marked:
            in_place = kernel.reads[buffer] and new_of[buffer] in kernel.writes
            readers[buffer] |= 0 if in_place else bit
        if marked:
            known, bit = known | bit, bit << 1
        after.update(dict.fromkeys(kernel.writes, known))
    return {old for old, new in pairs if readers[old] & ~before.get(new, 0)}


def copy_first(kernels: Sequence[Kernel], copies: Mapping[int, int]) -> list[Kernel]:
    """The same kernels on copies (old -> copy) of buffers, and what makes the copies."""
    first = [Kernel(None, "copy", {old: False}, (copy,)) for old, copy in copies.items()]
    return first + [one if copies.keys().isdisjoint(one.reads) else _reading(one, copies) for one in kernels]


def _reading(kernel: Kernel, copies: Mapping[int, int]) -> Kernel:
    """The same kernel on copies of what it reads."""
    reads = {copies.get(buffer, buffer): same for buffer, same in kernel.reads.items()}
    turns = {copies.get(buffer, buffer): turn for buffer, turn in kernel.turns.items()}
    return structs.replace(kernel, reads=reads, turns=turns)
