"""Reductions over whole dims: what is left is parallel, what goes is a reduction factor.

Work: one flop for every element that is read.
"""

from __future__ import annotations

from functools import partial

from swplan.ir.ops._definitions import OpSpec, define
from swplan.ir.ops._dims import dim_names, is_number, numeric
from swplan.ir.rule import VECTOR, WHOLE, Rule, make_rule


def reduction(spec: OpSpec, *, kind: str = WHOLE, axes: str = "axes", linear: tuple = ()) -> Rule:
    """A reduction of every operand of full rank over the dims in `params[axes]`; the others are initial values.

    `kind` says how the parts of a reduced dim are joined; "whole" where no collective joins them.
    """
    shape, reduced = spec.operands[0].shape, set(spec.params[axes])
    names = dim_names("d", len(shape))
    kept = [name for dim, name in enumerate(names) if dim not in reduced]
    joined = kind if all(map(is_number, spec.operands)) else WHOLE
    return make_rule(
        [names if aval.shape == shape else () for aval in spec.operands],
        [kept for _ in spec.results],
        dict(zip(names, shape, strict=True)),
        kinds={names[dim]: joined for dim in reduced},
        linear=numeric(spec, linear),
        work=VECTOR,
    )


define("reduce_sum")(partial(reduction, kind="sum", linear=((0,),)))
define("reduce_max")(partial(reduction, kind="max"))
define("reduce_min")(partial(reduction, kind="min"))
define("reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin")(reduction)
define("reduce")(partial(reduction, axes="dimensions"))
