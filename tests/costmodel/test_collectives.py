"""The laws of `swplan.costmodel.collectives`, and its closed forms against a simulation of every message."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import (
    COLLECTIVES,
    Cluster,
    Group,
    Placement,
    algorithm_names,
    algorithm_times_s,
    collective_time_s,
)
from swplan.costmodel.algorithms import ALGORITHMS

from .simulator import SCHEDULES, simulated_time_s

GROUPS = st.tuples(st.integers(1, 300), st.integers(1, 300)).map(lambda sizes: Group(per_tier=sizes))
KINDS = st.sampled_from(COLLECTIVES)
BYTES = st.floats(1, 1e12)
SUNWAY = Cluster.parse("sw26010pro:nodes=96000")

# Devices, devices per node, nodes per rack, then mesh sizes from the innermost axis outwards, then the group's axes.
MESHES = [
    (16, 4, 2, (16,), (0,)),
    (16, 4, 2, (4, 4), (0,)),
    (16, 4, 2, (4, 4), (1,)),
    (16, 4, 2, (2, 8), (0,)),
    (16, 4, 2, (2, 8), (1,)),
    (16, 4, 2, (2, 2, 4), (1,)),
    (16, 4, 2, (2, 2, 4), (0, 2)),
    (16, 4, 2, (8, 2), (1,)),
    (12, 3, 2, (12,), (0,)),
    (12, 3, 2, (3, 4), (0,)),
    (12, 3, 2, (3, 4), (1,)),
    (12, 3, 2, (6, 2), (0,)),
    (18, 3, 3, (9, 2), (0,)),
    (18, 3, 3, (3, 3, 2), (0, 2)),
]


@pytest.fixture
def build(chips_folder):
    """A placement on the laboratory."""

    def placement(devices, per_node, per_rack, sizes):
        spec = f"laboratory:devices={devices},devices_per_node={per_node},nodes_per_rack={per_rack}"
        return Placement(cluster=Cluster.parse(spec), sizes=sizes, order=tuple(range(len(sizes))))

    return placement


def time_s(kind, group, buffer_bytes, cluster=SUNWAY):
    return collective_time_s(kind, group, buffer_bytes, cluster)[0]


def test_every_kind_has_an_algorithm_and_nothing_else_has():
    assert {key.partition("/")[0] for key in ALGORITHMS} == set(COLLECTIVES)
    assert all(algorithm_names(kind) for kind in COLLECTIVES)


@pytest.mark.parametrize("key", ALGORITHMS)
def test_closed_form_agrees_with_every_message_simulated(key, build):
    kind, _, name = key.partition("/")
    compared = 0
    for (*cluster, axes), buffer_bytes in itertools.product(MESHES, (1.0, 1e4, 1e9)):
        placement = build(*cluster)
        expected = algorithm_times_s(kind, placement.group(axes), buffer_bytes, placement.cluster)[name]
        if math.isfinite(expected):
            assert simulated_time_s(key, placement, axes, buffer_bytes) == pytest.approx(expected, rel=1e-9)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("sizes", [(6, 4), (3, 8), (2, 6, 2), (12, 2)], ids=str)
@pytest.mark.parametrize("key", ALGORITHMS)
def test_an_axis_cut_by_a_tier_is_never_priced_too_low(key, sizes, build):
    placement, (kind, _, name) = build(24, 4, 3, sizes), key.partition("/")
    for axes in ((0,), (1,), (0, 1)):
        priced = algorithm_times_s(kind, placement.group(axes), 1e6, placement.cluster)[name]
        assert math.isinf(priced) or simulated_time_s(key, placement, axes, 1e6) <= priced * (1 + 1e-9)


def test_every_algorithm_has_a_schedule_and_applies_somewhere(build):
    assert set(SCHEDULES) == set(ALGORITHMS)
    cluster = build(16, 4, 2, (16,)).cluster
    for kind in COLLECTIVES:
        times = algorithm_times_s(kind, Group(per_tier=(4, 8, 1)), 1e6, cluster)
        assert all(math.isfinite(time) for time in times.values())


@given(kind=KINDS, buffer_bytes=st.floats(0, 1e12))
def test_a_group_of_one_costs_nothing(kind, buffer_bytes):
    assert time_s(kind, Group(per_tier=(1, 1)), buffer_bytes) == 0.0


@given(kind=KINDS, group=GROUPS)
def test_nothing_to_send_costs_nothing(kind, group):
    assert time_s(kind, group, 0) == 0.0


@given(kind=KINDS, group=GROUPS, small=BYTES, more=st.floats(1, 100))
def test_more_bytes_never_take_less_time(kind, group, small, more):
    assert time_s(kind, group, small) <= time_s(kind, group, small * more) <= time_s(kind, group, small) * more * 1.001


@given(kind=KINDS, group=GROUPS, buffer_bytes=BYTES)
@pytest.mark.parametrize(
    "worse",
    [{"network.machine.latency_s": 1e-4}, {"network.supernode.taper": 0.1}, {"network.supernode.bytes_per_s": 1e9}],
)
def test_a_worse_network_is_never_faster(worse, kind, group, buffer_bytes):
    assert time_s(kind, group, buffer_bytes, SUNWAY.replace(worse)) >= time_s(kind, group, buffer_bytes)


@given(group=GROUPS, buffer_bytes=BYTES)
def test_ring_all_reduce_is_reduce_scatter_and_all_gather(group, buffer_bytes):
    parts = [algorithm_times_s(kind, group, buffer_bytes, SUNWAY)["ring"] for kind in ("reduce_scatter", "all_gather")]
    whole = algorithm_times_s("all_reduce", group, buffer_bytes, SUNWAY)["ring"]
    assert sum(parts) == pytest.approx(whole)


@given(group=GROUPS, buffer_bytes=BYTES)
def test_nothing_beats_the_lower_bound_of_bandwidth(group, buffer_bytes):
    share = (group.size - 1) / group.size * buffer_bytes / SUNWAY.tiers[0].bytes_per_s
    assert time_s("all_reduce", group, buffer_bytes) >= 2 * share * (1 - 1e-12)
    for kind in ("all_gather", "reduce_scatter", "all_to_all"):
        assert time_s(kind, group, buffer_bytes) >= share * (1 - 1e-12)


@given(kind=KINDS, inside=st.integers(2, 256), buffer_bytes=BYTES)
def test_the_taper_matters_only_to_groups_that_cross_it(kind, inside, buffer_bytes):
    flat = SUNWAY.replace({"network.supernode.taper": 1.0})
    inner, outer = Group(per_tier=(inside, 1)), Group(per_tier=(1, inside))
    assert time_s(kind, inner, buffer_bytes, flat) == time_s(kind, inner, buffer_bytes)
    assert time_s(kind, outer, buffer_bytes, flat) < time_s(kind, outer, buffer_bytes)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_an_array_is_priced_entry_by_entry(kind):
    group, sizes = Group(per_tier=(16, 25)), np.array([[0, 1, 1e3], [1e6, 1e9, 1e12]])
    times, indices = collective_time_s(kind, group, sizes, SUNWAY)
    assert times.shape == indices.shape == sizes.shape
    for where, size in np.ndenumerate(sizes):
        assert (times[where], indices[where]) == collective_time_s(kind, group, size, SUNWAY)


@given(kind=KINDS, group=GROUPS, buffer_bytes=BYTES)
def test_the_index_names_the_cheapest_algorithm(kind, group, buffer_bytes):
    time, index = collective_time_s(kind, group, buffer_bytes, SUNWAY)
    times = algorithm_times_s(kind, group, buffer_bytes, SUNWAY)
    assert times[algorithm_names(kind)[index]] == time == min(times.values())


def test_short_buffers_take_few_steps_and_long_ones_few_bytes():
    _, indices = collective_time_s("all_reduce", Group(per_tier=(256, 1)), np.array([8, 1e10]), SUNWAY)
    assert [algorithm_names("all_reduce")[index] for index in indices] == ["recursive_doubling", "halving_doubling"]


@pytest.mark.parametrize("nodes", range(2, 9))
def test_trees_beat_rings_where_two_nodes_share_the_network(nodes):
    """Between two nodes a ring sends nearly twice the buffer, trees once; among many both send it twice."""
    cluster = Cluster.parse(f"a100-80g-sxm:gpus={8 * nodes}").replace({"network.fabric.bytes_per_s": 11.3e9})
    times = algorithm_times_s("all_reduce", Group(per_tier=(8, nodes)), 1e10, cluster)
    assert (times["double_tree"] < times["ring"]) == (nodes < 4)
    assert times["double_tree"] == pytest.approx(min(nodes, 4) / 2 * 1e10 / (8 * 11.3e9), rel=1e-3)


def test_a_measured_latency_of_one_kind_changes_that_kind_only():
    group, slow = Group(per_tier=(8, 1)), SUNWAY.replace({"network.supernode.all_to_all_latency_s": 1.0})
    changed = {kind for kind in COLLECTIVES if time_s(kind, group, 1e3, slow) != time_s(kind, group, 1e3)}
    assert changed == {"all_to_all"}


@given(kind=KINDS, group=GROUPS, buffer_bytes=BYTES)
def test_a_rendezvous_comes_before_every_exchange_once(kind, group, buffer_bytes):
    late = SUNWAY.replace({"network.supernode.rendezvous_s": 1e-3, "network.machine.rendezvous_s": 1e-2})
    wait_s = 1e-2 if group.per_tier[1] > 1 else 1e-3 if group.per_tier[0] > 1 else 0.0
    assert time_s(kind, group, buffer_bytes, late) == pytest.approx(time_s(kind, group, buffer_bytes) + wait_s)


@pytest.mark.parametrize("ratio", [16, 24])
@pytest.mark.parametrize("all_to_all_bytes", [1e5, 25e6, 1e9])
def test_bagualu_puts_the_all_reduce_inside_a_supernode(ratio, all_to_all_bytes):
    cluster = Cluster.parse("sw26010pro:nodes=57600,nodes_per_supernode=240")

    def step_s(order):
        placement = Placement(cluster=cluster, sizes=(240, 240), order=order)
        reduce_s = time_s("all_reduce", placement.group([0]), ratio * all_to_all_bytes, cluster)
        return reduce_s + time_s("all_to_all", placement.group([1]), all_to_all_bytes, cluster)

    assert step_s((0, 1)) < step_s((1, 0))
