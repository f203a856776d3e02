"""Laws of products made of tiles: limits, monotony, and what local memory and bandwidth say on SW26010-Pro."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import Matmul, Work, available_chips, load_chip, time_s
from swplan.costmodel.tiling import Tiling

SUNWAY, GROUP, HOST = load_chip("sw26010pro"), load_chip("sw26010pro-cg"), load_chip("host")
TILED = [name for name in available_chips() if load_chip(name).tiling]
SIZES = st.integers(1, 20000)
LOSSES = ("compute.matmul_edge", "compute.matmul_depth")
PRECISION = st.sampled_from(["fp16", "fp32"])


def seconds(m, n, k, precision, chip=SUNWAY, batch=1):
    return time_s(Work(matmuls=(Matmul(batch=batch, m=m, n=n, k=k, precision=precision),)), chip)


def efficiency(m, n, k, precision, chip=SUNWAY):
    return 2.0 * m * n * k / seconds(m, n, k, precision, chip) / chip.flops_per_s[precision]


@pytest.mark.parametrize("name", TILED)
@given(m=SIZES, n=SIZES, k=SIZES, precision=PRECISION)
def test_no_product_is_faster_than_an_endless_one(name, m, n, k, precision):
    chip = load_chip(name)
    assert efficiency(m, n, k, precision, chip) <= chip.matmul_efficiency[precision] * (1 + 1e-9)


@pytest.mark.parametrize(("precision", "best"), [("fp32", 0.892), ("fp16", 0.858)])
def test_large_products_reach_the_published_efficiency(precision, best):
    assert efficiency(12288, 12288, 12288, precision) == pytest.approx(best, abs=5e-4)
    assert efficiency(12288, 12288, 12288, precision, GROUP) == pytest.approx(best, abs=0.01)


@given(m=SIZES, n=SIZES, k=SIZES, precision=PRECISION)
def test_more_bandwidth_is_never_slower(m, n, k, precision):
    faster = SUNWAY.replace({"memory.bytes_per_s": 2 * SUNWAY.memory_bytes_per_s})
    assert seconds(m, n, k, precision, faster) <= seconds(m, n, k, precision) * (1 + 1e-9)


@given(m=SIZES, n=SIZES, k=SIZES, precision=PRECISION)
def test_a_longer_sum_takes_longer_and_is_more_efficient(m, n, k, precision):
    assert seconds(m, n, k, precision) <= seconds(m, n, 2 * k, precision) * (1 + 1e-9)
    assert efficiency(m, n, k, precision) <= efficiency(m, n, 2 * k, precision) * (1 + 1e-9)


@given(size=st.integers(1, 4096), precision=PRECISION, batch=st.integers(1, 500))
def test_many_small_products_keep_all_units_busy(size, precision, batch):
    together, alone = (seconds(size, size, size, precision, batch=b) for b in (6 * batch, 1))
    assert together <= 6 * batch * alone * (1 + 1e-9)


def test_tiles_fill_half_of_local_memory():
    tiling = SUNWAY.tiling
    assert 2 * tiling.tile**2 * 4 * 2 <= tiling.local_bytes < 2 * (2 * tiling.tile) ** 2 * 4 * 2


def test_small_products_wait_for_their_operands():
    sizes = np.array([64, 256, 1024, 4096, 16384])
    found = efficiency(sizes, sizes, sizes, "fp32")
    assert (np.diff(found) > 0).all()
    assert found[0] < 0.25


def test_arrays_are_priced_entry_by_entry():
    sizes = np.array([3, 64, 1000, 4096])
    found = seconds(sizes, 512, sizes, "fp16")
    assert found == pytest.approx([seconds(int(n), 512, int(n), "fp16") for n in sizes])


def test_without_a_tile_the_whole_product_is_one():
    """Short sides and short sums cost what the chip says, in either dim, whatever the batch."""
    edge, depth = HOST.tiling.edge, HOST.tiling.depth
    assert HOST.tiling.tile == 0
    endless = seconds(10**6, 10**6, 10**6, "fp32", HOST) / 10**18
    for m, n, k in [(4, 512, 256), (512, 4, 256), (64, 64, 16)]:
        expected = m * n * (k + depth) * (1 + edge / m + edge / n) * endless
        assert seconds(m, n, k, "fp32", HOST) == pytest.approx(expected, rel=1e-4)
        assert seconds(m, n, k, "fp32", HOST, batch=7) == pytest.approx(7 * expected, rel=1e-4)


@given(m=SIZES, n=SIZES, k=SIZES)
def test_one_tile_is_alike_in_both_its_sides(m, n, k):
    assert seconds(m, n, k, "fp32", HOST) == pytest.approx(seconds(n, m, k, "fp32", HOST))


def test_a_chip_that_states_no_loss_has_none():
    numbers = {key: number for key, number in HOST.numbers.items() if key not in LOSSES}
    assert Tiling.of(numbers) is None
    assert all(Tiling.of({**numbers, key: HOST.numbers[key]}) is not None for key in LOSSES)
