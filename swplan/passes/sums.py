"""Sums over the same devices that do not wait for each other become one exchange (openxla/xla: `AllReduceCombiner`).

What is joined exists at the same time: all operands until it runs, all results from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

from msgspec import structs

from swplan.passes.instructions import Instruction, Lowering


def join_sums(work: Lowering, found: list[Instruction]) -> list[Instruction]:
    """All-reduces over the same axes of which none waits for another become one instruction."""
    sums = [position for position, one in enumerate(found) if one.name == "all_reduce"]
    if len(sums) < 2:
        return found
    groups = _groups([_exchange(work, found[position]) for position in sums], _waits(found, sums))
    if len(groups) == len(sums):
        return found
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
    return [
        known | (together if known & members else 0) | (needed if members >> i & 1 else 0)
        for i, known in enumerate(waits)
    ]


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
    return structs.replace(
        members[0],
        reads=tuple(v for one in members for v in one.reads),
        writes=tuple(v for one in members for v in one.writes),
    )
