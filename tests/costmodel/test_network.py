"""The laws of `swplan.costmodel.network`: groups against an enumeration of all devices."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import Cluster, Placement
from swplan.errors import ClusterError

from .simulator import groups_of


@st.composite
def placements(draw):
    """Meshes of up to 4 axes on supernodes of any size."""
    sizes = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    per_supernode = draw(st.integers(1, 24))
    cluster = Cluster.parse(f"sw26010pro:nodes={math.prod(sizes)},nodes_per_supernode={per_supernode}")
    return Placement(cluster=cluster, sizes=sizes, order=tuple(draw(st.permutations(range(len(sizes))))))


def companions(placement, axes):
    """For each device, how many of its group sit in its supernode."""
    size = placement.cluster.tiers[0].size
    return [
        sum(other // size == device // size for other in group)
        for group in groups_of(placement, axes)
        for device in group
    ]


@given(placement=placements(), data=st.data())
def test_as_many_as_claimed_share_a_supernode(placement, data):
    axes = data.draw(st.sets(st.sampled_from(range(len(placement.sizes)))))
    group = placement.group(axes)
    assert group.size == math.prod(group.per_tier) == math.prod(placement.sizes[axis] for axis in axes)
    assert min(companions(placement, axes)) >= group.per_tier[0]


@given(
    inner=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    outer=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    axes=st.sets(st.integers(0, 3)),
)
def test_exact_where_axes_fill_the_supernode(inner, outer, axes):
    cluster = Cluster.parse(f"sw26010pro:nodes={math.prod(inner + outer)},nodes_per_supernode={math.prod(inner)}")
    placement = Placement(cluster=cluster, sizes=inner + outer, order=(0, 1, 2, 3))
    assert set(companions(placement, axes)) == {placement.group(axes).per_tier[0]}


def test_an_axis_longer_than_a_supernode_fills_it_and_goes_on():
    placement = Placement(cluster=Cluster.parse("sw26010pro:nodes=1024"), sizes=(512, 2), order=(0, 1))
    assert placement.group([0]).per_tier == (256, 2)
    assert placement.tiers_of_axis(0) == ("supernode", "machine")
    assert placement.tiers_of_axis(1) == ("machine",)


def test_a_cut_axis_counts_the_aligned_part_as_inside():
    placement = Placement(cluster=Cluster.parse("sw26010pro:nodes=96000"), sizes=(240, 400), order=(0, 1))
    assert placement.group([0]).per_tier == (16, 15)
    assert placement.group([1]).per_tier == (1, 400)


def test_groups_are_hashable_and_cached():
    placement = Placement(cluster=Cluster.parse("sw26010pro:nodes=96000"), sizes=(256, 375), order=(0, 1))
    assert placement.group([0, 1]) is placement.group((1, 0))
    assert len({placement.group([0]), placement.group({0}), placement.group([])}) == 2
    assert placement.group([]).size == 1
    assert placement.tiers_of_axis(0) == ("supernode",)


def test_a_mesh_must_have_as_many_devices_as_the_cluster():
    with pytest.raises(ClusterError, match=r"mesh 2 x 3 has 6 devices and cluster 'host:devices=8' has 8;"):
        Placement(cluster=Cluster.parse("host:devices=8"), sizes=(2, 3), order=(0, 1))
