"""Where the verbs write: text to the terminal or a pipe, JSON and HTML to files, progress to standard error."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from swplan.errors import UsageError
from swplan.views.html import page
from swplan.views.parts import Part, clean
from swplan.views.text import WIDTH, part_text

STDOUT = "-"
NARROWEST, WIDEST = 80, 140
QUIET_S = 2.0

Report = Callable[[int, int, str], None]


def emit(part: Part, *, json: str = "", data: bytes = b"", html: str = "", title: str = "swplan") -> None:
    """Writes one result in all forms that were asked for; its text, unless standard output is taken by JSON.

    Args:
      part: the result to read.
      json: file for `data`, "-" for standard output, "" for none.
      data: the result as JSON.
      html: file for the result as a page, "" for none.
      title: of that page.

    Raises:
      UsageError: a file cannot be written.
    """
    if html:
        write(html, page(part, title=title).encode())
    if json:
        write(json, data + b"\n")
    if json != STDOUT:
        typer.echo(part_text(part, width=width(), paint=lambda line: typer.style(line, bold=True)), nl=False)


def write(target: str, data: bytes) -> None:
    """Writes a file, or standard output for "-".

    Raises:
      UsageError: it cannot be written.
    """
    if target == STDOUT:
        typer.echo(data.decode(), nl=False)
        return
    try:
        Path(target).write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {target!r}: {error.strerror or error}") from error


def width() -> int:
    """The columns of the terminal, within reason; those of a page for a pipe."""
    if not sys.stdout.isatty():
        return WIDTH
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


@contextmanager
def progress() -> Iterator[Report]:
    """Yields a function (done, total, text) that draws a bar on standard error, for what takes over two seconds.

    A standard error that is no terminal stays empty.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("reading the program", total=None)
    patience = threading.Timer(QUIET_S, bar.start)
    patience.start()
    try:
        yield lambda done, total, text: bar.update(task, completed=done, total=total, description=clean(text))
    finally:
        patience.cancel()
        patience.join()
        bar.stop()
