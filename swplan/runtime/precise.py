"""Decides the precision of products by price, for each class and layer, and applies it to a traced program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
from jax import lax

from swplan.costmodel.chip import Chip
from swplan.costmodel.compute import time_s
from swplan.costmodel.schema import choices_text
from swplan.costmodel.work import Matmul, Work
from swplan.errors import UsageError
from swplan.ir.graph import Graph, Op, walk
from swplan.passes.pipeline import Settings, run
from swplan.passes.precision import CLASSES, classes_of, layer_key
from swplan.plan import Precision
from swplan.runtime.trace import Program

PRECISIONS = ("fp32", "bf16", "fp16")
BY_LAYER = "by layer"
Group = tuple[str, str]
"""Class and layer of products."""
_UNSCALABLE = "fp16 needs its loss scaled, and this step cannot be scaled safely: {}; bf16 needs no scaling"
_CAST = SimpleNamespace(
    handle=lax.convert_element_type_p,
    params=lambda name: {"new_dtype": jnp.dtype(name), "weak_type": False, "sharding": None},
    dtype=jnp.dtype,
)


def applied(precision: Precision, program: Program) -> Program:
    """The program with its products in the precision that was decided on."""
    by_name = {**precision.classes, **precision.layers}
    return replace(program, graph=run(program.graph, Settings(precision=by_name, cast=_CAST)))


def chosen(graph: Graph, chip: Chip, policy: str | Mapping[str, str], *, unscalable: str = "") -> Precision:
    """The precision of every class of products that the program has, and of layers that differ.

    Args:
      graph: the program as written.
      chip: whose prices decide.
      policy: one of `passes.precision.POLICIES`; or by class, pattern of layers, or both ("dense in */mlp") one of
        `PRECISIONS`: the first that fits counts, and prices decide for what none fits.
      unscalable: why the loss of the step cannot be scaled, which fp16 needs; "" if it can.

    Raises:
      UsageError: no product has a class or layer of this name, or there is none of fp32.
    """
    if not isinstance(policy, str):
        return _asked(graph, chip, policy, unscalable)
    present = sorted(set(classes_of(graph).values()), key=CLASSES.index)
    if policy == "fp32":
        return _precision(policy, dict.fromkeys(present, "fp32"), "as written")
    if policy == "fp16" and unscalable:
        return _precision(policy, dict.fromkeys(present, "bf16"), _UNSCALABLE.format(unscalable))
    if policy == "fp16":
        return _precision(
            policy, dict.fromkeys(present, "fp16"), "asked for; the loss is scaled dynamically", scaled=True
        )
    if policy == "bf16":
        return _precision(
            policy, dict.fromkeys(present, "bf16"), "asked for; everything but matrix products stays wide"
        )
    prices = _prices(graph, chip)
    totals = {name: _sums([price for (cls, _), price in prices.items() if cls == name]) for name in present}
    classes = {name: _cheaper(*totals[name]) for name in present}
    layers = _differing({group: _cheaper(*price) for group, price in prices.items()}, classes)
    reasons = [_reason(name, *totals[name], chip) for name in present]
    reasons += [f"{len(layers)} layers differ from their class, each by its own price"] if layers else []
    return _precision(policy, classes, "; ".join(reasons), layers=layers)


def _asked(graph: Graph, chip: Chip, policy: Mapping[str, str], unscalable: str) -> Precision:
    """As a user asks for it, by class or pattern of layers."""
    auto, groups = chosen(graph, chip, "auto"), list(_prices(graph, chip))
    if not groups:
        raise UsageError("precision: the program has no products of fp32, so there is none to choose for: leave it out")
    for pattern in policy:
        if not any(_fits(pattern, group) for group in groups):
            names = sorted({name for group in groups for name in group if name})
            known = choices_text(pattern, names)
            raise UsageError(f"precision: no product has the class or layer {pattern!r}: {known}")
    found = {}
    for group in groups:
        by_price = auto.layers.get(layer_key(*group), auto.classes[group[0]])
        found[group] = next((precision for pattern, precision in policy.items() if _fits(pattern, group)), by_price)
    why, scaled = "asked for", "fp16" in found.values()
    if scaled and unscalable:
        found, policy = ({k: v.replace("fp16", "bf16") for k, v in some.items()} for some in (found, policy))
        why, scaled = _UNSCALABLE.format(unscalable), False
    classes = {name: _usual(name, found, policy) for name in auto.classes}
    return _precision(BY_LAYER, classes, why, scaled=scaled, layers=_differing(found, classes))


def _usual(name: str, found: Mapping[Group, str], policy: Mapping[str, str]) -> str:
    """The precision of a class: as asked for, or that of products in no layer, or of most layers."""
    most = Counter(precision for (cls, _), precision in found.items() if cls == name).most_common(1)[0][0]
    return policy.get(name, found.get((name, ""), most))


def _fits(pattern: str, group: Group) -> bool:
    """Whether a pattern is the class of products, or fits their layer or one that this is a part of, or says both."""
    name, layer = group
    if pattern in CLASSES:
        return pattern == name
    cls, both, rest = pattern.partition(" in ")
    if both and cls in CLASSES:
        return cls == name and _is_within(layer, rest)
    return _is_within(layer, pattern)


def _is_within(layer: str, pattern: str) -> bool:
    parts = layer.split("/")
    outer = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return pattern in outer or any(fnmatchcase(one, pattern) for one in outer)


def _differing(found: Mapping[Group, str], classes: Mapping[str, str]) -> dict[str, str]:
    """The precision of layers that have another one than their class."""
    return {layer_key(*group): precision for group, precision in found.items() if precision != classes[group[0]]}


def _precision(
    policy: str, classes: Mapping[str, str], why: str, *, scaled: bool = False, layers: Mapping[str, str] | None = None
) -> Precision:
    return Precision(policy=policy, classes=dict(classes), loss_scaling=scaled, why=why, layers=dict(layers or {}))


def _sums(prices: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(wide for wide, _ in prices), sum(low for _, low in prices)


def _cheaper(wide_s: float, low_s: float) -> str:
    return "bf16" if low_s < wide_s else "fp32"


def _reason(name: str, wide_s: float, low_s: float, chip: Chip) -> str:
    verdict = _cheaper(wide_s, low_s)
    return f"{name} in {verdict}: on one {chip.device}, fp32 takes {wide_s:.3g} s, bf16 with its casts {low_s:.3g} s"


def _prices(graph: Graph, chip: Chip) -> dict[Group, tuple[float, float]]:
    """Seconds of products in fp32 and in bf16 with their casts, if one device did it all, by class and layer.

    Every product pays for the casts of its operands, also where others share them: what gains little stays wide.
    """
    totals: dict[Group, list[float]] = {}
    classes = classes_of(graph)
    products = [(op, trips) for op, trips in walk(graph.top) if not op.regions and op.results[0] in classes]
    for op, trips in products:
        wide, low = (
            float(time_s(work, chip)) * trips for work in (_work(op, graph, "fp32", 4), _work(op, graph, "bf16", 2))
        )
        wide_bytes = sum(graph.avals[v].bytes for v in op.operands[:2])
        casts = Work(read_bytes=wide_bytes, written_bytes=wide_bytes // 2)
        entry = totals.setdefault((classes[op.results[0]], op.layer), [0.0, 0.0])
        entry[0] += wide
        entry[1] += low + float(time_s(casts, chip)) * trips
    return {group: (wide, low) for group, (wide, low) in totals.items()}


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
