"""Ops along a dim that look at neighbours: windows and cumulative ops. The dims that they walk along stay whole."""

from __future__ import annotations

from functools import partial
from math import ceil, log2

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
