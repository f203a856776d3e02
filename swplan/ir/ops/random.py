"""Random bits and keys.

Under JAX's partitionable threefry, the default, the bits at a flat index depend on the key and on that index alone. So
every device draws its own part of the very stream that one device would draw. Other generators draw whole.

Work of threefry2x32 (Salmon et al., doi:10.1145/2063384.2063405): 20 rounds of an add, a rotation (two shifts, an or)
and a xor, and five key injections of three adds after the first of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core.primitives import random_bits_p
from jax.extend.random import threefry2x32_p

from swplan.ir.ops._definitions import Local, OpSpec, define
from swplan.ir.ops._dims import corresponding, dim_names, unsplit
from swplan.ir.rule import FREE, WHOLE, Rule, WorkKind, make_rule

_THREEFRY = WorkKind(per_point=20.0 * 5 + 2 + 5 * 3)
_WORD = 2**32

define("threefry2x32", "random_seed")(partial(corresponding, work=_THREEFRY, fusible=False))
define("random_clone")(partial(corresponding, work=FREE))
define("rng_bit_generator", "rng_uniform")(partial(unsplit, work=_THREEFRY))


@define("random_wrap", "random_unwrap")
def keys(spec: OpSpec) -> Rule:
    """Keys and their data: the dims of the keys are parallel, the dim of the data words is whole."""
    return _by_key(spec, work=FREE, fusible=True)


@define("random_split")
def random_split(spec: OpSpec) -> Rule:
    """The dims of the keys are parallel, those of the new keys whole."""
    return _by_key(spec, work=_THREEFRY, fusible=False) if _is_threefry(spec) else unsplit(spec, work=_THREEFRY)


def _by_key(spec: OpSpec, *, work: WorkKind, fusible: bool) -> Rule:
    shapes = [spec.operands[0].shape, spec.results[0].shape]
    longest = max(shapes, key=len)
    names = dim_names("d", len(longest))
    whole = names[min(map(len, shapes)) :]
    sizes = dict(zip(names, longest, strict=True))
    operand, result = ([names[: len(shape)]] for shape in shapes)
    return make_rule(operand, result, sizes, kinds=dict.fromkeys(whole, WHOLE), work=work, fusible=fusible)


@define("random_fold_in")
def random_fold_in(spec: OpSpec) -> Rule:
    """A number is mixed into each key."""
    return corresponding(spec, work=_THREEFRY, fusible=False) if _is_threefry(spec) else unsplit(spec, work=_THREEFRY)


@define("random_gamma")
def random_gamma(spec: OpSpec) -> Rule:
    """A key draws for all elements that it has no dims for, one after the other: those dims stay whole."""
    if not _is_threefry(spec):
        return unsplit(spec, work=_THREEFRY)
    drawn = range(len(spec.operands[0].shape), len(spec.results[0].shape))
    return corresponding(spec, whole=drawn, work=_THREEFRY, fusible=False)


def _is_threefry(spec: OpSpec) -> bool:
    """Whether each key stands for itself: a batch of `rbg` keys draws other bits than the same keys one by one."""
    return spec.operands[0].dtype == "key<fry>"


def _wide_product(index: Any, stride: int) -> tuple[Any, Any]:
    """`index * stride` of uint32 and a number below 2**64, as the high and the low uint32 of the product.

    By halves of 16 bits: `lax.mulhi` does not compile under `shard_map` (jax 0.10.2).
    """
    high, low = (np.uint32(word) for word in divmod(stride, _WORD))
    (index_high, index_low), (low_high, low_low) = (_halves(word) for word in (index, low))
    middle = index_high * low_low + _halves(index_low * low_low)[0]
    middle_high, middle_low = _halves(middle)
    carried = middle_high + _halves(index_low * low_high + middle_low)[0]
    return index_high * low_high + carried + index * high, index * low


def _halves(word: Any) -> tuple[Any, Any]:
    return word >> np.uint32(16), word & np.uint32(0xFFFF)


def _flat_index(spec: OpSpec, local: Local) -> tuple[Any, Any]:
    """The flat index of every local element in the whole array, as two uint32 [local shape]."""
    rank, shape, local_shape = len(spec.operands[0].shape), spec.params["shape"], local.results[0]
    high = low = jnp.zeros(local_shape, jnp.uint32)
    for dim in range(len(shape)):
        start = jnp.asarray(local.offset(0, rank + dim), jnp.uint32)
        index = lax.broadcasted_iota(jnp.uint32, local_shape, rank + dim) + lax.broadcast(start, local_shape)
        term_high, term = _wide_product(index, prod(shape[dim + 1 :]))
        low = low + term
        high = high + term_high + (low < term).astype(jnp.uint32)
    return high, low


def _lower_bits(spec: OpSpec, local: Local, operands: Sequence[Any]) -> list[Any]:
    rank, width = len(spec.operands[0].shape), spec.params["bit_width"]
    if local.results[0][rank:] == tuple(spec.params["shape"]):
        return [random_bits_p.bind(*operands, **spec.params)]
    data = jax.random.key_data(operands[0])
    key = [lax.broadcast_in_dim(data[..., word], local.results[0], range(rank)) for word in (0, 1)]
    first, second = threefry2x32_p.bind(*key, *_flat_index(spec, local))
    if width != 64:
        return [lax.convert_element_type(first ^ second, f"uint{width}")]
    high, low = (lax.convert_element_type(word, "uint64") for word in (first, second))
    return [lax.shift_left(high, jnp.full_like(high, 32)) | low]


@define("random_bits", lower=_lower_bits)
def random_bits(spec: OpSpec) -> Rule:
    """Dims of the keys are parallel; those that each key draws are so where the generator counts by flat index."""
    if not _is_threefry(spec):
        return unsplit(spec, work=_THREEFRY)
    drawn = range(len(spec.operands[0].shape), len(spec.results[0].shape))
    whole = () if jax.config.jax_threefry_partitionable else drawn
    return corresponding(spec, whole=whole, work=_THREEFRY, fusible=False)
