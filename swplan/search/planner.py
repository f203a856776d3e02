"""The planner: the best plan over all meshes of a cluster, with the proof, the runners-up, and what excluded them.

For every candidate mesh the folded graph is solved as one problem; a mesh whose lower bound exceeds the best cost so
far is left out, which loses nothing. Memory is a constraint of every problem and is checked once more on the finished
device program, where nothing is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from swplan.costmodel.network import Placement
from swplan.search.fitting import Found
from swplan.search.hunting import Hunt, Progress
from swplan.search.meshes import candidate_meshes, refined, useful_sizes
from swplan.search.pinning import Pinned
from swplan.search.subject import Bound, Pins, Subject

REFINED = 8
"""Meshes of more than two axes solved if none of fewer fits, else half as many; others count with their bounds."""


def find(
    subject: Subject,
    *,
    max_axes: int,
    meshes: Sequence[Placement] | None = None,
    pins: Pins | Pinned | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
    loose: float = 0.0,
    deadline: float | None = None,
) -> Found | None:
    """The best plan, or None if nothing fits the memory of a device; arguments as for `hunt`."""
    return hunt(
        subject,
        max_axes=max_axes,
        meshes=meshes,
        pins=pins,
        progress=progress,
        thorough=thorough,
        loose=loose,
        deadline=deadline,
    ).finish()


def hunt(
    subject: Subject,
    *,
    max_axes: int,
    meshes: Sequence[Placement] | None = None,
    pins: Pins | Pinned | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
    thorough: bool = True,
    worst_s: float = np.inf,
    least_s: float = np.inf,
    loose: float = 0.0,
    known: Mapping[Placement, float] | None = None,
    looks: int | None = None,
    prices: Mapping[str, float] | None = None,
    relies: bool = False,
) -> Hunt:
    """Solves the meshes of a cluster.

    Every mesh of up to two axes is looked at; meshes of more axes are those that split an axis of the most promising
    ones.

    Args:
      subject: the program and the cluster.
      max_axes: how many mesh axes at most.
      meshes: these meshes only.
      pins: options to which classes of decisions are held, or pins in names that are bound on each mesh.
      deadline: of `time.monotonic`; what is not looked at by then counts with its lower bound.
      progress: called with (meshes done, meshes, text).
      thorough: look at more than two axes even if something fits on two.
      worst_s: the cost of a plan that is known already.
      least_s: a bound on what other programs of the same step cost, for what is said of the progress.
      loose: a gap that will do.
      known: bounds on what plans on some meshes cost.
      looks: so many meshes at most are solved within memory; the others count with bounds.
      prices: of a byte at moments, in seconds: where the solver starts.
      relies: on what is known, in place of solving meshes as if memory were no limit.
    """
    held = pins if isinstance(pins, Pinned) else Bound(options=pins or {})
    axes = max(min(max_axes, 2), pins.axes if isinstance(pins, Pinned) else 0)
    state = Hunt(
        subject=subject,
        pins=held,
        deadline=deadline,
        progress=progress,
        worst_s=worst_s,
        least_s=least_s,
        loose=loose,
        known=known or {},
        looks=looks,
        prices=dict(prices or {}),
        relies=relies,
    )
    state.over(list(meshes) if meshes is not None else candidate_meshes(subject.cluster, subject.decisions, axes))
    for _ in range(2, max_axes if meshes is None and (thorough or not state.candidates) else 2):
        sizes = useful_sizes(subject.decisions, subject.cluster.devices)
        state.over(refined(subject.cluster, state.seeds(), sizes), most=REFINED // 2 if state.candidates else REFINED)
    return state
