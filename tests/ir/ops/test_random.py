"""The streams that no grid of small cases reaches: 64 bits, and arrays of more than 2**32 elements."""

import jax
import numpy as np
import pytest

from swplan.ir.graph import Aval
from swplan.ir.ops import Local, OpSpec, bind_local
from swplan.ir.ops.random import random_bits

from .simulate import assert_same, find_equation, run_split, strategies


def test_64_bits():
    with jax.enable_x64(True):
        equation = find_equation("random_bits", lambda k: jax.random.bits(k, (4, 6), "uint64"), [jax.random.key(3)])
        assert equation.results[0].dtype == "uint64"
        for degrees in strategies(equation.spec, equation.rule):
            assert_same(run_split(equation, degrees)[0], equation.results[0], 0)


def test_flat_index_beyond_32_bits():
    shape, block, start = (5, 3, 2**31 - 1), (1, 1, 4), (4, 2, 2**31 - 5)
    key = jax.random.key(3)
    spec = OpSpec("random_bits", {"bit_width": 32, "shape": shape}, (Aval((), "key<fry>"),), (Aval(shape, "uint32"),))
    local = Local(((),), (block,), lambda _result, dim: start[dim], lambda _name: 0)
    (bits,) = bind_local(None, spec, local, [key])
    flat = np.uint64(np.ravel_multi_index(start, shape)) + np.arange(4, dtype=np.uint64)
    words = [np.asarray(flat >> np.uint64(32), np.uint32), np.asarray(flat & np.uint64(2**32 - 1), np.uint32)]
    assert words[0].max() > 0
    data = [np.full(4, word, np.uint32) for word in np.asarray(jax.random.key_data(key))]
    first, second = jax.extend.random.threefry2x32_p.bind(*data, *words)
    np.testing.assert_array_equal(bits[0, 0], first ^ second)


@pytest.mark.parametrize("shape", [(4, 6), ()])
def test_draws_stay_whole_where_the_stream_cannot_be_cut(shape):
    spec = OpSpec(
        "random_bits", {"bit_width": 32, "shape": shape}, (Aval((2,), "key<fry>"),), (Aval((2, *shape), "uint32"),)
    )
    with jax.threefry_partitionable(False):
        assert [factor.name for factor in random_bits(spec).factors if factor.shardable] == ["d0"]
    rbg = OpSpec("random_bits", spec.params, (Aval((2,), "key<rbg>"),), spec.results)
    assert not any(factor.shardable for factor in random_bits(rbg).factors)
