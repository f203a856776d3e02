"""Groups of devices of many meshes at once: `costmodel.network` for arrays.

Law: for every strategy, the group over some axes is that of its `Placement`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.collectives import lines
from swplan.costmodel.network import Group, capacities
from swplan.estimate.batch import distinct


def members_per_tier(
    cluster: Cluster, degrees: Mapping[str, np.ndarray], order: Sequence[str], axes: frozenset[str]
) -> np.ndarray:
    """Members along each tier [T, S] of the groups over some axes.

    Args:
        cluster: the tiers.
        degrees: sizes of the mesh axes [S].
        order: the axes, innermost first.
        axes: those along which the members of a group differ.
    """
    limits = capacities(cluster)
    count = len(next(iter(degrees.values()))) if degrees else 1
    held, stride = np.ones((len(limits), count), np.int64), np.ones(count, np.int64)
    for axis in order:
        if axis in axes:
            held *= _split(degrees[axis], stride, limits)
        stride = stride * degrees[axis]
    return held


def _split(size: np.ndarray, stride: np.ndarray, limits: Sequence[int]) -> np.ndarray:
    """Members of one axis along each tier [T, S]: the largest aligned block inside, the rest further out."""
    parts = []
    for limit in limits[:-1]:
        part = np.where(limit % stride == 0, np.gcd(size, limit // stride), 1)
        parts.append(part)
        size, stride = size // part, stride * part
    return np.array([*parts, size])


def lines_of(kind: str, members: np.ndarray, cluster: Cluster) -> tuple[np.ndarray, np.ndarray]:
    """`alpha_s [A, S]` and `beta_s_per_byte [A, S]` of all algorithms for groups given as members per tier [T, S]."""
    first, which = distinct(members)
    found = [lines(kind, Group(per_tier=tuple(map(int, column))), cluster) for column in members[:, first].T]
    alpha_s, beta_s_per_byte = (np.array(part).T for part in zip(*found, strict=True))
    return alpha_s[:, which], beta_s_per_byte[:, which]
