"""Verbs that solve problems of others, to be compared with published results. They import no JAX."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from swplan.cli.output import STDOUT, Report, emit, progress
from swplan.errors import InfeasibleError
from swplan.solver.large.instance import Instance
from swplan.solver.large.iopddl import read
from swplan.solver.problem import Solution
from swplan.views.parts import KeyValues, Section

RESERVE_S, RESERVE = 2.5, 0.01
"""Kept for the answer: seconds, and a share of the limit."""

File = Annotated[Path, typer.Argument(metavar="FILE", help="An IOPDDL problem: JSON, gzipped or not.")]
Limit = Annotated[float, typer.Option("--time-limit", metavar="SECONDS", min=0.0, help="For the whole command.")]


def iopddl(
    file: File,
    time_limit: Limit = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the order in which choices are tried.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Solve one problem of the IOPDDL contest: a strategy for every node, within a limit on memory."""
    from swplan.solver.large.solving import solve_instance

    with progress() as report:
        report(0, 0, "reading the problem")
        instance = read(file)
        _refuse_hopeless(instance, file)
        left = time_limit - RESERVE_S - RESERVE * time_limit - _elapsed_s()
        solution = solve_instance(instance, time_limit_s=left, seed=seed, report=_drawn(report, left))
    if solution.choice is None:
        raise InfeasibleError(_nothing(solution, file, time_limit))
    seconds = _elapsed_s()
    data = {"cost": _number(solution.cost), "bound": _number(solution.bound), "seconds": round(seconds, 3)}
    data["choices"] = list(solution.choice)
    emit(_parts(instance, solution, seconds), json=STDOUT if json else "", data=msgspec.json.encode(data))


def _elapsed_s() -> float:
    """Seconds since the process started, imports included; where the system does not say, those of its processor."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):
        return time.process_time()


def _drawn(report: Report, limit_s: float) -> Callable[[float, float, float], None]:
    """Draws the search as a bar: time, best cost, bound and gap."""

    def draw(elapsed_s: float, cost: float, bound: float) -> None:
        gap = f"gap {(cost - bound) / abs(cost):.3%}" if 0 < abs(cost) < math.inf else "no choice yet"
        report(int(elapsed_s * 1000), int(limit_s * 1000), f"best {cost:,.0f}, bound {bound:,.0f}, {gap}")

    return draw


def _refuse_hopeless(instance: Instance, file: Path) -> None:
    """Stops where even the least usage of every node exceeds the limit.

    Raises:
      InfeasibleError: says when, and by how much.
    """
    least = instance.least()
    if (least > instance.limit).any():
        at = int(np.argmax(least))
        excess = (
            f"{least[at]:,.0f} bytes, {least[at] - instance.limit:,.0f} more than the limit of {instance.limit:,.0f}"
        )
        raise InfeasibleError(f"{str(file)!r} has no solution: at time {at} the least that nodes can use is {excess}")


def _nothing(solution: Solution, file: Path, limit_s: float) -> str:
    """Why there is no choice."""
    if solution.bound == math.inf:
        return f"{str(file)!r} has no solution: no choice has allowed costs on all edges and fits the limit"
    return f"no choice within the limit of {str(file)!r} was found in {limit_s:g} s; give it more with --time-limit"


def _number(value: float) -> int | float:
    """An integer where it is one."""
    return int(value) if float(value).is_integer() else value


def _parts(instance: Instance, solution: Solution, seconds: float) -> Section:
    peak = instance.profile(solution.choice).max(initial=0.0)
    rows = (
        ("cost", f"{_number(solution.cost):,}"),
        ("bound", f"{_number(solution.bound):,} (gap {solution.gap:.4%})"),
        ("peak usage", f"{peak:,.0f} of {instance.limit:,.0f} bytes"),
        ("problem", f"{instance.nodes:,} nodes, {len(instance.pairs):,} edges, {len(instance.costs):,} strategies"),
        ("method", solution.method),
        ("time", f"{seconds:.1f} s"),
    )
    return Section(title="IOPDDL", parts=(KeyValues(rows=rows),))


VERBS: tuple[Callable[..., None], ...] = (iopddl,)
