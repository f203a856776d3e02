"""Decides the precision of each class of products by price, and applies the decision to a traced program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from jax import lax

from swplan.costmodel.chip import Chip
from swplan.costmodel.compute import time_s
from swplan.costmodel.work import Matmul, Work
from swplan.ir.graph import Graph, Op, walk
from swplan.passes.pipeline import Settings, run
from swplan.passes.precision import CLASSES, classes_of
from swplan.plan import Precision
from swplan.runtime.trace import Program

_CAST = SimpleNamespace(
    handle=lax.convert_element_type_p,
    params=lambda name: {"new_dtype": jnp.dtype(name), "weak_type": False, "sharding": None},
    dtype=jnp.dtype,
)


def applied(precision: Precision, program: Program) -> Program:
    """The program with its products in the precision that was decided on."""
    return replace(program, graph=run(program.graph, Settings(precision=precision.classes, cast=_CAST)))


def chosen(graph: Graph, chip: Chip, policy: str, *, unscalable: str = "") -> Precision:
    """The precision of every class of products that the program has.

    Args:
      graph: the program as written.
      chip: whose prices decide.
      policy: one of `passes.precision.POLICIES`.
      unscalable: why the loss of the step cannot be scaled, which fp16 needs; "" if it can.
    """
    present = sorted(set(classes_of(graph).values()), key=CLASSES.index)
    if policy == "fp32":
        return _precision(policy, dict.fromkeys(present, "fp32"), "as written")
    if policy == "fp16" and unscalable:
        why = f"fp16 needs its loss scaled, and this step cannot be scaled safely: {unscalable}; bf16 needs no scaling"
        return _precision(policy, dict.fromkeys(present, "bf16"), why)
    if policy == "fp16":
        return _precision(
            policy, dict.fromkeys(present, "fp16"), "asked for; the loss is scaled dynamically", scaled=True
        )
    if policy == "bf16":
        return _precision(
            policy, dict.fromkeys(present, "bf16"), "asked for; everything but matrix products stays wide"
        )
    prices = _prices(graph, chip)
    classes = {name: "bf16" if prices[name][1] < prices[name][0] else "fp32" for name in present}
    return _precision(policy, classes, "; ".join(_reason(name, *prices[name], chip) for name in present))


def _precision(policy: str, classes: Mapping[str, str], why: str, *, scaled: bool = False) -> Precision:
    return Precision(policy=policy, classes=dict(classes), loss_scaling=scaled, why=why)


def _reason(name: str, wide_s: float, low_s: float, chip: Chip) -> str:
    verdict = "bf16" if low_s < wide_s else "fp32"
    return f"{name} in {verdict}: on one {chip.device}, fp32 takes {wide_s:.3g} s, bf16 with its casts {low_s:.3g} s"


def _prices(graph: Graph, chip: Chip) -> dict[str, tuple[float, float]]:
    """Seconds of each class in fp32 and in bf16 with its casts, if one device did it all."""
    totals: dict[str, list[float]] = {}
    classes = classes_of(graph)
    for op, trips in walk(graph.top):
        if op.regions or op.results[0] not in classes:
            continue
        wide, low = (
            float(time_s(work, chip)) * trips for work in (_work(op, graph, "fp32", 4), _work(op, graph, "bf16", 2))
        )
        casts = Work(
            read_bytes=sum(graph.avals[v].bytes for v in op.operands[:2]),
            written_bytes=sum(graph.avals[v].bytes for v in op.operands[:2]) // 2,
        )
        entry = totals.setdefault(classes[op.results[0]], [0.0, 0.0])
        entry[0] += wide
        entry[1] += low + float(time_s(casts, chip)) * trips
    return {name: (wide, low) for name, (wide, low) in totals.items()}


def _work(op: Op, graph: Graph, precision: str, item_bytes: int) -> Work:
    size = {factor.name: factor.size for factor in op.rule.factors}
    dims: list[Any] = []
    for names in op.rule.work.matmul:
        extent = 1
        for name in names:
            extent *= size[name]
        dims.append(extent)
    batch, m, n, k = dims
    return Work(
        matmuls=(Matmul(batch=batch, m=m, n=n, k=k, precision=precision),),
        read_bytes=sum(graph.avals[v].size * item_bytes for v in op.operands[:2]),
        written_bytes=graph.avals[op.results[0]].size * item_bytes,
        launches=1,
    )
