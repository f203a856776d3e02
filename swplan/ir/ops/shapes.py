"""Ops that move, repeat or regroup elements and compute nothing.

A dim that an op cuts, pads or joins stays whole; every other dim is a parallel factor. Regrouping (reshape) merges
factors. What only renames dims is free; a copy is traffic. All are fused into their consumer, as XLA does.
"""

from __future__ import annotations

from functools import partial
from math import gcd
from typing import Any

from jax import lax

from swplan.ir.ops._definitions import Local, OpSpec, define
from swplan.ir.ops._dims import corresponding, dim_names, numeric
from swplan.ir.rule import FREE, MOVE, WHOLE, Rule, make_rule, whole_rule


@define("transpose")
def transpose(spec: OpSpec) -> Rule:
    """Dims in another order."""
    shape = spec.operands[0].shape
    names = dim_names("d", len(shape))
    turned = [names[dim] for dim in spec.params["permutation"]]
    sizes = dict(zip(names, shape, strict=True))
    return make_rule([names], [turned], sizes, linear=numeric(spec, ((0,),)), work=MOVE, fusible=True)


def _broadcast_params(spec: OpSpec, local: Local) -> dict[str, Any]:
    return {**spec.params, "shape": local.results[0]}


@define("broadcast_in_dim", localize=_broadcast_params)
def broadcast_in_dim(spec: OpSpec) -> Rule:
    """New dims are parallel factors of the result alone."""
    shape = spec.results[0].shape
    names = dim_names("d", len(shape))
    placed = zip(spec.operands[0].shape, spec.params["broadcast_dimensions"], strict=True)
    operand = [names[dim] if size == shape[dim] else None for size, dim in placed]
    sizes = dict(zip(names, shape, strict=True))
    scalars = [()] * (len(spec.operands) - 1)
    linear = numeric(spec, ((0,),))
    return make_rule([operand, *scalars], [names], sizes, linear=linear, work=MOVE, fusible=True)


@define("squeeze")
def squeeze(spec: OpSpec) -> Rule:
    """Dims of size 1 are dropped."""
    shape = spec.operands[0].shape
    names = dim_names("d", len(shape))
    kept = [name for dim, name in enumerate(names) if dim not in spec.params["dimensions"]]
    sizes = dict(zip(names, shape, strict=True))
    return make_rule([names], [kept], sizes, linear=numeric(spec, ((0,),)), work=FREE, fusible=True)


def _lower_iota(spec: OpSpec, local: Local, _operands: Any) -> list[Any]:
    dimension = spec.params["dimension"]
    counted = lax.broadcasted_iota("int32", local.results[0], dimension) + local.offset(0, dimension)
    return [lax.convert_element_type(counted, spec.params["dtype"])]


@define("iota", lower=_lower_iota)
def iota(spec: OpSpec) -> Rule:
    """Counts along one dim: a device starts where its block starts."""
    return corresponding(spec, work=MOVE)


@define("rev")
def reverse(spec: OpSpec) -> Rule:
    """Reversed dims stay whole."""
    return corresponding(spec, whole=spec.params["dimensions"], linear=((0,),), work=MOVE)


@define("concatenate")
def concatenate(spec: OpSpec) -> Rule:
    """The joined dim stays whole."""
    group = (tuple(range(len(spec.operands))),)
    return corresponding(spec, whole=(spec.params["dimension"],), linear=group, work=MOVE)


@define("pad")
def pad(spec: OpSpec) -> Rule:
    """Padded dims stay whole."""
    whole = [dim for dim, padding in enumerate(spec.params["padding_config"]) if tuple(padding) != (0, 0, 0)]
    return corresponding(spec, whole=whole, linear=((0, 1),), work=MOVE)


def _split_params(spec: OpSpec, local: Local) -> dict[str, Any]:
    axis = spec.params["axis"]
    return {**spec.params, "sizes": tuple(shape[axis] for shape in local.results)}


@define("split", localize=_split_params)
def split(spec: OpSpec) -> Rule:
    """The divided dim stays whole."""
    return corresponding(spec, whole=(spec.params["axis"],), linear=((0,),), work=MOVE)


@define("tile")
def tile(spec: OpSpec) -> Rule:
    """Repeated dims stay whole."""
    whole = [dim for dim, count in enumerate(spec.params["reps"]) if count != 1]
    return corresponding(spec, whole=whole, linear=((0,),), work=MOVE)


@define("stack", "unstack")
def stack(spec: OpSpec) -> Rule:
    """The dim that is made, or taken apart, stays whole."""
    axis = spec.params["axis"]
    joined, parts = (spec.results, spec.operands) if spec.primitive == "stack" else (spec.operands, spec.results)
    names = dim_names("d", len(joined[0].shape))
    dims = [names], [names[:axis] + names[axis + 1 :]] * len(parts)
    operands, results = reversed(dims) if spec.primitive == "stack" else dims
    return make_rule(
        operands,
        results,
        dict(zip(names, joined[0].shape, strict=True)),
        kinds={names[axis]: WHOLE},
        linear=numeric(spec, (tuple(range(len(operands))),)),
        work=MOVE,
        fusible=True,
    )


define("empty2")(partial(corresponding, work=FREE))


def _reshape_params(spec: OpSpec, local: Local) -> dict[str, Any]:
    return {**spec.params, "new_sizes": local.results[0]}


@define("reshape", localize=_reshape_params)
def reshape(spec: OpSpec) -> Rule:
    """Dims are regrouped: each is a product of common factors, of which the major one can be split.

    `(8, 4, 6) -> (32, 6)` is `a, b, c -> (a b), c`. Where two sizes have no common factor, both stay whole.
    """
    source, target = spec.operands[0].shape, spec.results[0].shape
    if spec.params.get("dimensions") is not None or 0 in source:
        return whole_rule((len(source),), (len(target),), FREE)
    sizes: dict[str, int] = {}
    whole: set[str] = set()
    operand: list[list[str]] = [[] for _ in source]
    result: list[list[str]] = [[] for _ in target]
    for dim_l, dim_r, size in common_factors(source, target):
        name = f"f{len(sizes)}"
        sizes[name] = size
        if dim_l is not None:
            operand[dim_l].append(name)
        if dim_r is not None:
            result[dim_r].append(name)
        if dim_l is None or dim_r is None:
            whole.add(name)
    linear = numeric(spec, ((0,),))
    return make_rule(
        [operand], [result], sizes, kinds=dict.fromkeys(whole, WHOLE), linear=linear, work=FREE, fusible=True
    )


Cut = tuple[int | None, int | None, int]


def common_factors(source: tuple[int, ...], target: tuple[int, ...]) -> list[Cut]:
    """Cuts two shapes of the same size, major to minor, into (source dim, target dim, size).

    At equal positions the greatest common divisor of what remains of both dims is common to both. Where that is 1, the
    rest is cut apart (a dim of only one side) until both sides stand at equal positions again.
    """
    left, right = list(source), list(target)
    i = j = 0
    cuts: list[Cut] = []
    while i < len(left) and j < len(right):
        common = gcd(left[i], right[j])
        if common == 1 and left[i] > 1 and right[j] > 1:
            i, j = _skip_apart(left, right, i, j, cuts)
            continue
        cuts.append((i, j, common))
        left[i] //= common
        right[j] //= common
        i += left[i] == 1
        j += j < len(right) and right[j] == 1
    return [cut for cut in cuts if cut[2] > 1]


def _skip_apart(left: list[int], right: list[int], i: int, j: int, cuts: list[Cut]) -> tuple[int, int]:
    """Cuts whole dims of both sides until their products are equal; returns the dims that follow."""
    product_l, product_r = left[i], right[j]
    cuts += [(i, None, left[i]), (None, j, right[j])]
    while product_l != product_r:
        if product_l < product_r:
            i += 1
            product_l *= left[i]
            cuts.append((i, None, left[i]))
        else:
            j += 1
            product_r *= right[j]
            cuts.append((None, j, right[j]))
    return i + 1, j + 1
