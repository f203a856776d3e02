"""Ops along a dim that look at neighbours: windows and cumulative ops. The dims that they walk along stay whole."""

from __future__ import annotations

from functools import partial
from math import ceil, log2, prod

from swplan.ir.ops._definitions import OpSpec, define
from swplan.ir.ops._dims import corresponding
from swplan.ir.rule import Rule, WorkKind


def cumulative(spec: OpSpec, *, linear: tuple = (), unit: str = "vector") -> Rule:
    """A running sum, product, maximum: whole along its axis.

    Work: log2(n) steps for each element, what a parallel prefix takes that does not share partial results
    (Hillis and Steele, doi:10.1145/7902.7903); work-efficient scans take about 2.
    """
    axis = spec.params["axis"]
    steps = float(max(1, ceil(log2(max(2, spec.operands[0].shape[axis])))))
    return corresponding(spec, whole=(axis,), linear=linear, work=WorkKind(unit, steps), fusible=False)


define("cumsum")(partial(cumulative, linear=((0,),)))
define("cumprod", "cummax", "cummin")(cumulative)
define("cumlogsumexp")(partial(cumulative, unit="special"))


def windowed(spec: OpSpec, *, linear: tuple = ()) -> Rule:
    """A reduction over sliding windows, or its adjoint. Where a window is one element that moves one by one: parallel.

    Work: every element of every window once.
    """
    window = spec.params["window_dimensions"]
    ranks_match = [aval.shape for aval in (*spec.operands, *spec.results) if len(aval.shape) == len(window)]
    whole = [dim for dim in range(len(window)) if not _is_still(spec, dim)]
    windows = min(prod(shape) for shape in ranks_match)
    per_point = windows * prod(window) / max(1, spec.results[0].size)
    return corresponding(spec, whole=whole, linear=linear, work=WorkKind(per_point=per_point), fusible=False)


def _is_still(spec: OpSpec, dim: int) -> bool:
    """Whether windows are single elements along this dim, each at its own place."""
    params = spec.params
    steps = [params[name][dim] for name in ("window_dimensions", "window_strides", "base_dilation") if name in params]
    return set(steps) == {1} and tuple(params["padding"][dim]) == (0, 0)


define("reduce_window_max", "reduce_window_min", "reduce_window", "select_and_scatter")(windowed)
define("reduce_window_sum", "select_and_scatter_add", "select_and_gather_add")(partial(windowed, linear=((0,),)))
