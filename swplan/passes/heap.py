"""Where buffers lie: lifetimes become addresses, because what is free between two buffers may be too small for a third.

Buffers are placed once and never move, the largest first, each into the smallest gap that is free for as long as it
lives (openxla/xla: `GlobalDecreasingSizeBestFitHeap`). So a heap may be higher than what is alive at any time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct, structs

# Smaller buffers than this many largest ones are taken to fit into the gaps that those leave.
PLACED = 1000
_ROOMS_TRIED = 32


class Life(Struct, frozen=True, gc=False):
    """A buffer from the kernel that makes it to the last that reads it (positions in the schedule).

    `heir` is a buffer that this last kernel may write over it; `rank` says which of two alike is placed first.
    """

    buffer: int
    bytes: int
    start: int
    end: int
    heir: int = -1
    rank: int = 0


def peak_position(lives: Iterable[Life], length: int) -> tuple[int, int]:
    """The most bytes that are alive at once, and when first."""
    change = [0] * (length + 2)
    for life in lives:
        change[life.start] += life.bytes
        change[life.end + 1] -= life.bytes
    best = now = at = 0
    for position in range(length):
        now += change[position]
        if now > best:
            best, at = now, position
    return best, at


def heap_bytes(lives: Sequence[Life]) -> int:
    """Height of a heap that holds all buffers; those that are written over one that dies take their address.

    As XLA does, once with the largest first and once with the longest-lived first, of which the lower heap is taken.
    """
    blocks = _chains(lives)
    spatial = sorted(blocks, key=lambda life: (-life.bytes, life.start - life.end, life.rank, life.buffer))[:PLACED]
    temporal = sorted(spatial, key=lambda life: (life.start - life.end, -life.bytes, life.rank, life.buffer))
    return min(_height(spatial), _height(temporal))


def _height(blocks: Sequence[Life]) -> int:
    """Height of a heap in which blocks are placed one after another."""
    starts = np.array([block.start for block in blocks], dtype=np.int64)
    ends = np.array([block.end for block in blocks], dtype=np.int64)
    sizes = np.array([block.bytes for block in blocks], dtype=np.int64)
    offsets = np.zeros(len(blocks), dtype=np.int64)
    for index, block in enumerate(blocks):
        beside = np.flatnonzero((starts[:index] <= block.end) & (ends[:index] >= block.start))
        beside = beside[np.argsort(offsets[beside], kind="stable")]
        offsets[index] = _best_gap(offsets[beside].tolist(), (offsets + sizes)[beside].tolist(), block.bytes)
    return int(max(offsets + sizes, default=0))


def _chains(lives: Sequence[Life]) -> list[Life]:
    """Lives that are continued by an heir as one, on a clock that ticks when a buffer comes or goes."""
    first = {life.buffer: life for life in lives}
    inherits = {life.heir for life in lives if life.heir in first and first[life.heir].start == life.end + 1}
    ticks = _ticks(lives)
    found = []
    for life in lives:
        if life.buffer in inherits:
            continue
        last = life
        while last.heir in inherits and last.heir in first:
            last = first[last.heir]
        found.append(structs.replace(life, start=ticks[life.buffer][0], end=ticks[last.buffer][1], heir=-1))
    return found


def _ticks(lives: Sequence[Life]) -> dict[int, tuple[int, int]]:
    """When each buffer comes and goes, counted in such events: at one kernel all come before any goes, in order."""
    ordered = sorted(lives, key=lambda life: (life.start, life.end, life.rank, life.buffer))
    events = sorted(
        [(life.start, 0, i) for i, life in enumerate(ordered)] + [(x.end, 1, i) for i, x in enumerate(ordered)]
    )
    tick = {(leaves, i): count for count, (_, leaves, i) in enumerate(events)}
    return {life.buffer: (tick[0, i], tick[1, i]) for i, life in enumerate(ordered)}


def _best_gap(lows: list[int], highs: list[int], size: int) -> int:
    """The address of the smallest gap between occupied ranges (by their lower ends) that is large enough."""
    top, best, at = 0, None, None
    for low, high in zip(lows, highs, strict=True):
        if low - top >= size and (best is None or low - top < best):
            best, at = low - top, top
        top = max(top, high)
    return top if at is None else at


def outside_holes(lives: Sequence[Life], holes: Sequence[Life]) -> list[Life]:
    """The buffers that do not fit into holes: the largest first, each into the smallest hole that is free (the last).

    A hole is a span in which the place of a result is not in use; `buffer` is that result, which may also be the heir.
    """
    rooms = sorted(holes, key=lambda hole: (hole.bytes, -hole.rank))
    taken: list[list[tuple[int, int]]] = [[] for _ in rooms]
    sizes = [room.bytes for room in rooms]
    left = []
    for life in sorted(lives, key=lambda life: (-life.bytes, life.rank)):
        first = bisect_left(sizes, life.bytes)
        tried = range(first, min(first + _ROOMS_TRIED, len(rooms)))
        room = next((i for i in tried if _fits(life, rooms[i], taken[i])), None)
        if room is None:
            left.append(life)
        else:
            insort(taken[room], (life.start, life.end))
    return left


def _fits(life: Life, hole: Life, taken: Sequence[tuple[int, int]]) -> bool:
    """Whether a life lies in a hole and beside all that are there: spans in order, of which no two overlap."""
    end = hole.end + (life.heir == hole.buffer)
    if life.start < hole.start or life.end > end:
        return False
    before = bisect_right(taken, life.end, key=lambda span: span[0])
    return not before or taken[before - 1][1] < life.start
