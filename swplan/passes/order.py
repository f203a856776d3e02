"""In which order kernels run, and in which order those that wait for the same buffer are looked at.

Memory depends on it: what is made early and read late is held for long.

Modelled on XLA for CPU (openxla/xla: `BFScheduler`, `HloInstruction::Users`, the post-order of `HloComputation`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from swplan.passes.instructions import Instruction, Kernel


def schedule(kernels: Sequence[Kernel], inputs: Sequence[int]) -> list[Kernel]:
    """Breadth first, as XLA's `BFScheduler`: a kernel joins the queue when the last of what it reads has left it."""
    made = {buffer for kernel in kernels for buffer in kernel.writes}
    users: dict[int, list[int]] = {}
    for position, kernel in enumerate(kernels):
        for buffer in kernel.reads:
            users.setdefault(buffer, []).append(position)
    for buffer, found in users.items():
        found.sort(key=lambda position, buffer=buffer: kernels[position].turns.get(buffer, position))
    left = [len(kernel.reads) for kernel in kernels]
    given = dict.fromkeys(buffer for buffer in (*inputs, *users) if buffer not in made)
    free = [position for position, count in enumerate(left) if not count]
    order = [position for position in free if kernels[position].name == "iota"]
    queue = deque(order)
    for buffer in given:
        queue += _released(users.get(buffer, ()), left)
    queue += [position for position in free if kernels[position].name != "iota"]
    order = []
    while queue:
        order.append(queue.popleft())
        for buffer in kernels[order[-1]].writes:
            queue += _released(users.get(buffer, ()), left)
    assert len(order) == len(kernels), "swplan bug: kernels wait for each other"
    return [kernels[position] for position in order]


def _released(users: Sequence[int], left: list[int]) -> list[int]:
    """The kernels that waited for one buffer only, which is there now; `left` counts down."""
    for user in users:
        left[user] -= 1
    return [user for user in users if not left[user]]


def depth_first(kernels: Sequence[Kernel], outputs: Sequence[int]) -> dict[int, int]:
    """The place of each buffer in depth-first order from the results, which settles ties (XLA's post-order)."""
    maker = {buffer: kernel for kernel in kernels for buffer in kernel.writes}
    found: dict[int, int] = {}
    for output in (*outputs, *(buffer for kernel in kernels for buffer in kernel.writes)):
        stack = [output]
        while stack:
            buffer = stack.pop()
            if buffer in found:
                continue
            kernel = maker.get(buffer)
            waits = [read for read in kernel.reads if read not in found] if kernel else []
            if waits:
                stack += [buffer, *reversed(waits)]
            else:
                found.update((one, len(found) + i) for i, one in enumerate(kernel.writes if kernel else (buffer,)))
    return found


def turns_of_readers(
    instructions: Sequence[Instruction], absorbed: Mapping[int, set[int]], gone: set[int]
) -> dict[int, dict[int, int]]:
    """For each kernel (by position), where it stands among the readers of each buffer.

    XLA fuses from the last instruction to the first. A reader that takes in another goes to the end of the readers of
    what that one reads; where an instruction is gone from a list, the last of the list takes its place.
    """
    users: dict[int, list[int]] = {}
    for position, one in enumerate(instructions):
        for buffer in dict.fromkeys(one.reads):
            users.setdefault(buffer, []).append(position)
    takers = _takers(instructions, absorbed)
    within: dict[int, list[int]] = {}
    for position in range(len(instructions) - 1, -1, -1):
        one = instructions[position]
        itself = [] if one.writes[0] in gone else [position]
        inner = [kernel for taker in takers.get(position, ()) for kernel in within[taker]]
        within[position] = list(dict.fromkeys([*itself, *inner]))
        for read in dict.fromkeys(one.reads) if inner else ():
            _take_over(users[read], position, within[position])
    found: dict[int, dict[int, int]] = {}
    for buffer, positions in users.items():
        for turn, position in enumerate(positions):
            found.setdefault(position, {})[buffer] = turn
    return found


def _takers(instructions: Sequence[Instruction], absorbed: Mapping[int, set[int]]) -> dict[int, list[int]]:
    """Position of an instruction -> positions of the readers that compute it themselves, the last first."""
    makers = {one.writes[0]: position for position, one in enumerate(instructions)}
    found: dict[int, list[int]] = {}
    for position in sorted(absorbed, reverse=True):
        for buffer in absorbed[position]:
            found.setdefault(makers[buffer], []).append(position)
    return found


def _take_over(users: list[int], position: int, kernels: Sequence[int]) -> None:
    """Kernels that took in the instruction at a position read what it read; it does no longer if it is none of them."""
    users += [kernel for kernel in kernels if kernel not in users]
    if position not in kernels:
        place, last = users.index(position), users.pop()
        if place < len(users):
            users[place] = last
