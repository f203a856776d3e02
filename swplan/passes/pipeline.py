"""THE list of passes over a traced graph, in order. Each takes a Graph and returns one.

`partition` is not among them: it ends the pipeline, since it makes a device program of a graph and decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swplan.ir.graph import Graph
from swplan.passes.dce import eliminate_dead
from swplan.passes.hoisting import hoist_casts
from swplan.passes.precision import lower_precision
from swplan.passes.sinking import sink_broadcasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What passes need to know: the precision of each class of products, and how a cast is made."""

    precision: Mapping[str, str]
    cast: Any


PASSES: tuple[tuple[str, Callable[[Graph, Settings], Graph]], ...] = (
    ("precision", lambda graph, settings: lower_precision(graph, settings.precision, settings.cast)),
    ("casts out of loops", lambda graph, settings: hoist_casts(graph)),
    ("broadcasts into loops", lambda graph, settings: sink_broadcasts(graph)),
    ("dead code", lambda graph, settings: eliminate_dead(graph)),
)


def run(graph: Graph, settings: Settings) -> Graph:
    """The graph after all passes."""
    for _, step in PASSES:
        graph = step(graph, settings)
    return graph
