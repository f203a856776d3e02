"""Which devices of a mesh sit together: meshes placed on the tiers of a cluster.

A `Placement` numbers the devices of a mesh along the tiers; a `Group` is what `collectives` needs to know of the
devices that take part in one exchange: how many of them share each tier. Prices are not here.

Placement is a mixed-radix number: the first axis of `order` varies fastest from device to device, so it fills the
innermost tier first. Where the end of a tier cuts through an axis unevenly (240 on supernodes of 256), only the
aligned part counts as inside: blocks of gcd(240, 256) = 16 certainly share a supernode, so the axis counts as 16 inside
times 15 across. That errs on the dear side; sizes that divide the tiers are exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from swplan.costmodel.cluster import Cluster
from swplan.errors import ClusterError


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The devices of one exchange; all groups of the same mesh axes look alike.

    Attributes:
        per_tier: Members along each tier, innermost first: devices in one supernode, then supernodes, ...
    """

    per_tier: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many devices."""
        return math.prod(self.per_tier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A mesh laid on the tiers of a cluster.

    Attributes:
        cluster: With as many devices as the mesh.
        sizes: Of the mesh axes.
        order: Axis indices, innermost first.

    Raises:
        ClusterError: The mesh does not have as many devices as the cluster.
    """

    cluster: Cluster
    sizes: tuple[int, ...]
    order: tuple[int, ...]

    def __post_init__(self) -> None:
        assert sorted(self.order) == list(range(len(self.sizes))), f"swplan bug: order {self.order} of {self.sizes}"
        devices = math.prod(self.sizes)
        if devices != self.cluster.devices:
            raise ClusterError(
                f"mesh {' x '.join(map(str, self.sizes)) or '()'} has {devices} devices and cluster "
                f"{self.cluster.spec!r} has {self.cluster.devices}; change the mesh or the cluster."
            )

    def group(self, axes: Iterable[int]) -> Group:
        """The devices that differ in these axes only; no axes make a group of one."""
        return _group(capacities(self.cluster), self.sizes, self.order, frozenset(axes))

    def tiers_of_axis(self, axis: int) -> tuple[str, ...]:
        """Names of the tiers that an exchange along this axis crosses, innermost first."""
        members = self.group((axis,)).per_tier
        return tuple(tier.name for tier, count in zip(self.cluster.tiers, members, strict=True) if count > 1)


def capacities(cluster: Cluster) -> tuple[int, ...]:
    """Devices inside one unit of each tier."""
    return tuple(itertools.accumulate((tier.size for tier in cluster.tiers), int.__mul__))


@lru_cache(maxsize=65536)
def _group(limits: tuple[int, ...], sizes: tuple[int, ...], order: tuple[int, ...], axes: frozenset[int]) -> Group:
    per_tier, stride = [1] * len(limits), 1
    for axis in order:
        if axis in axes:
            parts = _split(sizes[axis], stride, limits)
            per_tier = [held * part for held, part in zip(per_tier, parts, strict=True)]
        stride *= sizes[axis]
    return Group(per_tier=tuple(per_tier))


def _split(size: int, stride: int, limits: tuple[int, ...]) -> list[int]:
    """Members of one axis along each tier: the largest aligned block inside, the rest further out."""
    parts = []
    for limit in limits[:-1]:
        part = math.gcd(size, limit // stride) if limit % stride == 0 else 1
        parts.append(part)
        size, stride = size // part, stride * part
    return [*parts, size]
