"""The verb that compares predictions with published measurements. JAX is imported when it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from swplan.cli.output import STDOUT, emit, progress
from swplan.views.validation import validation_parts

Files = Annotated[list[Path], typer.Argument(metavar="[FILE]...", help="In the formats of the packaged tables.")]


def validate(
    files: Files = [],  # noqa: B006 (typer reads it and never changes it)
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    html: Annotated[str, typer.Option(metavar="FILE", help="Write a page as well.")] = "",
) -> None:
    """Predict published training runs, and show the errors; without files, the tables that come with swplan."""
    from swplan.validation.running import validated

    with progress() as report:
        scores = validated(files, report)
    data = msgspec.json.encode(scores, order="deterministic")
    emit(validation_parts(scores), json=STDOUT if json else "", data=data, html=html, title="Validation")


VERBS: tuple[Callable[..., None], ...] = (validate,)
