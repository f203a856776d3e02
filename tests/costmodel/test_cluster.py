"""Cluster specs: reading, changing, round trips, and one clear message for every mistake."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import Cluster, available_chips, load_chip
from swplan.errors import ClusterError


@pytest.mark.parametrize(
    "spec",
    [
        "host:devices=8",
        "sw26010pro:nodes=96000,nodes_per_supernode=240",
        "sw26010pro:nodes=1000,network.supernode.taper=0.3,memory.bytes=84000000000",
        "sw26010pro: nodes = 8 , network.supernode.size = 4",
        "sw26010pro:nodes=8,network.supernode.all_to_all_latency_s=1e-05",
        "sw26010pro:nodes=8,network.machine.bytes_per_s=5e9",
    ],
)
def test_the_spec_makes_the_same_cluster_again(spec):
    cluster = Cluster.parse(spec)
    assert Cluster.parse(cluster.spec) == cluster
    assert Cluster.parse(cluster.spec).spec == cluster.spec
    assert hash(Cluster.parse(spec)) == hash(cluster)


@given(nodes=st.integers(1, 10**6), size=st.integers(1, 10**4))
def test_tiers_hold_every_device_and_less_than_one_unit_more(nodes, size):
    cluster = Cluster.parse(f"sw26010pro:nodes={nodes},nodes_per_supernode={size}")
    inner, outer = (tier.size for tier in cluster.tiers)
    assert cluster.devices == nodes
    assert nodes <= inner * outer < nodes + inner
    assert outer == math.ceil(nodes / size)


def test_bandwidth_shrinks_by_the_taper():
    inner, outer = Cluster.parse("sw26010pro:nodes=1024").tiers
    assert outer.bytes_per_s == inner.bytes_per_s * 3 / 16
    assert outer.links["all_gather"] == (outer.bytes_per_s, outer.latency_s)


def test_a_kind_may_have_a_share_of_the_bandwidth():
    full = Cluster.parse("sw26010pro:nodes=1024,network.machine.all_to_all_share=1").tiers[-1]
    half = Cluster.parse("sw26010pro:nodes=1024,network.machine.all_to_all_share=0.5").tiers[-1]
    assert half.links["all_to_all"].bytes_per_s == full.links["all_to_all"].bytes_per_s / 2
    assert half.links["all_reduce"] == full.links["all_reduce"]


def test_measured_numbers_of_one_kind_are_used_for_that_kind():
    cluster = Cluster.parse(
        "host:devices=8,network.host.all_gather_bytes_per_s=7e9,network.host.permute_latency_s=3e-6"
    )
    (tier,) = cluster.tiers
    assert tier.links["all_gather"] == (7e9, tier.latency_s)
    assert tier.links["permute"] == (tier.bytes_per_s, 3e-6)
    assert tier.links["all_reduce"] == (tier.bytes_per_s, tier.latency_s)


def test_replace_is_parsing_the_changed_spec():
    cluster = Cluster.parse("sw26010pro:nodes=96000,memory.bytes_per_s=2e11")
    changed = cluster.replace({"network.supernode.taper": 1.0, "nodes": 1024, "network.supernode.size": "240"})
    assert changed == Cluster.parse(
        "sw26010pro:nodes=1024,nodes_per_supernode=240,network.supernode.taper=1,memory.bytes_per_s=2e11"
    )
    assert changed.chip.memory_bytes_per_s == 2e11
    assert cluster.devices == 96000
    assert cluster.replace({}) == cluster


def test_a_taper_displaces_the_bandwidth_that_was_stated_before():
    cluster = Cluster.parse("sw26010pro:nodes=512,network.machine.bytes_per_s=5e9")
    assert cluster.tiers[1].bytes_per_s == 5e9
    assert cluster.replace({"network.supernode.taper": 0.5}).tiers[1].bytes_per_s == 12e9


@pytest.mark.parametrize("name", available_chips())
def test_every_chip_makes_a_cluster(name):
    device = load_chip(name).device
    cluster = Cluster.parse(f"{name}:{device}s=6")
    assert (cluster.devices, cluster.memory_bytes) == (6, cluster.chip.memory_bytes)
    assert math.prod(tier.size for tier in cluster.tiers) == 6
    assert str(cluster).startswith(f"{name}: 6 {device}s (")


def test_a_chip_file_may_stand_for_its_name(chips_folder):
    cluster = Cluster.parse(f"{chips_folder}/laboratory.toml:devices=16")
    assert [tier.size for tier in cluster.tiers] == [4, 2, 2]
    assert [tier.bytes_per_s for tier in cluster.tiers] == [8e9, 4e9, 1e9]
    assert Cluster.parse(cluster.spec) == cluster


MISTAKES = [
    ("sw26010:nodes=8", "no chip 'sw26010': did you mean sw26010pro"),
    ("", "no chip ''"),
    ("sw26010pro", "how many nodes? Write sw26010pro:nodes=<number>."),
    ("host:nodes=8", "unknown key 'nodes'; did you mean devices"),
    ("host:devices=0", "devices=0 makes no sense; write a whole number of at least 1"),
    ("host:devices=-8", "devices=-8 makes no sense"),
    ("host:devices=2.5", "devices=2.5 makes no sense"),
    ("host:devices=inf", "devices=inf makes no sense"),
    ("host:devices=many", "devices='many' is not a number; write devices=<number>"),
    ("host:devices", "devices='' is not a number"),
    ("host:devices=8,devices=9", "devices is given twice; keep one"),
    ("sw26010pro:nodes=8,nodes_per_supernode=4,network.supernode.size=4", "network.supernode.size is given twice"),
    ("sw26010pro:nodes=8,nodes_per_supernode=0", "nodes_per_supernode=0 makes no sense"),
    ("sw26010pro:nodes=8,network.supernode.tapr=1", "did you mean network.supernode.taper"),
    ("sw26010pro:nodes=8,network.supernode.taper=1.5", "write a number above 0 and up to 1"),
    ("sw26010pro:nodes=8,memory.bytes_per_s=0", "memory.bytes_per_s = 0 byte/s makes no sense"),
    ("sw26010pro:nodes=8,network.machine.bytes_per_s=25e9", "is more than the 24000000000.0 byte/s of the tier inside"),
    (
        "sw26010pro:nodes=8,network.machine.bytes_per_s=1e9,network.supernode.taper=1",
        "say the same thing; delete one",
    ),
]


@pytest.mark.parametrize(("spec", "message"), MISTAKES)
def test_every_mistake_in_a_spec_gets_one_clear_message(spec, message):
    with pytest.raises(ClusterError) as caught:
        Cluster.parse(spec)
    assert message in str(caught.value)
    assert str(caught.value).startswith("cluster '")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "nodes=0 makes no sense"),
        ({"nodes": True}, "nodes=True makes no sense"),
        ({"nodes": "few"}, "nodes='few' is not a number"),
        ({"node": 8}, "unknown key 'node'; did you mean nodes"),
        ({"memory.bytes": math.nan}, "memory.bytes = nan byte makes no sense"),
    ],
)
def test_every_mistake_in_a_change_gets_one_clear_message(changes, message):
    with pytest.raises(ClusterError) as caught:
        Cluster.parse("sw26010pro:nodes=8").replace(changes)
    assert message in str(caught.value)
