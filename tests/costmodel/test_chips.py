"""Every packaged chip: that its numbers are said to come from somewhere, and go together as those of machines do."""

import itertools
import math

import pytest

from swplan.costmodel import COLLECTIVES, Cluster, Matmul, Placement, Work, collective_time_s, load_chip, time_s
from swplan.costmodel.chip import PACKAGED
from swplan.costmodel.schema import KINDS, WIDER

CHIPS = {path.stem: load_chip(path) for path in sorted(PACKAGED.glob("*.toml"))}
NAMED = (
    *("a100-80g-sxm", "h100-sxm", "h100-96g-500w", "h200-sxm", "b200-sxm", "gb200-nvl72", "gb300-nvl72", "mi300x"),
    *("tpu-v4", "tpu-v5e", "tpu-v5p", "tpu-v6e", "sw26010pro", "host"),
)


@pytest.fixture(params=CHIPS)
def chip(request):
    """Each packaged chip in turn."""
    return CHIPS[request.param]


def cluster_of(chip):
    """Enough devices to cross every tier."""
    sizes = [chip.numbers[f"network.{tier}.size"].value for tier in chip.tiers[:-1]]
    return Cluster.parse(f"{PACKAGED}/{chip.name}.toml:{chip.device}s={4 * math.prod(sizes)}")


def test_the_chips_that_are_promised_are_there():
    assert set(NAMED) <= set(CHIPS)


def test_it_has_its_own_name_and_one_line_of_description(chip):
    assert CHIPS[chip.name] is chip
    assert 20 < len(chip.description) < 110


def test_every_number_says_where_it_comes_from(chip):
    for key, number in chip.numbers.items():
        assert number.kind in KINDS and len(number.source) > 5, key
        if number.source.startswith("assumed"):
            assert number.kind == "derived", key


def test_a_narrower_precision_is_no_slower(chip):
    for narrow, wide in WIDER.items():
        assert chip.flops_per_s[narrow] >= chip.flops_per_s[wide], (narrow, wide)
        assert chip.vector_flops_per_s[narrow] >= chip.vector_flops_per_s[wide], (narrow, wide)


def test_products_are_faster_than_elementwise_work_and_that_than_functions(chip):
    assert chip.flops_per_s["fp32"] >= chip.vector_flops_per_s["fp32"] > chip.special_flops_per_s


def test_no_tier_is_wider_than_the_one_inside_it(chip):
    for inner, outer in itertools.pairwise(cluster_of(chip).tiers):
        assert inner.bytes_per_s >= outer.bytes_per_s
        assert all(inner.links[kind].bytes_per_s >= outer.links[kind].bytes_per_s for kind in COLLECTIVES)


def test_memory_is_faster_than_the_network_and_libraries_leave_most_of_it(chip):
    assert chip.memory_bytes_per_s > cluster_of(chip).tiers[0].bytes_per_s
    assert chip.reserved_bytes < 0.1 * chip.memory_bytes


@pytest.mark.parametrize("precision", ["bf16", "fp32", "fp8"])
def test_large_products_come_near_the_ceiling_and_tiny_ones_do_not(chip, precision):
    ceiling = chip.flops_per_s[precision] * chip.matmul_efficiency[precision]
    rates = {}
    for side in (16, 8192):
        product = Matmul(m=side, n=side, k=side, precision=precision)
        rates[side] = product.flops / time_s(Work(matmuls=(product,), launches=1), chip)
    assert 0.6 * ceiling < rates[8192] <= ceiling
    assert rates[16] < 0.2 * ceiling


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_every_collective_has_a_price_on_every_tier(chip, kind):
    cluster = cluster_of(chip)
    sizes = tuple(tier.size for tier in cluster.tiers)
    placement = Placement(cluster=cluster, sizes=sizes, order=tuple(range(len(sizes))))
    for axes in [(axis,) for axis in range(len(sizes))] + [tuple(range(len(sizes)))]:
        long, short = (collective_time_s(kind, placement.group(axes), size, cluster)[0] for size in (1e9, 1e3))
        assert 0 < short < long < 100
