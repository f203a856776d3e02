"""Ops that order elements along a dim: that dim stays whole, all others are parallel.

Work: comparisons: log2 n for each element of a sort, log2 k for each that goes through a heap of the k best.
"""

from __future__ import annotations

from math import log2

from swplan.ir.ops._definitions import OpSpec, define
from swplan.ir.ops._dims import corresponding, dim_names
from swplan.ir.rule import WHOLE, Rule, WorkKind, make_rule


def _comparisons(count: int) -> WorkKind:
    return WorkKind(per_point=max(1.0, log2(max(1, count))))


@define("sort")
def sort(spec: OpSpec) -> Rule:
    """Sorts one or several values by the first ones."""
    dimension = spec.params["dimension"]
    work = _comparisons(spec.operands[0].shape[dimension])
    return corresponding(spec, whole=(dimension,), work=work, fusible=False)


@define("top_k", "approx_top_k")
def top_k(spec: OpSpec) -> Rule:
    """The k best of a dim, and where they stand."""
    shape, params = spec.operands[0].shape, spec.params
    axis = params.get("axis", params.get("reduction_dimension", -1)) % len(shape)
    names = dim_names("d", len(shape))
    best = [None if dim == axis else name for dim, name in enumerate(names)]
    sizes = dict(zip(names, shape, strict=True))
    kinds = {names[axis]: WHOLE}
    return make_rule([names], [best] * len(spec.results), sizes, kinds=kinds, work=_comparisons(params["k"]))
