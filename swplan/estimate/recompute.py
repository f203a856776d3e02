"""What the backward pass makes again: rows of the forward pass that stand in both.

Where a program says itself what it recomputes (`jax.checkpoint`), its trace says so too and nothing is added here.
"""

from __future__ import annotations

from dataclasses import replace

from swplan.estimate.capacity import scaled
from swplan.estimate.kernels import in_kernels
from swplan.estimate.rows import MICRO, MoveRow, OpRow, Rows
from swplan.estimate.strategy import Strategy

CAUSAL = 0.5
"""Share of the scores that a causal mask leaves, of which a fused kernel skips the rest block by block."""


def again(rows: Rows, strategy: Strategy, is_rated: bool = False) -> Rows:
    """The rows of a step under a strategy's choice of what to recompute.

    Args:
        rows: as written.
        strategy: what to recompute, and whether attention is fused.
        is_rated: whether the chip states how fast a fused attention is as a whole.
    """
    if strategy.capacity:
        rows = scaled(rows, strategy.capacity)
    ops, moves = list(rows.ops), rows.moves
    if strategy.attention == "fused":
        ops = [_skipping(row, rows) for row in (in_kernels(ops) if is_rated else ops)]
    if strategy.recompute == "full":
        added = [row for row in ops if _in_layers(row)]
        moves = (*moves, *(_later(row) for row in moves if _in_layers(row)))
    else:
        added = [row for row in ops if row.is_again and "attention" in (strategy.recompute, _kind(strategy))]
    return replace(rows, ops=(*ops, *(_later(row) for row in added)), moves=moves)


def _kind(strategy: Strategy) -> str:
    return "attention" if strategy.attention == "fused" else ""


def _skipping(row: OpRow, rows: Rows) -> OpRow:
    """A part of a fused attention without the scores that are masked."""
    return replace(row, count=row.count * CAUSAL) if row.is_core and rows.template.cores.causal else row


def _in_layers(row: OpRow | MoveRow) -> bool:
    place = row.place
    return place.stage == "forward" and place.layered and place.rate == MICRO


def _later(row: OpRow | MoveRow) -> OpRow | MoveRow:
    """The same row in the backward pass."""
    return replace(row, place=row.place._replace(stage="backward"))
