"""The command line: verbs that make plans, and verbs that show them. The latter import no JAX.

Exit codes: 0 fine, 1 nothing fits, 2 a mistake in what was given. Mistakes never show a traceback; our bugs do.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import swplan
from swplan.cli import benching, estimating, planning, showing, validating
from swplan.cli.output import STDOUT
from swplan.cli.programs import place_of
from swplan.errors import InfeasibleError, SwplanError
from swplan.views.parts import clean

NOTHING_FITS, MISTAKE = 1, 2

app = typer.Typer(
    name="swplan",
    help="Plans how an ordinary JAX training step runs on many devices, prices it, and shows why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for verb in (*planning.VERBS, *estimating.VERBS, *validating.VERBS, *showing.VERBS):
    app.command()(verb)
bench = typer.Typer(help="Solves problems of others, to be compared with published results.", no_args_is_help=True)
for verb in benching.VERBS:
    bench.command()(verb)
app.add_typer(bench, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"swplan {swplan.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Plans how an ordinary JAX training step runs on many devices, prices it, and shows why."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code.

    Args:
      arguments: those of the process if absent.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(args=with_values(sys.argv[1:] if arguments is None else arguments), prog_name="swplan")
    except InfeasibleError as error:
        _fail(error, NOTHING_FITS)
    except SwplanError as error:
        _fail(error, MISTAKE)
    except BrokenPipeError:  # The reader of a pipe, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def with_values(arguments: Sequence[str]) -> list[str]:
    """The arguments, in which bare `--json` and `--template` name standard output; that of some takes no file."""
    found = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        bare = argument in ("--json", "--template") and following.startswith("-") and following != STDOUT
        found += [argument, STDOUT] if bare and found[:1] not in (["validate"], ["bench"]) else [argument]
    return found


def _fail(error: SwplanError, code: int) -> None:
    """Says what is wrong, and the line of the user's program where it arose."""
    lines = [clean(line) for line in str(error).splitlines()]
    place = place_of(error.__cause__) if error.__cause__ else ""
    if place and place not in str(error):
        lines.append(f"  at {clean(place)}")
    typer.echo("\n".join([f"swplan: {lines[0] if lines else type(error).__name__}", *lines[1:]]), err=True)
    sys.exit(code)
