"""Memory of many degrees at once: the buffers of the device program at the moments at which they may be most.

When buffers live does not depend on how far they are split, so it is read off once; their bytes do. With a pipeline,
the first stage holds what the backward pass needs of every micro-batch in flight (1F1B: Narayanan et al., SC 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from swplan.estimate.batch import PIPE, Alike, Batch, parts_of
from swplan.estimate.rows import Rows
from swplan.estimate.strategy import Strategy
from swplan.ir.device import Loop
from swplan.passes.instructions import Lowering
from swplan.passes.lowering import lower
from swplan.passes.memory import temporaries_of
from swplan.passes.xla import XLA_0_10

STATE = frozenset({"data", "context"})
"""Axes that split state, not what an op computes."""


class Kind(NamedTuple):
    """What buffers have in common: their role, the axes that divide them, and whether micro-batches and stages do.

    `share` is what a strategy leaves of them: 0 for scores of a fused attention, one layer of what is recomputed.
    """

    role: str
    axes: frozenset[str]
    is_batch: bool
    is_stacked: bool
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """The moments at which memory may be short.

    Attributes:
        kinds: of buffers.
        held: undivided bytes alive, by moment and kind [T, K].
        in_layers: whether a layer runs at a moment, of which the first pipeline stage has most in flight [T].
        accumulators: kinds and undivided bytes of the sums of gradients over micro-batches, in fp32.
    """

    kinds: tuple[Kind, ...]
    held: np.ndarray
    in_layers: np.ndarray
    accumulators: tuple[tuple[Kind, float], ...]


def moments_of(rows: Rows, strategy: Strategy) -> Moments:
    """Reads the moments off a device program, in the order of the program; those that others exceed are left out."""
    kept = partial(_kept, rows, strategy)
    program = rows.template.program
    work = lower(program, XLA_0_10, any_order=True)
    lives, kernels = temporaries_of(work, program, True)
    results = [v for i, v in enumerate(program.top.outputs) if i not in program.aliases]
    kinds: dict[Kind, int] = {}
    entries = [(0, len(kernels), *_buffer(work, rows, v, kept)) for v in (*program.top.inputs, *results)]
    entries += [(life.start, life.end, *_buffer(work, rows, life.buffer, kept)) for life in lives]
    change = np.zeros((len(kernels) + 2, len({kind for *_, kind, _ in entries}) + len(rows.border)))
    for start, end, kind, size in entries:
        column = kinds.setdefault(kind, len(kinds))
        change[start, column] += size
        change[end + 1, column] -= size
    if strategy.recompute == "full":
        _add_borders(kinds, change, rows)
    held = np.cumsum(change[: max(1, len(kernels)), : len(kinds)], axis=0)
    inside = {id(op) for loop in program.top.ops if isinstance(loop, Loop) for b in loop.regions for op in b.ops}
    layered = np.array([id(kernel.op) in inside for kernel in kernels] or [False])
    sums = tuple(_accumulators(rows, strategy))
    kept = [_largest(held[layered == which]) for which in (False, True)]
    in_layers = np.repeat([False, True], [len(rows) for rows in kept])
    return Moments(kinds=tuple(kinds), held=np.concatenate(kept), in_layers=in_layers, accumulators=sums)


def _largest(held: np.ndarray) -> np.ndarray:
    """The moments that no other exceeds in every kind."""
    distinct = np.unique(held.round(), axis=0)
    kept = [row for row in distinct if not ((distinct >= row).all(axis=1) & (distinct > row).any(axis=1)).any()]
    return np.array(kept).reshape(-1, held.shape[1])


def _kept(rows: Rows, strategy: Strategy, origin: int, is_stack: bool) -> float:
    """The share that a strategy leaves of a buffer; `is_stack`: the backward pass reads it layer by layer."""
    is_score = origin in rows.template.cores.values
    if is_score and strategy.attention == "fused":
        return 0.0
    if is_stack and (strategy.recompute == "full" or (is_score and strategy.recompute == "attention")):
        return 1.0 / max(1, rows.layers)
    return 1.0


def _accumulators(rows: Rows, strategy: Strategy) -> Iterator[tuple[Kind, float]]:
    """Where gradients of several micro-batches are summed: whole along the axes of state, but from ZeRO-2 on."""
    template = rows.template
    program, graph = template.program, template.graph
    for value, local in zip(graph.top.inputs, program.top.inputs, strict=True):
        if graph.role(value) == "parameter":
            layout = program.values[local].layout
            split = {axis for axis, entry in zip(template.axes, layout, strict=True) if entry >= 0}
            axes = split | {"data"} if strategy.zero >= 2 else split - STATE
            yield Kind("gradient", frozenset(axes), False, local in rows.stacked, 1.0), 4.0 * graph.avals[value].size


def _add_borders(kinds: dict[Kind, int], change: np.ndarray, rows: Rows) -> None:
    """What goes from layer to layer is kept for every layer that is recomputed."""
    for whole, layout in rows.border:
        axes = frozenset(axis for axis, entry in zip(rows.template.axes, layout, strict=True) if entry >= 0)
        kind = Kind("activation", axes, "data" in axes, True, 1.0)
        column = kinds.setdefault(kind, len(kinds))
        change[0, column] += whole * rows.layers


def _buffer(work: Lowering, rows: Rows, buffer: int, kept: Callable[[int, bool], float]) -> tuple[Kind, float]:
    """The kind of a buffer, and its bytes if nothing divided it."""
    template = rows.template
    local = work.likes.get(buffer, buffer)
    value = template.program.values[local]
    axes = frozenset(axis for axis, entry in zip(template.axes, value.layout, strict=True) if entry >= 0)
    is_micro, is_stacked = local in rows.in_micro, local in rows.stacked
    share = kept(value.origin, is_micro and is_stacked)
    kind = Kind(value.role, axes, is_micro and "data" in axes, is_stacked, share)
    return kind, float(template.graph.avals[value.origin].bytes)


def bytes_of(moments: Moments, batch: Batch, like: Alike) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bytes of one device at the peak [S], and by role there; `like` are those of the batch that differ."""
    parts = _parts(moments.kinds, like)
    first, last = (_shares(moments.kinds, parts, batch, flying) for flying in (in_flight(batch), 1.0))
    inside = moments.in_layers
    peaks = np.concatenate([moments.held[~inside] @ last, moments.held[inside] @ first])
    at = peaks.argmax(axis=0)
    held = moments.held.T[:, at] * np.where(inside[at], first, last)
    by_role: dict[str, np.ndarray] = {}
    for kind, size in zip(moments.kinds, held, strict=True):
        by_role[kind.role] = by_role.get(kind.role, 0.0) + size
    summed = _accumulated(moments, batch, like)
    by_role["gradient"] = by_role.get("gradient", 0.0) + summed
    return np.take_along_axis(peaks, at[None], axis=0)[0] + summed, by_role


def _parts(kinds: Sequence[Kind], like: Alike) -> np.ndarray:
    """Into how many parts buffers are divided [K, S]."""
    small, which = like
    found = [parts_of(k.axes, small, k.is_batch) * (small.degree(PIPE) if k.is_stacked else 1) for k in kinds]
    return np.array(found).reshape(len(kinds), small.count)[:, which]


def _shares(kinds: Sequence[Kind], parts: np.ndarray, batch: Batch, flying: np.ndarray | float) -> np.ndarray:
    """What one device holds of buffers [K, S], as a share: activations of all layers for each micro-batch in flight.

    Gradients of several micro-batches are in their accumulators.
    """
    found = np.array([kind.share for kind in kinds])[:, None] / parts
    for row, kind in enumerate(kinds):
        if kind.is_stacked and kind.is_batch:
            found[row] = kind.share * flying / parts[row]
        if kind.is_stacked and kind.role == "gradient":
            found[row] = np.where(batch.micro > 1, 0.0, kind.share / parts[row])
    return found


def _accumulated(moments: Moments, batch: Batch, like: Alike) -> np.ndarray:
    """Bytes of the sums of gradients over micro-batches [S]."""
    parts = _parts([kind for kind, _ in moments.accumulators], like)
    sizes = [size * kind.share for kind, size in moments.accumulators]
    summed = sum((size / own for size, own in zip(sizes, parts, strict=True)), start=np.zeros(batch.count))
    return np.where(batch.micro > 1, summed, 0.0)


def in_flight(batch: Batch) -> np.ndarray:
    """Micro-batches of which the first stage holds activations, in units of a whole stage [S].

    1F1B: as many as there are stages. Interleaved: `1 + (p - 1) / (p v)` as many (Korthikanti et al., 2022, arXiv
    2205.05198, section 4.2.3).
    """
    stages, chunks = batch.degree(PIPE), batch.interleave
    wanted = np.where(chunks > 1, stages + (stages - 1) / chunks, stages)
    return np.minimum(batch.micro, wanted)
