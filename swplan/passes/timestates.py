"""What is known of values along time: how each depends on the micro-batch (`passes/timewise.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swplan.ir.graph import Graph
from swplan.ir.layout import REPLICATED

AFTER = -9
"""The state of what is known only after the last micro-batch; others are entries of a layout."""


class NotInParts(Exception):
    """Raised where the rules do not let something run on one micro-batch at a time.

    `needs` is a value inside of a loop that would have to be split, and at which dim.
    """

    def __init__(self, text: str, needs: tuple[int, int] | None = None) -> None:
        super().__init__(text)
        self.needs = needs


def unstacked(state: int) -> int:
    """The state of a slice of what a loop goes over."""
    if state == 0:
        raise NotInParts("a loop over the batch")
    return state - 1 if state > 0 else state


def sliced(values: Sequence[int], states: Sequence[int], error: NotInParts) -> list[int]:
    """Carries of which one that enters whole is split where the body needs a slice of it."""
    value, dim = error.needs or (None, 0)
    if value not in values or states[values.index(value)] != REPLICATED:
        raise error
    return [dim if v == value else state for v, state in zip(values, states, strict=True)]


def agreed(before: int, after: int) -> int:
    """What a carry is that enters in one state and leaves in another."""
    if before != REPLICATED and after != before:
        raise NotInParts("a carry changes how it depends on the batch")
    return after


def batch_states(graph: Graph, parts: int) -> Mapping[int, int]:
    """Inputs that are split along time: those of the batch whose first dim is the one that most of them have."""
    batch = [v for v in graph.top.inputs if graph.role(v) == "batch" and graph.avals[v].shape]
    extents = [graph.avals[v].shape[0] for v in batch]
    common = max(set(extents), key=lambda n: (extents.count(n), n), default=0)
    return {v: 0 for v in batch if graph.avals[v].shape[0] == common and common % parts == 0}
