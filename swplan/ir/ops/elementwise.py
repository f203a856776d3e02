"""Ops that treat every element by itself: each dim is a parallel factor, and a compiler fuses them.

Work: one vector flop a point, or one evaluation of a special function, counted as XLA's cost analysis splits them
(flops and transcendentals). The iterative functions (igamma, zeta, ...) count as one evaluation too: a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from swplan.ir.ops._definitions import Local, OpSpec, define
from swplan.ir.ops._dims import corresponding, dim_names, is_inexact, numeric
from swplan.ir.rule import FREE, MOVE, SPECIAL, VECTOR, WHOLE, Rule, WorkKind, make_rule

_VECTOR = """abs and or xor not ceil floor round sign clamp clz population_count max min rem nextafter is_finite
    eq ne ge gt le lt eq_to le_to lt_to shift_left shift_right_arithmetic shift_right_logical reduce_precision square"""
_SPECIAL = """acos acosh asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt cos cosh digamma erf erf_inv erfc exp
    exp2 expm1 igamma igamma_grad_a igammac lgamma log log1p log2 logistic polygamma pow regularized_incomplete_beta
    rsqrt sin sinh sqrt tan tanh zeta"""
_LINEAR = (
    ("add add_any sub complex", ((0, 1),), VECTOR),
    ("neg conj", ((0,),), VECTOR),
    ("mul", ((0,), (1,)), VECTOR),
    ("real imag", ((0,),), MOVE),
    ("copy name stop_gradient", ((0,),), FREE),
)


def _identity(_spec: OpSpec, _local: Local, operands: Sequence[Any]) -> Sequence[Any]:
    return operands


define("sharding_constraint", lower=_identity)(partial(corresponding, linear=((0,),), work=FREE))
define(*_VECTOR.split())(corresponding)
define(*_SPECIAL.split())(partial(corresponding, work=SPECIAL))
for _names, _groups, _work in _LINEAR:
    define(*_names.split())(partial(corresponding, linear=_groups, work=_work))


@define("div")
def division(spec: OpSpec) -> Rule:
    """`x / y`: linear in x, unless it is a division of integers, which rounds."""
    return corresponding(spec, linear=((0,),) if is_inexact(spec.results[0]) else ())


@define("integer_pow")
def integer_power(spec: OpSpec) -> Rule:
    """`x ** y` by repeated squaring: floor(log2 y) squarings, a product for every further bit, 1 / x for y < 0."""
    exponent = abs(spec.params["y"])
    products = exponent.bit_length() + exponent.bit_count() - 2 + (spec.params["y"] < 0) if exponent else 0
    linear = ((0,),) if spec.params["y"] == 1 else ()
    return corresponding(spec, linear=linear, work=WorkKind(per_point=float(products)))


@define("convert_element_type")
def conversion(spec: OpSpec) -> Rule:
    """A change of dtype: linear from one inexact dtype to another (float to int rounds)."""
    linear = ((0,),) if all(map(is_inexact, (*spec.operands, *spec.results))) else ()
    return corresponding(spec, linear=linear)


@define("select_n")
def selection(spec: OpSpec) -> Rule:
    """`which ? cases`: linear in all cases together, because the choice does not depend on them."""
    return corresponding(spec, linear=(tuple(range(1, len(spec.operands))),))


@define("one_minus_square")
def one_minus_square(spec: OpSpec) -> Rule:
    """`1 - x ** 2`, evaluated as `(1 + x) * (1 - x)`."""
    return corresponding(spec, work=WorkKind(per_point=3.0))


@define("polynomial")
def polynomial(spec: OpSpec) -> Rule:
    """A polynomial by Horner's rule: a product and a sum for every coefficient after the first."""
    return corresponding(spec, work=WorkKind(per_point=2.0 * max(0, len(spec.operands) - 2)))


@define("bitcast_convert_type")
def bitcast(spec: OpSpec) -> Rule:
    """The same bits in another dtype; where the width differs, a last dim that stays whole comes or goes."""
    shapes = spec.operands[0].shape, spec.results[0].shape
    longest = max(shapes, key=len)
    names = dim_names("d", len(longest))
    shared = min(map(len, shapes))
    sizes = dict(zip(names, longest, strict=True))
    dims = [names[: len(shape)] for shape in shapes]
    return make_rule(dims[:1], dims[1:], sizes, kinds=dict.fromkeys(names[shared:], WHOLE), work=FREE, fusible=True)


@define("device_put", lower=_identity)
@define("optimization_barrier")
def barrier(spec: OpSpec) -> Rule:
    """The identity of several values: the dims of each are factors of their own."""
    names = [[f"v{value}d{dim}" for dim in range(len(aval.shape))] for value, aval in enumerate(spec.operands)]
    sizes = {
        name: size
        for dims, aval in zip(names, spec.operands, strict=True)
        for name, size in zip(dims, aval.shape, strict=True)
    }
    return make_rule(names, names, sizes, linear=numeric(spec, (tuple(range(len(names))),)), work=FREE, fusible=False)
