"""Arguments and options that several verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:FUNCTION",
        help="A function that returns (step, args); with literals, 'models.gpt:tiny(batch=8)'.",
    ),
]
Spec = Annotated[str, typer.Option("--cluster", metavar="SPEC", help="For example sw26010pro:nodes=8.")]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Another number of cluster or model.")]
Json = Annotated[
    str, typer.Option("--json", metavar="FILE", help="Write JSON to this file; - (or nothing) is standard output.")
]
Html = Annotated[str, typer.Option("--html", metavar="FILE", help="Write a page to this file.")]
Top = Annotated[int, typer.Option("--top", min=1, help="Rows of each long table.")]
