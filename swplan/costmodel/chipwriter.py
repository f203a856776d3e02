"""Chips back to TOML: what the calibration of the host leaves behind for `load_chip` to find.

Formats by hand, since the standard library only reads TOML. Measures nothing: `runtime` does that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from swplan.costmodel.chip import PACKAGED, Chip, load_chip
from swplan.costmodel.schema import Number, choices_text, key_units
from swplan.errors import ChipError


def chip_toml(chip: Chip) -> str:
    """The chip file of a chip; law: reading it back gives an equal chip."""
    head = [f"{key} = {_string(getattr(chip, key))}" for key in ("name", "description", "device")]
    head.append(f"tiers = [{', '.join(map(_string, chip.tiers))}]")
    if chip.algorithms:
        head.append(f"algorithms = [{', '.join(map(_string, chip.algorithms))}]")
    if chip.access:
        words = ", ".join(f"{name} = {_string(mode)}" for name, mode in chip.access.items())
        head.append(f"access = {{ {words} }}")
    return "\n".join([*head, "", *(_line(key, number) for key, number in sorted(chip.numbers.items())), ""])


def write_chip(path: str | os.PathLike[str], chip: Chip) -> None:
    """Write a chip file, making its folder where needed."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(chip_toml(chip), encoding="utf-8")


def calibrated_chip(measurements: Mapping[str, Number | float], *, base: str = "host") -> Chip:
    """The chip `base` with what was measured in place of what was assumed.

    Args:
        measurements: By dotted key; a bare number is in the key's own unit and of kind "measured".
        base: The packaged chip that supplies everything else.

    Raises:
        ChipError: A key is unknown or a value makes no sense.
    """
    chip = load_chip(PACKAGED / f"{base}.toml")
    units = key_units(chip.tiers)
    for key in measurements:
        if key not in units:
            raise ChipError(f"chip {base!r} has no number {key!r} to calibrate; {choices_text(key, units)}")
    measured = chip.with_numbers({key: _measured(value, units[key]) for key, value in measurements.items()})
    return replace(measured, description=f"{base}, calibrated on this machine")


def calibrated_chip_toml(measurements: Mapping[str, Number | float], *, base: str = "host") -> str:
    """`chip_toml` of `calibrated_chip`."""
    return chip_toml(calibrated_chip(measurements, base=base))


def _measured(value: Number | float, unit: str) -> Number:
    if isinstance(value, Number):
        return value
    return Number(value=value, unit=unit, source="measured on this machine by swplan", kind="measured")


def _line(key: str, number: Number) -> str:
    words = ", ".join(f"{field} = {_string(getattr(number, field))}" for field in ("unit", "source", "kind"))
    value = number.value if isinstance(number.value, int) else float(number.value)
    return f"{key} = {{ value = {value!r}, {words} }}"


def _string(text: str) -> str:
    """A TOML basic string: JSON's escapes, plus DEL, which TOML wants escaped and JSON does not."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
