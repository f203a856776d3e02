"""What is known of a mesh before anything is solved on it, what is open when it was solved without limits; in words.

For hunting.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swplan.costmodel.network import Placement
from swplan.search.space import Space, lower_bound, needed_bytes
from swplan.search.subject import Bound, Subject

UPDATE = "optimizer"
"""The moment of which micro-batches and recomputation change nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """A mesh, and what a search on it is held to."""

    mesh: Placement
    bound: Bound

    @property
    def key(self) -> tuple:
        """What screening depends on: not on which tiers the axes lie."""
        return (self.mesh.sizes, id(self.bound))


@dataclass(frozen=True, slots=True, order=True)
class Screened:
    """What is known of a mesh before anything is solved.

    Attributes:
      low_s: plans cost no less.
      least_bytes: a device holds no less.
      lasting_bytes: nor any less than this, in however many micro-batches and whatever is computed again: the update of
        the parameters needs it.
    """

    low_s: float
    least_bytes: float
    lasting_bytes: float


@dataclass(frozen=True, slots=True, order=True)
class Open:
    """A mesh on which memory binds: what plans seem to cost, at the prices of memory known, and a bound on that."""

    promise_s: float
    bound_s: float


def screened(subject: Subject, area: Space) -> Screened:
    """What the space of a mesh says at once."""
    update = [moment for moment in subject.moments if moment.label == UPDATE]
    least, lasting = (needed_bytes(area, moments) for moments in (subject.moments, update))
    return Screened(lower_bound(area), least, lasting)


def status(placement: Placement, best_s: float, least_s: float) -> str:
    """What is looked at, and what is known so far: no plan costs less than `least_s`."""
    mesh = " x ".join(map(str, placement.sizes)) or "1"
    if best_s == np.inf:
        return f"mesh {mesh}"
    return f"mesh {mesh}, best so far {best_s:.3g} s, gap {max(0.0, 1 - least_s / best_s):.1%}"
