"""The roofline of an estimate: what each op reaches, beside what the chip allows at its arithmetic intensity.

Williams, Waterman and Patterson, CACM 2009 (doi 10.1145/1498765.1498785). The numbers are the estimate's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from swplan.costmodel.chip import Chip
from swplan.estimate.result import Estimate, OpPrice
from swplan.views import units
from swplan.views.parts import Dot, Plot, Trace
from swplan.views.tables import source_text

STAGES = {"forward": "compute", "backward": "later", "optimizer": "closing"}
LEAST = 1e-3
"""Ops that take a smaller share of the time of all are not drawn."""
WIDE = "fp32"
"""The precision of work that is no matrix product."""


def roofline(estimate: Estimate, chip: Chip) -> Plot:
    """Ops by operations per byte of memory traffic and operations per second, on one device.

    Args:
        estimate: with its ops.
        chip: on which it was made.
    """
    whole_s = sum(op.time_s for op in estimate.ops)
    shown = [op for op in estimate.ops if op.flops and op.bytes and op.time_s > LEAST * whole_s]
    traces = [_trace(stage, tone, [op for op in shown if op.stage == stage]) for stage, tone in STAGES.items()]
    left_s = whole_s - sum(op.time_s for op in shown)
    left = f" Ops without arithmetic, or too short, are not drawn: {units.share(left_s, whole_s)} of the time of all."
    return Plot(
        traces=(*_roofs(estimate, chip, shown), *(trace for trace in traces if trace.dots)),
        x_title="operations per byte of memory traffic",
        y_title="operations per second of one device",
        x_unit="flop/B",
        y_unit="flop/s",
        caption=f"Areas are times.{left if left_s > 0 else ''}",
    )


def _trace(stage: str, tone: str, ops: Sequence[OpPrice]) -> Trace:
    dots = (Dot(x=op.flops / op.bytes, y=op.flops / op.time_s, label=_label(op), weight=op.time_s) for op in ops)
    return Trace(name=stage, dots=tuple(dots), tone=tone)


def _label(op: OpPrice) -> str:
    return f"{op.primitive} {source_text(op.source)}, {units.duration(op.time_s)}, limited by {op.binding}"


def _roofs(estimate: Estimate, chip: Chip, ops: Sequence[OpPrice]) -> Iterator[Trace]:
    """What memory and arithmetic allow: matrix products in the precision of most of them, and all other work."""
    peaks = (
        (f"{estimate.precision} products", chip.flops_per_s[estimate.precision], "matmul", "exchange"),
        (f"other {WIDE} work", chip.vector_flops_per_s[WIDE], "vector", "idle"),
    )
    for name, peak, kind, tone in peaks:
        bytes_per_s = chip.class_bytes_per_s[kind]
        ridge = peak / bytes_per_s
        low, high = (extreme([ridge, *(op.flops / op.bytes for op in ops)]) for extreme in (min, max))
        corners = (Dot(x=low, y=low * bytes_per_s), Dot(x=ridge, y=peak), Dot(x=high, y=peak))
        yield Trace(name=f"roof of {name}", dots=corners, tone=tone, drawn="line")


def scaling(devices: Sequence[int], measured: Sequence[float], predicted: Sequence[float], *, unit: str) -> Plot:
    """Rates of runs of several sizes: measured, predicted, and in proportion to the smallest.

    Args:
        devices: of each run, smallest first.
        measured: rate of each.
        predicted: the same.
        unit: of the rates.
    """
    perfect = [predicted[0] * count / devices[0] for count in devices]
    named = (("perfect scaling", perfect, "idle", "line"), ("predicted", predicted, "compute", "line"))
    named += (("measured", measured, "exchange", "dots"),)
    return Plot(
        traces=tuple(
            Trace(name=name, dots=tuple(map(_dot, devices, rates)), tone=tone, drawn=drawn)
            for name, rates, tone, drawn in named
        ),
        x_title="devices",
        y_title="rate of the whole machine",
        y_unit=unit,
    )


def _dot(count: int, rate: float) -> Dot:
    return Dot(x=count, y=rate)
