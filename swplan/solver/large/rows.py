"""The rows of memory that may bind, of a presolved problem.

A time matters if not everything that may be held then fits. Of times whose sets of open intervals contain one another,
the largest set matters, unless less room is left at the other. What a member holds at least is taken off the room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swplan.solver.large.arrays import Memory
from swplan.solver.large.instance import held, spread, starts
from swplan.solver.large.presolve import ROUNDING, Flat


@dataclass(frozen=True, slots=True)
class _Rows:
    """`before[t]`: how many rows lie before time t; `room`: of each row."""

    before: np.ndarray
    room: np.ndarray


def memory_of(flat: Flat) -> Memory | None:
    """What strategies hold in the rows that may bind; None if the least that is held exceeds the limit."""
    spans = flat.intervals[flat.member]
    least, most = flat.extremes()
    room = flat.limit - held(spans, least)
    if (room < 0).any():
        return None
    if flat.limit < np.inf and not (flat.use % 1 == 0).all():  # sums are not exact: a little stays free
        room = np.maximum(room - ROUNDING * flat.limit, 0.0)
    hot = held(spans, most - least) > room
    covered = starts(hot)
    varies = (most > least) & (spans[:, 1] > spans[:, 0])
    varies[varies] = covered[spans[varies, 1]] > covered[spans[varies, 0]]
    rows = _rows(covered[spans[varies]], covered, room[hot])
    low, high = rows.before[np.minimum(spans, len(rows.before) - 1)].T
    varies &= high > low
    lengths = np.diff(flat.begin)
    beyond = (flat.use - np.repeat(least, lengths))[np.repeat(varies, lengths)]
    return _summed(flat.owner[varies], low[varies], high[varies], lengths[varies], beyond, flat.nodes, rows.room)


def _rows(spans: np.ndarray, covered: np.ndarray, room: np.ndarray) -> _Rows:
    """The rows among the hot times, of which `spans` [intervals, 2] says when intervals are open."""
    count = len(room)
    begins, ends = np.zeros(count + 1, bool), np.zeros(count + 1, bool)
    begins[spans[:, 0]] = True
    ends[spans[:, 1]] = True
    heads = np.flatnonzero((begins | ends)[:count] | (np.arange(count) == 0))
    tightest = np.minimum.reduceat(room, heads) if count else room
    next_larger = np.zeros(len(heads), bool)
    next_larger[:-1] = ~ends[heads[1:]] & (tightest[:-1] >= tightest[1:])
    last_larger = np.zeros(len(heads), bool)
    last_larger[1:] = ~begins[heads[1:]] & (tightest[1:] >= tightest[:-1])
    stays = ~(next_larger | last_larger)
    segments = starts(np.isin(np.arange(count), heads))  # how many begin before each hot time
    before = starts(stays)[segments]
    return _Rows(before[covered], tightest[stays])


def _summed(
    owner: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    lengths: np.ndarray,
    use: np.ndarray,
    nodes: int,
    limit: np.ndarray,
) -> Memory:
    """Holdings of the same node over the same rows are one."""
    keys = np.stack([owner, low, high], axis=1)
    distinct, index, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    at = starts(lengths[index])
    total = np.bincount(spread(at[group], lengths), weights=use, minlength=int(at[-1]))
    return Memory(
        start=starts(np.bincount(distinct[:, 0], minlength=nodes)),
        low=distinct[:, 1].copy(),
        high=distinct[:, 2].copy(),
        at=at,
        use=total,
        limit=limit,
    )
