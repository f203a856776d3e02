"""Files of plans: how they are written, and what can be said of one before its plan is believed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from swplan.errors import PlanFileError


def contradictions(plan: Any) -> Iterator[str]:
    """What cannot hold in any plan, although every field has its type."""
    count = len(plan.axes)
    if any(not 0 <= index < len(plan.options) for index in plan.choices):
        yield "a choice refers to an option that is not there"
    if any(len(option) != count for option in plan.options):
        yield f"an option does not have one entry for each of the {count} mesh axes"
    if any(axis.size < 1 for axis in plan.axes) or prod(axis.size for axis in plan.axes) != plan.devices:
        yield f"the sizes of the mesh axes do not multiply to {plan.devices} devices"
    if sorted(axis.position for axis in plan.axes) != list(range(count)) or len(plan.mesh) != count:
        yield "the mesh axes do not have names and positions of their own"
    if not {*plan.precision.classes.values(), *plan.precision.layers.values()} <= {"fp32", "bf16", "fp16"}:
        yield "a class or layer of products has an unknown precision"


class _Header(msgspec.Struct):
    """The part of a plan file that every format has."""

    format: Any


def format_of(data: bytes, where: str) -> Any:
    """The format number of a plan file.

    Raises:
      PlanFileError: it is not JSON, or not a plan.
    """
    try:
        return msgspec.json.decode(data, type=_Header).format
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PlanFileError(f"{where}: not a plan file ({error})") from error


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file whole or not at all."""
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
