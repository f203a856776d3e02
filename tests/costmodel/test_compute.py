"""The laws of `swplan.costmodel.compute`: the roofline."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import COLLECTIVES, Matmul, Work, available_chips, breakdown, load_chip, time_s
from swplan.costmodel.compute import TURNED, turning_s

from .test_work import WORKS

SUNWAY = load_chip("sw26010pro")


@given(work=WORKS)
def test_time_is_at_least_each_of_its_parts(work):
    parts = breakdown(work, SUNWAY)
    assert parts.time_s == time_s(work, SUNWAY)
    assert parts.time_s >= max(parts.compute_s, parts.memory_s, parts.overhead_s) >= 0


@given(work=WORKS, times=st.integers(0, 1000))
def test_a_repeated_op_takes_as_many_times_as_long(work, times):
    assert time_s(work * times, SUNWAY) == pytest.approx(times * time_s(work, SUNWAY))


@given(one=WORKS, other=WORKS)
def test_ops_together_take_no_longer_than_one_after_the_other(one, other):
    apart = time_s(one, SUNWAY) + time_s(other, SUNWAY)
    assert max(time_s(one, SUNWAY), time_s(other, SUNWAY)) * (1 - 1e-9) <= time_s(one + other, SUNWAY)
    assert time_s(one + other, SUNWAY) <= apart * (1 + 1e-9)


@given(work=WORKS)
def test_a_faster_chip_is_never_slower(work):
    faster = SUNWAY.replace(
        {"memory.bytes_per_s": 300e9, "compute.flops_per_s.fp16": 80e12, "compute.op_overhead_s": 0}
    )
    assert time_s(work, faster) <= time_s(work, SUNWAY)


def test_no_matmul_is_faster_than_peak():
    matmul = Matmul(m=4096, n=4096, k=4096, precision="fp16")
    rate = matmul.flops / time_s(Work(matmuls=(matmul,)), SUNWAY)
    assert 0.7 * 55.30e12 < rate < SUNWAY.matmul_efficiency["fp16"] * 55.30e12


def test_arrays_are_priced_entry_by_entry():
    sizes = np.array([1, 64, 4096])
    work = Work(matmuls=(Matmul(m=4096, n=4096, k=sizes, precision="bf16"),), read_bytes=10**8)
    for index, size in enumerate(sizes.tolist()):
        single = Work(matmuls=(Matmul(m=4096, n=4096, k=size, precision="bf16"),), read_bytes=10**8)
        assert time_s(work, SUNWAY)[index] == pytest.approx(time_s(single, SUNWAY))
        assert breakdown(work, SUNWAY).binding[index] == breakdown(single, SUNWAY).binding


def test_products_beyond_64_bits_do_not_wrap_around():
    work = Work(matmuls=(Matmul(batch=10**6, m=np.array([10**6]), n=10**6, k=10**6, precision="fp32"),))
    assert time_s(work, SUNWAY)[0] == pytest.approx(2e24 / (14.03e12 * SUNWAY.matmul_efficiency["fp32"]), rel=1e-3)


@pytest.mark.parametrize(
    ("work", "binding"),
    [
        (Work(special_flops=10**12, launches=1), "compute"),
        (Work(vector_flops={"fp32": 10**9}, read_bytes=10**9, launches=1), "memory (rearranged)"),
        (Work(read_bytes=1, launches=1), "overhead"),
    ],
)
def test_the_binding_resource_is_the_longest(work, binding):
    assert breakdown(work, SUNWAY).binding == binding


@pytest.mark.parametrize("name", available_chips())
def test_no_work_takes_no_time(name):
    assert time_s(Work(), load_chip(name)) == 0.0


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_only_gathers_and_scatters_along_inner_dims_are_turned(kind):
    chip = load_chip("host").replace({"memory.turned_bytes_per_s": 1e9, "compute.op_overhead_s": 1e-6})
    assert turning_s(kind, 0, 1e6, 8, chip) == turning_s(kind, 1, 1e6, 1, chip) == 0
    assert turning_s(kind, 1, 1e6, 8, SUNWAY) == 0
    assert (turning_s(kind, 1, 1e6, 8, chip) > 0) == (kind in TURNED)


def test_turning_reads_and_writes_operand_and_result():
    """Time beside launches is linear in bytes, and that of three passes over the buffer at most."""
    chip = load_chip("host").replace({"memory.turned_bytes_per_s": 1e9, "compute.op_overhead_s": 0})
    one, more = (turning_s("all_gather", 1, 1e6 * n, np.array([2, 4, 1000]), chip) for n in (1, 3))
    np.testing.assert_allclose(more, 3 * one)
    assert np.all(one > 2e-3) and np.all(one <= 3e-3) and np.all(np.diff(one) < 0)
