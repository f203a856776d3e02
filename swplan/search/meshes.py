"""Candidate meshes: every way to factor the devices of a cluster into axes, and to lay the axes on its tiers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations, permutations

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Placement
from swplan.search.decisions import DecisionGraph


def useful_sizes(decisions: DecisionGraph, devices: int) -> frozenset[int]:
    """Axis sizes that divide some dim of the program: an axis of any other size could not split anything."""
    extents = {
        factor.size for node in decisions.nodes if node.op for factor in node.op.rule.factors if factor.shardable
    }
    divisors = [n for n in range(2, devices + 1) if devices % n == 0] if devices < 10_000 else _divisors(devices)
    return frozenset(n for n in divisors if any(extent % n == 0 for extent in extents))


def _divisors(number: int) -> list[int]:
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return sorted({*small, *(number // n for n in small)} - {1})


def factorisations(devices: int, axes: int, sizes: frozenset[int]) -> Iterator[tuple[int, ...]]:
    """Ordered factorisations of a number of devices into at most `axes` of these sizes."""
    if devices == 1:
        yield ()
    elif axes:
        for size in sorted(n for n in sizes if devices % n == 0):
            for rest in factorisations(devices // size, axes - 1, sizes):
                yield (size, *rest)


def placements(cluster: Cluster, sizes: tuple[int, ...]) -> list[Placement]:
    """The ways to lay axes on tiers that differ in what some exchange costs; the last axis innermost comes first."""
    orders = permutations(reversed(range(len(sizes))))
    return _distinct([Placement(cluster=cluster, sizes=sizes, order=order) for order in orders])


def candidate_meshes(cluster: Cluster, decisions: DecisionGraph, max_axes: int) -> list[Placement]:
    """Every mesh of at most `max_axes` axes on every distinct placement, fewest axes first."""
    sizes = useful_sizes(decisions, cluster.devices)
    shapes = sorted(set(factorisations(cluster.devices, max_axes, sizes)), key=lambda s: (len(s), s))
    if not shapes:
        shapes = [(cluster.devices,)] if cluster.devices > 1 else [()]
    return [placement for shape in shapes for placement in placements(cluster, shape)]


def refined(cluster: Cluster, seeds: Iterable[Placement], sizes: frozenset[int]) -> list[Placement]:
    """Meshes that split one axis of a seed in two, the parts next to each other on the tiers, the minor one inside."""
    found: dict[Placement, None] = {}
    for seed in seeds:
        for axis, size in enumerate(seed.sizes):
            for major in sorted(n for n in sizes if size % n == 0 and size // n in sizes):
                found[_split_axis(cluster, seed, axis, major)] = None
    return list(found)


def _split_axis(cluster: Cluster, seed: Placement, axis: int, major: int) -> Placement:
    sizes = (*seed.sizes[:axis], major, seed.sizes[axis] // major, *seed.sizes[axis + 1 :])
    renumbered = [a + (a > axis) for a in seed.order]
    at = seed.order.index(axis)
    order = (*renumbered[:at], axis + 1, axis, *renumbered[at + 1 :])
    return Placement(cluster=cluster, sizes=sizes, order=order)


def _distinct(meshes: list[Placement]) -> list[Placement]:
    """Without those on which every exchange costs the same as on an earlier one."""
    found: dict[tuple, Placement] = {}
    for mesh in meshes:
        axes = range(len(mesh.sizes))
        groups = tuple(mesh.group(chosen) for n in range(1, len(mesh.sizes) + 1) for chosen in combinations(axes, n))
        found.setdefault(groups, mesh)
    return list(found.values())
