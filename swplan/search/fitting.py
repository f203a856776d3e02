"""The last step of the search: the cheapest candidate whose device program fits the memory, where nothing is estimated.

The rows of the search know when values live, not what exchanges and readers hold for a moment. So the peak of the
finished program decides. A candidate that is too large makes way for the next best of its mesh (ruling.py); if a few
are ruled out in vain, or there are too many decisions for that to help, its mesh is solved within less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from swplan.ir.device import DeviceProgram
from swplan.passes.memory import MemoryReport
from swplan.passes.partition import partition
from swplan.search.ruling import LIMIT_S, Part, following, whole
from swplan.search.space import problem, space
from swplan.search.subject import ENOUGH, Candidate, Subject, candidate_of, left_s, pricer_on, solve_space
from swplan.solver.problem import Solution

TIGHTENINGS = 4
"""How often one mesh is tried, with a lower limit every time: by as much as it was too large, then twice as much."""
RULINGS = 32
"""Plans of one mesh that are ruled out one by one before each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The outcome of a search.

    Attributes:
      best: the plan.
      program: its device program.
      memory: what that holds at the peak.
      runners_up: the best of other meshes, by cost.
      meshes: how many meshes there were.
      bound_s: no plan on any of the meshes costs less.
    """

    best: Candidate
    program: DeviceProgram
    memory: MemoryReport
    runners_up: tuple[Candidate, ...]
    meshes: int = 0
    bound_s: float = -np.inf


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A candidate, the limit of its estimated memory, how often that was lowered, and what is left of its mesh.

    `ruled_out`: so many plans since then. `is_close`: whether it is known whether its mesh has a better one.
    """

    candidate: Candidate
    limit: float
    failures: int = 0
    parts: tuple[Part, ...] = ()
    ruled_out: int = 0
    is_close: bool = True


def fitting(
    subject: Subject,
    candidates: Sequence[Candidate],
    closer: Callable[[Candidate], Candidate | None],
    worst_s: float = np.inf,
    rulings: int = RULINGS,
    deadline: float | None = None,
) -> tuple[Found | None, float]:
    """The cheapest candidate that fits, or None; and by how many bytes at least estimates were too low of what did not.

    Args:
      subject: the program and the cluster.
      candidates: the best of each mesh, as estimated and as closely as they were looked at.
      closer: a better one of its mesh, if there is one; asked before the first program of a mesh is finished.
      worst_s: the cost of a plan that is known already: what costs more is not looked for.
      rulings: so many plans of one mesh are ruled out one by one, where there are few decisions.
      deadline: of `time.monotonic`, after which nothing is looked for if a plan is known, and nothing for long if not.
    """
    waiting = [_Attempt(one, float(subject.cluster.memory_bytes), is_close=False) for one in candidates]
    lacking = np.inf
    while waiting and not (worst_s < np.inf and deadline is not None and time.monotonic() > deadline):
        attempt = _next(waiting, 0.0 if subject.is_small else ENOUGH)
        waiting.remove(attempt)
        if not attempt.is_close:
            both = (attempt.candidate, closer(attempt.candidate))
            waiting += [replace(attempt, candidate=one, is_close=True) for one in both if one is not None]
            continue
        program = partition(subject.graph, attempt.candidate.placement.sizes, attempt.candidate.choices)
        memory = subject.peak(program)
        if memory.peak_bytes <= subject.cluster.memory_bytes:
            best = replace(attempt.candidate, memory_bytes=memory.peak_bytes)
            others = sorted((one.candidate for one in waiting), key=lambda one: one.cost_s)
            rest = tuple(one for one in others if (one.placement, one.bound) != (best.placement, best.bound))
            return Found(best=best, program=program, memory=memory, runners_up=rest), lacking
        lacking = min(lacking, memory.peak_bytes - attempt.candidate.memory_bytes)
        again = _again(subject, attempt, memory.peak_bytes, worst_s, rulings, deadline)
        waiting += [] if again is None else [again]
    return None, lacking


def _next(waiting: Sequence[_Attempt], gap: float) -> _Attempt:
    """The cheapest; one that was tightened already if it costs as much but for the gap of the search."""
    cheapest = min(waiting, key=lambda one: one.candidate.cost_s)
    near = [one for one in waiting if one.candidate.cost_s <= cheapest.candidate.cost_s * (1 + gap)]
    return max(near, key=lambda one: (one.failures, -one.candidate.cost_s))


def _again(
    subject: Subject, attempt: _Attempt, peak_bytes: int, worst_s: float, most: int, deadline: float | None
) -> _Attempt | None:
    """The best plan on the same mesh but those that are too large, if there is one."""
    candidate, limit, failures = attempt.candidate, attempt.limit, attempt.failures + 1
    area = space(subject.folded, pricer_on(subject, candidate.placement), candidate.bound.options)
    if subject.is_small and attempt.ruled_out < most:
        stated = problem(area, subject.moments, limit)
        parts = attempt.parts or (whole(stated, candidate.picked, candidate.cost_s),)
        parts = following(stated, parts, worst_s, left_s(deadline, LIMIT_S))
        if not parts:
            return None
        solution = Solution(choice=parts[0].best, cost=parts[0].least_s, bound=parts[0].least_s, method="ranking")
        best = candidate_of(area, solution, stated, candidate.bound)
        return replace(attempt, candidate=best, parts=parts, ruled_out=attempt.ruled_out + 1)
    if failures == TIGHTENINGS:
        return None
    over = peak_bytes - subject.cluster.memory_bytes
    limit = min(limit, max(candidate.memory_bytes, 1.0)) - over * 2 ** (failures - 1)
    solution, stated = solve_space(subject, area, limit, deadline, worst_s, prices=candidate.prices)
    if solution.choice is None or solution.cost >= worst_s:
        return None
    return _Attempt(candidate_of(area, solution, stated, candidate.bound), limit, failures)
