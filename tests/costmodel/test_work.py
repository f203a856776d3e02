"""The laws of `swplan.costmodel.work`: resources add up like vectors."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import PRECISIONS, Matmul, Work

COUNTS = st.integers(0, 10**15)
MATMULS = st.builds(
    Matmul,
    batch=st.integers(1, 64),
    m=st.integers(1, 10**5),
    n=st.integers(1, 10**5),
    k=st.integers(1, 10**5),
    precision=st.sampled_from(PRECISIONS),
)
WORKS = st.builds(
    Work,
    matmuls=st.lists(MATMULS, max_size=3).map(tuple),
    vector_flops=st.dictionaries(st.sampled_from(PRECISIONS), COUNTS, max_size=3),
    special_flops=COUNTS,
    read_bytes=COUNTS,
    written_bytes=COUNTS,
    launches=COUNTS,
)


def resources(work):
    """The resource vector."""
    flops = [work.flops.get(precision, 0) for precision in PRECISIONS]
    return np.array([*flops, work.special_flops, work.bytes, work.launches], dtype=object)


@given(one=WORKS, other=WORKS)
def test_resources_add_up_exactly(one, other):
    assert (resources(one + other) == resources(one) + resources(other)).all()


@given(work=WORKS, times=st.integers(0, 10**6))
def test_resources_multiply_by_a_trip_count_exactly(work, times):
    assert (resources(work * times) == resources(work) * times).all()
    assert work * times == times * work


@given(work=WORKS)
def test_no_work_is_zero(work):
    assert (resources(work + Work()) == resources(work)).all()
    assert not resources(work * 0).any()
    assert sum([work], start=Work()) == work


def test_a_matmul_counts_every_multiplication_and_addition():
    left, right = np.ones((2, 3, 4)), np.ones((2, 4, 5))
    multiplied = sum(
        left[b, i, j] * right[b, j, l] for b in range(2) for i in range(3) for j in range(4) for l in range(5)
    )
    assert Matmul(batch=2, m=3, n=5, k=4, precision="fp32").flops == 2 * multiplied


def test_a_trip_count_leaves_the_dims_alone():
    (matmul,) = (Work(matmuls=(Matmul(m=3, n=5, k=4, precision="fp32"),)) * 7).matmuls
    assert (matmul.batch, matmul.m, matmul.n, matmul.k, matmul.count) == (1, 3, 5, 4, 7)


def test_arrays_over_strategies_broadcast():
    split = np.array([1, 2, 4])
    work = Work(matmuls=(Matmul(m=8 // split, n=16, k=32, precision="fp32"),), read_bytes=64 // split, launches=1)
    doubled = split * (work + work)
    assert isinstance(doubled, Work)
    for index, degree in enumerate(split):
        assert doubled.flops["fp32"][index] == degree * 2 * 2 * (8 // degree) * 16 * 32
        assert doubled.bytes[index] == degree * 2 * (64 // degree)
        assert doubled.launches[index] == degree * 2
