"""The plans of one mesh one after the other, the cheapest first.

All plans but the best one come apart into parts that share none: the first class that differs takes another option than
the best, those before it the same, those after it any. A part is solved when nothing else can be cheaper.

Sources: K. Murty, An algorithm for ranking all the assignments in order of increasing cost, Operations Research 16
(1968), doi:10.1287/opre.16.3.682; E. Lawler, A procedure for computing the k best solutions to discrete optimization
problems, Management Science 18 (1972), doi:10.1287/mnsc.18.7.401.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from swplan.solver.problem import Problem, within
from swplan.solver.solving import solve

Kept = tuple[np.ndarray, ...]
Picked = tuple[int, ...]
LIMIT_S = 60.0
"""Most time for one part: a guard that nothing known comes near."""


@dataclass(frozen=True, slots=True)
class Part:
    """Plans of a mesh.

    Attributes:
      kept: for every class, which of its options on the mesh these plans choose from.
      least_s: none costs less.
      best: what the cheapest picks of these options, once that is known.
    """

    kept: Kept
    least_s: float
    best: Picked | None = None


def whole(problem: Problem, best: Picked, cost_s: float) -> Part:
    """All plans of a mesh, of which the best one is known."""
    return Part(tuple(np.arange(len(costs)) for costs in problem.costs), cost_s, best)


def following(
    problem: Problem, parts: tuple[Part, ...], worst_s: float = math.inf, limit_s: float = LIMIT_S
) -> tuple[Part, ...]:
    """What is left of a mesh without the best plan of its first part: the part with the next best plan comes first.

    Args:
      problem: of the mesh, with memory.
      parts: share no plan; the best one of the first is known, and is the best of all.
      worst_s: plans that cost so much or more are not looked for.
      limit_s: most time for one part.
    """
    waiting = [*_without(parts[0]), *parts[1:]]
    while waiting:
        first = min(range(len(waiting)), key=lambda i: (waiting[i].least_s, waiting[i].best is None))
        part = waiting.pop(first)
        if part.best is not None:
            return (part, *waiting)
        solution = solve(within(problem, part.kept), time_limit_s=limit_s, upper_bound=worst_s)
        if solution.choice is not None and solution.cost < worst_s:
            best = tuple(int(some[pick]) for some, pick in zip(part.kept, solution.choice, strict=True))
            waiting.append(Part(part.kept, max(part.least_s, solution.cost), best))
    return ()


def _without(part: Part) -> Iterator[Part]:
    """All plans of a part but its best, the largest parts first."""
    kept = list(part.kept)
    for cls, pick in enumerate(part.best):
        if len(kept[cls]) > 1:
            others = kept[cls][kept[cls] != pick]
            yield Part((*kept[:cls], others, *kept[cls + 1 :]), part.least_s)
            kept[cls] = np.array([pick])
