"""What a chip file may hold: its keys, the unit of each, and which values make sense.

The bottom of the cost model: a `Number` is a value that remembers its unit and where it comes from; `key_units` derives
the legal dotted keys from the chip's network tiers. Reading files is `chip`'s business, pricing is everybody else's.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from swplan.errors import ChipError

COLLECTIVES = ("all_gather", "all_reduce", "all_to_all", "permute", "reduce_scatter")
"""The kinds of collective that a chip may give numbers for, and that `collectives` prices."""

WIDER = {"int8": "fp16", "fp8": "fp16", "fp16": "fp32", "bf16": "fp32", "fp32": "fp64"}
"""The precision that computes in place of one that the chip lacks: the narrowest that holds all of its values."""

PRECISIONS = (*WIDER, "fp64")

KINDS = ("datasheet", "measured", "fitted", "derived")
"""Where a number comes from; `derived` includes assumptions, which its source must state as such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of a chip file.

    Attributes:
        value: In `unit`; an `int` stays one.
        unit: One of those in `_RANGES`, such as "flop/s".
        source: Where the value was published, how it was measured, or from what it was derived.
        kind: One of `KINDS`.
    """

    value: int | float
    unit: str
    source: str
    kind: str


def key_units(tiers: tuple[str, ...]) -> dict[str, str]:
    """Every dotted key that a chip with these network tiers (innermost first) may hold, and its unit."""
    units = {f"compute.{table}.{precision}": unit for table, unit in _TABLES.items() for precision in PRECISIONS}
    units |= {"compute.special_flops_per_s": "flop/s", "compute.op_overhead_s": "s", "compute.issue_s": "s"}
    units |= {"compute.units": "count", "compute.row_bytes": "byte", "compute.matmul_tile": "element"}
    units |= {"compute.matmul_edge": "elements lost", "compute.matmul_depth": "elements lost"}
    units |= {"compute.matmul_misaligned": "ratio"}
    units |= {"memory.bytes": "byte", "memory.bytes_per_s": "byte/s", "memory.reserved_bytes": "byte"}
    units |= {"compute.local_bytes": "byte", "memory.controllers": "count", "memory.requesters": "count"}
    units |= {"memory.controller_bytes_per_s": "byte/s", "memory.access.share": "ratio"}
    units |= {f"memory.access.{name}_s": "s" for name in ("own_load", "own_store", "foreign")}
    units |= {f"memory.access.{way}_latency_s": "s" for way in ("load", "store")}
    units |= {"storage.latency_s": "s", "storage.bytes_per_s": "byte/s"}
    for tier in tiers:
        network = {"bytes_per_s": "byte/s", "latency_s": "s"}
        network |= {f"{kind}_{name}": unit for kind in COLLECTIVES for name, unit in network.items()}
        if tier != tiers[-1]:
            network |= {"size": "device", "taper": "ratio"}
        units |= {f"network.{tier}.{name}": unit for name, unit in network.items()}
    return units


def check_numbers(numbers: Mapping[str, Number], tiers: tuple[str, ...], where: str) -> None:
    """Check that the numbers are those of a whole chip.

    Args:
        numbers: By dotted key.
        tiers: Names of the network tiers, innermost first.
        where: The file, or whatever else the numbers come from, for messages.

    Raises:
        ChipError: A key is unknown or missing, or a number has the wrong unit, kind or range.
    """
    units = key_units(tiers)
    for key, number in numbers.items():
        _check_number(key, number, units, where)
    for key in _required(numbers, tiers):
        if key not in numbers:
            raise ChipError(f"{where}: {key} is missing; add {key} = {{ value = ..., unit = {units[key]!r}, ... }}.")
    _check_bandwidths(numbers, tiers, where)


def rival_key(key: str, tiers: tuple[str, ...]) -> str | None:
    """The key that says the same as `key`: an outer tier's bandwidth, the taper of the tier inside it; else None."""
    for inner, outer in pairwise(tiers):
        pair = (f"network.{inner}.taper", f"network.{outer}.bytes_per_s")
        if key in pair:
            return pair[1 - pair.index(key)]
    return None


def choices_text(wrong: str, choices: Iterable[str]) -> str:
    """The valid choices for a message, those most like the wrong one first."""
    names = sorted(choices)
    near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}Valid: {', '.join(near + [name for name in names if name not in near])}."


_TABLES = {"flops_per_s": "flop/s", "matmul_efficiency": "ratio", "vector_flops_per_s": "flop/s"}
_REQUIRED = (
    *(f"compute.{table}.fp64" for table in _TABLES),
    "compute.special_flops_per_s",
    "compute.op_overhead_s",
    "memory.bytes",
    "memory.bytes_per_s",
)


def _required(numbers: Mapping[str, Number], tiers: tuple[str, ...]) -> list[str]:
    """The keys that must be there; an outer tier may state its bandwidth or leave it to the taper below it."""
    keys = [*_REQUIRED, f"network.{tiers[0]}.bytes_per_s", *(f"network.{tier}.latency_s" for tier in tiers)]
    for inner, outer in pairwise(tiers):
        keys.append(f"network.{inner}.size")
        if f"network.{outer}.bytes_per_s" not in numbers:
            keys.append(f"network.{inner}.taper")
    return keys


def _check_number(key: str, number: Number, units: Mapping[str, str], where: str) -> None:
    if key not in units:
        raise ChipError(f"{where}: unknown key {key!r}; {choices_text(key, units)}")
    unit, value = units[key], number.value
    if number.unit != unit:
        raise ChipError(f"{where}: {key} is given in {number.unit!r}; convert it and write unit = {unit!r}.")
    if number.kind not in KINDS:
        raise ChipError(f"{where}: {key} has kind {number.kind!r}; write one of {', '.join(KINDS)}.")
    if not number.source:
        raise ChipError(f"{where}: {key} has no source; say where its value comes from.")
    if not _in_range(unit, value):
        raise ChipError(f"{where}: {key} = {value!r} {unit} makes no sense; write {_RANGES[unit]}.")


_RANGES = {
    "flop/s": "a positive number",
    "byte/s": "a positive number",
    "byte": "a positive integer",
    "device": "a positive integer",
    "s": "zero or a positive number",
    "ratio": "a number above 0 and up to 1",
    "count": "a positive integer",
    "element": "a positive integer",
    "elements lost": "zero or a positive number",
}


def _in_range(unit: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if unit in ("byte", "device", "count", "element"):
        return value == int(value) and value >= 1
    if unit == "ratio":
        return 0 < value <= 1
    return value >= 0 if unit in ("s", "elements lost") else value > 0


def _check_bandwidths(numbers: Mapping[str, Number], tiers: tuple[str, ...], where: str) -> None:
    """An outer tier's bandwidth is stated once, and no tier is wider than the one inside it."""
    within = numbers[f"network.{tiers[0]}.bytes_per_s"].value
    for inner, outer in pairwise(tiers):
        stated, taper = numbers.get(f"network.{outer}.bytes_per_s"), numbers.get(f"network.{inner}.taper")
        if stated and taper:
            raise ChipError(
                f"{where}: network.{outer}.bytes_per_s and network.{inner}.taper say the same thing; delete one."
            )
        bytes_per_s = stated.value if stated else within * taper.value
        if bytes_per_s > within:
            raise ChipError(
                f"{where}: network.{outer}.bytes_per_s = {bytes_per_s} byte/s is more than the {within} byte/s of the "
                f"tier inside it, through which it must go; write at most that."
            )
        within = bytes_per_s
