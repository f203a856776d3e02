"""Memory of many degrees at once: the buffers of the device program at the moments at which they may be most.

When buffers live does not depend on how far they are split, so it is read off once; their bytes do. With a pipeline,
the first stage holds what the backward pass needs of every micro-batch in flight (1F1B: Narayanan et al., SC 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from swplan.estimate.pricing import PIPE, Batch
from swplan.estimate.rows import Rows
from swplan.passes.instructions import Lowering
from swplan.passes.lowering import lower
from swplan.passes.memory import temporaries_of
from swplan.passes.xla import XLA_0_10


class Kind(NamedTuple):
    """What buffers have in common: their role, the axes that divide them, and whether micro-batches and stages do."""

    role: str
    axes: frozenset[str]
    is_batch: bool
    is_stacked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The moments at which memory may be short.

    Attributes:
        kinds: of buffers.
        held: undivided bytes alive, by moment and kind [T, K].
    """

    kinds: tuple[Kind, ...]
    held: np.ndarray


def moments_of(rows: Rows) -> Moments:
    """Reads the moments off a device program, in the order of the program; those that others exceed are left out."""
    program = rows.template.program
    work = lower(program, XLA_0_10, any_order=True)
    lives, kernels = temporaries_of(work, program, True)
    results = [v for i, v in enumerate(program.top.outputs) if i not in program.aliases]
    kinds: dict[Kind, int] = {}
    entries = [(0, len(kernels), *_buffer(work, rows, v)) for v in (*program.top.inputs, *results)]
    entries += [(life.start, life.end, *_buffer(work, rows, life.buffer)) for life in lives]
    change = np.zeros((len(kernels) + 2, len({kind for *_, kind, _ in entries})))
    for start, end, kind, size in entries:
        column = kinds.setdefault(kind, len(kinds))
        change[start, column] += size
        change[end + 1, column] -= size
    return Moments(kinds=tuple(kinds), held=_largest(np.cumsum(change, axis=0)[: max(1, len(kernels))]))


def _largest(held: np.ndarray) -> np.ndarray:
    """The moments that no other exceeds in every kind."""
    distinct = np.unique(held.round(), axis=0)
    kept = [row for row in distinct if not ((distinct >= row).all(axis=1) & (distinct > row).any(axis=1)).any()]
    return np.array(kept)


def _buffer(work: Lowering, rows: Rows, buffer: int) -> tuple[Kind, float]:
    """The kind of a buffer, and its bytes if nothing divided it."""
    template = rows.template
    local = work.likes.get(buffer, buffer)
    value = template.program.values[local]
    axes = frozenset(axis for axis, entry in zip(template.axes, value.layout, strict=True) if entry >= 0)
    is_batch = local in rows.in_micro and "data" in axes
    kind = Kind(value.role, axes, is_batch, local in rows.stacked)
    return kind, float(template.graph.avals[value.origin].bytes)


def bytes_of(moments: Moments, batch: Batch) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bytes of one device at the peak [S], and by role there."""
    local = np.array([_share(kind, batch) for kind in moments.kinds])
    peaks = moments.held @ local
    at = peaks.argmax(axis=0)
    by_role: dict[str, np.ndarray] = {}
    for column, kind in enumerate(moments.kinds):
        size = moments.held[at, column] * local[column]
        by_role[kind.role] = by_role.get(kind.role, 0.0) + size
    return peaks.max(axis=0), by_role


def _share(kind: Kind, batch: Batch) -> np.ndarray:
    """What one device holds of a buffer [S], as a share: activations of all layers for each micro-batch in flight."""
    parts = np.ones(batch.count)
    for axis in sorted(kind.axes):
        parts = parts * batch.degree(axis)
    parts = parts * batch.micro if kind.is_batch else parts
    parts = parts * batch.degree(PIPE) if kind.is_stacked else parts
    return in_flight(batch) / parts if kind.is_batch and kind.is_stacked else 1.0 / parts


def in_flight(batch: Batch) -> np.ndarray:
    """Micro-batches of which the first stage holds activations, in units of a whole stage [S].

    1F1B: as many as there are stages. Interleaved: `1 + (p - 1) / (p v)` as many (Korthikanti et al., 2022, arXiv
    2205.05198, section 4.2.3).
    """
    stages, chunks = batch.degree(PIPE), batch.interleave
    wanted = np.where(chunks > 1, stages + (stages - 1) / chunks, stages)
    return np.minimum(batch.micro, wanted)
