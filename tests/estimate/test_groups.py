"""Groups of many meshes at once are those of their placements."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.collectives import lines
from swplan.costmodel.network import Placement
from swplan.costmodel.schema import COLLECTIVES
from swplan.estimate.groups import lines_of, members_per_tier

SIZES = st.sampled_from([1, 2, 3, 4, 5, 6, 8, 12, 15, 16, 60])
SPECS = ("sw26010pro:nodes={},nodes_per_supernode=16", "a100-80g-sxm:gpus={},gpus_per_node=8", "host:devices={}")


@st.composite
def meshes(draw):
    """Several meshes of as many devices, made of the same sizes in another order, and a cluster for them."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=4))
    several = [draw(st.permutations(sizes)) for _ in range(3)]
    cluster = Cluster.parse(draw(st.sampled_from(SPECS)).format(int(np.prod(sizes))))
    return cluster, several, draw(st.permutations(range(len(sizes)))), draw(st.sets(st.integers(0, len(sizes) - 1)))


@given(meshes())
def test_groups_are_those_of_placements(drawn):
    cluster, several, order, axes = drawn
    names = [str(axis) for axis in range(len(order))]
    degrees = {name: np.array([mesh[a] for mesh in several]) for a, name in enumerate(names)}
    found = members_per_tier(cluster, degrees, [names[a] for a in order], frozenset(names[a] for a in axes))
    for at, mesh in enumerate(several):
        placement = Placement(cluster=cluster, sizes=tuple(mesh), order=tuple(order))
        assert tuple(found[:, at]) == placement.group(axes).per_tier


@given(meshes(), st.sampled_from(COLLECTIVES))
def test_lines_are_those_of_the_groups(drawn, kind):
    cluster, several, order, axes = drawn
    placements = [Placement(cluster=cluster, sizes=tuple(mesh), order=tuple(order)) for mesh in several]
    groups = [placement.group(axes) for placement in placements]
    alpha_s, beta_s_per_byte = lines_of(kind, np.array([group.per_tier for group in groups]).T, cluster)
    for at, group in enumerate(groups):
        expected = lines(kind, group, cluster)
        assert np.array_equal(alpha_s[:, at], expected[0]) and np.array_equal(beta_s_per_byte[:, at], expected[1])
