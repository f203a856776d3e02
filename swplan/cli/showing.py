"""The verbs that read: show, diff, explain, chips. They import no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from swplan.cli.options import Html, Json, Top
from swplan.cli.output import STDOUT, emit, write
from swplan.costmodel import available_chips, chip_template, load_chip
from swplan.errors import UsageError
from swplan.plan import Plan
from swplan.views.chips import chip_parts, chips_parts
from swplan.views.diff import diff_parts, difference
from swplan.views.explain import explain as explain_name
from swplan.views.explain import explanation_parts
from swplan.views.report import TOP, plan_parts

PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file, as `swplan plan --json FILE` writes it.")]


def show(file: PlanFile, json: Json = "", html: Html = "", top: Top = TOP) -> None:
    """Show a plan: what was decided, what it costs, and why."""
    plan = Plan.load(file)
    emit(plan_parts(plan, top=top), json=json, data=plan.to_json(), html=html, title=f"Plan of {plan.step}")


def diff(a: PlanFile, b: PlanFile, json: Json = "", html: Html = "") -> None:
    """Show what differs between two plans."""
    before, after = Plan.load(a), Plan.load(b)
    names = (a.name, b.name) if a.name != b.name else (str(a), str(b))
    parts = diff_parts(before, after, names=names)
    emit(parts, json=json, data=difference(before, after).to_json(), html=html, title="Two plans")


def explain(
    file: PlanFile,
    name: Annotated[
        str,
        typer.Argument(
            help="A tensor, primitive, exchange or source line (or a part of it), or mesh, micro_batches, recompute."
        ),
    ],
    json: Json = "",
    html: Html = "",
) -> None:
    """Show why something is as it is: a tensor, primitive, kind of exchange, or part of a source line."""
    found = explain_name(Plan.load(file), name)
    emit(explanation_parts(found), json=json, data=found.to_json(), html=html, title=name)


def chips(
    name: Annotated[str, typer.Argument(help="Show every number of this chip, with its source.")] = "",
    template: Annotated[
        str,
        typer.Option(
            "--template", metavar="FILE", help="Write a file for a new chip; - (or nothing): standard output."
        ),
    ] = "",
    json: Json = "",
) -> None:
    """List the chips, or every number of one with its unit, kind and source; or write a file for a new one."""
    if template:
        _write_template(template, name)
        return
    if name:
        chip = load_chip(name)
        emit(chip_parts(chip), json=json, data=msgspec.json.encode(_facts(chip), order="deterministic"))
        return
    found = [load_chip(each) for each in available_chips()]
    emit(chips_parts(found), json=json, data=msgspec.json.encode([_facts(c) for c in found], order="deterministic"))


def _write_template(target: str, name: str) -> None:
    """Writes the file of a chip of that name, over no file that its user may have filled in."""
    if target != STDOUT and Path(target).exists():
        raise UsageError(f"{target!r} is there already; name another file.")
    write(target, (chip_template(name) if name else chip_template()).encode())


def _facts(chip):
    """What JSON says of a chip."""
    words = {"name": chip.name, "description": chip.description, "device": chip.device, "tiers": chip.tiers}
    return words | {"numbers": dict(chip.numbers)}


VERBS = (show, diff, explain, chips)
