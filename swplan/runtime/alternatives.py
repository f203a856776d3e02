"""What stands beside a plan: other meshes and the classics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from swplan.costmodel.network import Placement
from swplan.plan import Alternative
from swplan.runtime import describe
from swplan.runtime.infeasible import size_text
from swplan.search.classics import classic, price_unlimited
from swplan.search.fitting import Found
from swplan.search.planner import hunt
from swplan.search.pricing import Pricer
from swplan.search.subject import LOOSE, Candidate, Subject

SMALL = 20_000
"""Decisions up to which programs are finished, and memory is measured exactly, of what is far from the best."""
FAR = 1.25
"""Times the best that a classic costs which is not finished then: no finished program costs so much less."""


def runners_up(prepared: Subject, found: Found) -> tuple[Alternative, ...]:
    """The best plans on other meshes, cheapest first."""
    best = {}
    for candidate in found.runners_up:
        best.setdefault(candidate.placement.sizes, candidate)
    rows = []
    for candidate in list(best.values())[:5]:
        names = describe.axes_of(prepared, candidate)
        mesh = tuple((axis.name, axis.size) for axis in names)
        seconds = candidate.cost_s + prepared.cluster.chip.storage_s
        rows.append(_alternative(" x ".join(f"{n}:{s}" for n, s in mesh), mesh, seconds, candidate.memory_bytes, ""))
    return tuple(rows)


def _alternative(name: str, mesh: Sequence, seconds: float | None, memory: float | None, excluded: str) -> Alternative:
    held = None if memory is None else int(memory)
    return Alternative(name=name, mesh=tuple(mesh), step_time_s=seconds, peak_memory_bytes=held, excluded=excluded)


def beside(prepared: Subject, name: str, best_s: float) -> tuple[Alternative, Found | None]:
    """A classic beside the plan, which costs `best_s`; one that does not fit is priced all the same."""
    placement, pins, remark = classic(prepared, name)
    state = hunt(prepared, max_axes=1, meshes=[placement], pins=pins, loose=LOOSE)
    if len(prepared.decisions.nodes) > SMALL and state.candidates and state.best_s > FAR * best_s:
        return _estimated(prepared, name, min(state.candidates, key=lambda one: one.cost_s), remark), None
    found = state.finish()
    if found is None:
        return _unlimited(prepared, name, placement, pins), None
    mesh = tuple((axis.name, axis.size) for axis in describe.axes_of(prepared, found.best))
    costs = costs_of(prepared, found)
    row = _alternative(name, mesh, sum(costs.values()), found.best.memory_bytes, remark)
    return msgspec.structs.replace(row, breakdown=costs), found


def _estimated(prepared: Subject, name: str, candidate: Candidate, remark: str) -> Alternative:
    """A classic of a large program as the search sees it."""
    mesh = tuple((axis.name, axis.size) for axis in describe.axes_of(prepared, candidate))
    seconds = candidate.cost_s + prepared.cluster.chip.storage_s
    return _alternative(name, mesh, seconds, candidate.memory_bytes, "; ".join(filter(None, [remark, "an estimate"])))


def costs_of(prepared: Subject, found: Found) -> dict[str, float]:
    """Seconds by cause of the finished program."""
    pricer = Pricer(prepared.cluster, found.best.placement, prepared.graph, prepared.fused)
    names = tuple(axis.name for axis in describe.axes_of(prepared, found.best))
    return describe.prices_of(prepared.graph, found.program, pricer, names)[2]


def price_of(prepared: Subject, found: Found) -> float:
    """Seconds of the finished program."""
    return sum(costs_of(prepared, found).values())


def _unlimited(prepared: Subject, name: str, placement: Placement, pins: Any) -> Alternative:
    candidate = price_unlimited(prepared, placement, pins, exactly=len(prepared.decisions.nodes) <= SMALL)
    over = candidate.memory_bytes - prepared.cluster.memory_bytes
    mesh = tuple((axis.name, axis.size) for axis in describe.axes_of(prepared, candidate))
    text = f"needs {size_text(candidate.memory_bytes)} a device, {size_text(over)} more than there are"
    seconds = candidate.cost_s + prepared.cluster.chip.storage_s
    return _alternative(name, mesh, seconds, candidate.memory_bytes, text)
