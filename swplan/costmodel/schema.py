"""What a chip file may hold: its keys, the unit and meaning of each, and which values make sense.

The bottom of the cost model: a `Number` is a value that remembers its unit and where it comes from; `chip_keys` is the
one table of keys, behind checks, messages and `template`. Reading files is `chip`'s business, pricing everybody else's.
To add a key: one row here, and the field of `Chip` that reads it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

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


class Key(NamedTuple):
    """A key of a chip file.

    Attributes:
        unit: Of its value; one of those in `_RANGES`.
        example: A value that makes sense.
        meaning: One line for people.
        required: Whether a chip must have it.
    """

    unit: str
    example: int | float
    meaning: str
    required: bool = False


def chip_keys(tiers: tuple[str, ...]) -> dict[str, Key]:
    """Every dotted key that a chip with these network tiers (innermost first) may hold, section by section.

    Of an outer tier's bandwidth and the taper of the tier inside it, which say the same, the former is "required".
    """
    found = {}
    for table, key in _TABLES.items():
        for precision in reversed(PRECISIONS):
            found[f"compute.{table}.{precision}"] = key._replace(required=precision == "fp64")
    found |= {f"compute.{name}": key for name, key in _COMPUTE.items()}
    found |= {f"memory.{name}": key for name, key in _MEMORY.items()}
    for inner, tier in pairwise((None, *tiers)):
        found |= {f"network.{tier}.{name}": key for name, key in _tier_keys(tier, inner, tier == tiers[-1]).items()}
    return found | {f"storage.{name}": key for name, key in _STORAGE.items()}


def key_units(tiers: tuple[str, ...]) -> dict[str, str]:
    """The unit of every key."""
    return {name: key.unit for name, key in chip_keys(tiers).items()}


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
    for name, key in chip_keys(tiers).items():
        rival = rival_key(name, tiers)
        if key.required and name not in numbers and rival not in numbers:
            instead = f" (or {rival})" if rival else ""
            raise ChipError(
                f"{where}: {name} is missing; add {name} = {{ value = ..., unit = {key.unit!r}, ... }}{instead}, "
                f"{key.meaning}. `swplan chips --template` shows a whole file."
            )
    _check_bandwidths(numbers, tiers, where)


def rival_key(key: str, tiers: tuple[str, ...]) -> str | None:
    """The key that says the same as `key`: an outer tier's bandwidth, the taper of the tier inside it; else None."""
    for inner, outer in pairwise(tiers):
        pair = (f"network.{inner}.taper", f"network.{outer}.bytes_per_s")
        if key in pair:
            return pair[1 - pair.index(key)]
    return None


def choices_text(wrong: str, choices: Iterable[str]) -> str:
    """The valid choices for a message, those most like the wrong one first; of many, families in place of members."""
    names = sorted(choices)
    near = difflib.get_close_matches(wrong, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    if len(names) > MOST_CHOICES:
        families = {f"{name.partition('.')[0]}.*" if "." in name else name for name in names}
        names = sorted(families, key=lambda name: (name.endswith(".*"), name))
    return f"{hint}Valid: {', '.join(near + [name for name in names if name not in near])}."


MOST_CHOICES = 24
"""So many choices a message lists one by one; `swplan chips NAME` shows every number of a chip."""


_TABLES = {
    "flops_per_s": Key("flop/s", 100e12, "dense peak of matrix products; a precision left out computes in a wider one"),
    "matmul_efficiency": Key("ratio", 0.8, "share of that peak which a large matrix product reaches"),
    "vector_flops_per_s": Key("flop/s", 10e12, "elementwise additions and multiplications"),
}

_COMPUTE = {
    "special_flops_per_s": Key("flop/s", 2e12, "evaluations of exp, log, tanh and the like", required=True),
    "op_overhead_s": Key("s", 5e-6, "what every op costs besides its work", required=True),
    "issue_s": Key("s", 2e-5, "what the host takes to start an op, where programs run op by op"),
    "units": Key("count", 128, "tiles of a matrix product made at once: multiprocessors, matrix units"),
    "matmul_tile": Key("element", 128, "side of such a tile; without it a product is one tile"),
    "matmul_edge": Key(
        "elements lost", 9.0, "what a tile loses to reading its operands, along a side; without it nothing"
    ),
    "matmul_depth": Key(
        "elements lost", 120.0, "what a tile loses to filling its pipeline, along k; without it nothing"
    ),
    "matmul_misaligned": Key("ratio", 0.5, "share of the rate where a dim of a product is no multiple of 8"),
    "attention_efficiency": Key("ratio", 0.5, "share of the peak that fused attention reaches in a training step"),
    "row_bytes": Key("byte", 131072, "longest row of a tensor that a kernel holds in local memory, as softmax does"),
    "local_bytes": Key(
        "byte", 16_000_000, "memory of a unit into which programs bring operands, where there is no cache"
    ),
}

_MEMORY = {
    "bytes": Key("byte", 80_000_000_000, "capacity of main memory", required=True),
    "bytes_per_s": Key("byte/s", 2.5e12, "what long copies reach, counting reads and writes", required=True),
    "turned_bytes_per_s": Key("byte/s", 1e12, "what copies reach that reorder dims, where exchanges need theirs first"),
    "reserved_bytes": Key("byte", 2_000_000_000, "taken by libraries, whatever the program"),
    "controllers": Key("count", 6, "memory controllers, one beside each group of cores; for `access`"),
    "controller_bytes_per_s": Key("byte/s", 50e9, "peak of one controller"),
    "requesters": Key("count", 64, "cores of a group"),
    "access.share": Key("ratio", 0.9, "share of a controller's peak that one endless stream gets"),
    "access.own_load_s": Key("s", 70e-12, "wait of a block to load, for each stream of the controller's own group"),
    "access.own_store_s": Key("s", 60e-12, "the same of a block of 512 byte to store"),
    "access.foreign_s": Key("s", 170e-12, "wait of a block, for each stream of another group"),
    "access.load_latency_s": Key("s", 10e-6, "of a plain load of one word, no block"),
    "access.store_latency_s": Key("s", 100e-6, "of a plain store of one word, no block"),
}

_STORAGE = {
    "latency_s": Key("s", 1e-3, "of one request to the file system"),
    "bytes_per_s": Key("byte/s", 1e9, "what one device reads or writes while all do"),
}


def _tier_keys(tier: str, inner: str | None, is_last: bool) -> dict[str, Key]:
    """The keys of one tier, around the tier `inner` if there is one."""
    bytes_per_s, within = (50e9 if inner else 300e9), (inner or "device")
    found = {} if is_last else {"size": Key("device", 8, f"{within}s in a {tier}", required=True)}
    found["bytes_per_s"] = Key("byte/s", bytes_per_s, f"what a device sends over a {tier} while all do", required=True)
    found["latency_s"] = Key("s", 1e-5, "of one message", required=True)
    found["rendezvous_s"] = Key("s", 1e-4, "what an exchange costs before its messages, in a group of any size")
    if not is_last:
        found["taper"] = Key("ratio", 0.25, f"share of it that leaves a {tier}, in place of the next tier's bandwidth")
    own = "{} in one kind of collective, if it differs"
    found |= {f"{kind}_bytes_per_s": Key("byte/s", bytes_per_s, own.format("bandwidth")) for kind in COLLECTIVES}
    found |= {f"{kind}_share": Key("ratio", 0.5, f"of the bandwidth, in {kind}") for kind in COLLECTIVES}
    return found | {f"{kind}_latency_s": Key("s", 1e-5, own.format("latency")) for kind in COLLECTIVES}


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
