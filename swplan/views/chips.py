"""Chips as parts: the list of all, and every number of one with its unit, kind and source."""

from __future__ import annotations

from collections.abc import Sequence

from swplan.costmodel import Chip, Number
from swplan.views import units
from swplan.views.parts import Column, KeyValues, Section, Table, Text


def chips_parts(chips: Sequence[Chip]) -> Section:
    """One row for each chip."""
    table = Table(
        columns=(
            *(Column(title="chip"), Column(title="device")),
            *(Column(title=title, numeric=True) for title in ("bf16", "fp32", "memory", "bandwidth", "fitted")),
            Column(title="network"),
        ),
        rows=tuple(_row(chip) for chip in chips),
        notes=tuple(chip.description for chip in chips),
    )
    hint = (
        "Peaks are those of matrix products; `fitted` counts the numbers that were fitted to measured runs. "
        "`swplan chips NAME` shows every number with its source, `swplan chips --template` a file for a new chip. "
        f"A cluster is written {chips[0].name}:{chips[0].device}s=8."
    )
    return Section(title="Chips", parts=(table, Text(text=hint)))


def _row(chip: Chip) -> tuple[str, ...]:
    peaks = (units.quantity(chip.flops_per_s[precision], "flop/s") for precision in ("bf16", "fp32"))
    memory = (units.size(chip.memory_bytes), units.rate(chip.memory_bytes_per_s))
    return (chip.name, chip.device, *peaks, *memory, units.count(len(chip.fitted)), ", ".join(chip.tiers))


def chip_parts(chip: Chip) -> Section:
    """Every number of a chip."""
    facts = [("what it is", chip.description), ("one device", chip.device), ("network", ", ".join(chip.tiers))]
    facts += [(f"computes {lacking} in", used) for lacking, used in chip.fallbacks.items()]
    table = Table(
        columns=(Column(title="number"), Column(title="value", numeric=True), Column(title="kind")),
        rows=tuple((key, number_text(number), number.kind) for key, number in sorted(chip.numbers.items())),
        notes=tuple(number.source for _, number in sorted(chip.numbers.items())),
    )
    return Section(title=f"Chip {chip.name}", parts=(KeyValues(rows=tuple(facts)), table))


def number_text(number: Number) -> str:
    """The value with its unit: "14 Tflop/s"."""
    if number.unit == "byte":
        return units.size(number.value)
    if number.unit == "s":
        return units.duration(number.value)
    if number.unit == "byte/s":
        return units.rate(number.value)
    if number.unit == "flop/s":
        return units.quantity(number.value, number.unit)
    return f"{number.value:g} {number.unit}"
