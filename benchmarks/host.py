"""Predicted against measured steps on this machine: `python -m benchmarks.host [--models N] [--plans N] [--minutes M]`.

For each of six models: the chosen plan, the classics and random legal plans, on eight emulated devices. The machine is
calibrated first. All plans of a model are compiled and then run in turn, round after round, so that whatever else the
machine does falls on all alike; the median counts. Plans, compiled programs and times are kept in a folder: run again,
the command goes on where its time ran out. Plans are priced anew each time, with the chip in that folder, so that a
changed cost model is judged by what was measured before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before JAX is imported, which reads them then
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
import msgspec
from rich.console import Console
from rich.progress import Progress

import swplan
from benchmarks.models import as_planned, build, random_plan
from benchmarks.ranking import Row, lines
from benchmarks.step_time import looped
from swplan.costmodel import Cluster
from swplan.costmodel.network import Placement
from swplan.errors import SwplanError
from swplan.runtime import describe, planning
from swplan.runtime.calibrate import calibrate, user_file
from swplan.runtime.compiler import xla
from swplan.runtime.mesh import device_mesh
from swplan.search.classics import CLASSICS
from swplan.search.pricing import Pricer
from swplan.search.subject import subject

MODELS = (
    "models.mlp:tiny",
    "models.gpt:tiny_scanned",
    "models.vit:tiny",
    "models.llama:tiny",
    "models.moe:tiny_scanned",
    "models.convnet:tiny",
)
CLUSTER = "host:devices=8"
Say = Callable[[str], None]
Run = Callable[[], None]
Programs = Iterable[tuple[str, Callable[[], Run]]]
"""Names, and what compiles the program of each: one step a call."""
Times = dict[str, list[float]]


def drawn(model: str, plans: int, kept: Path) -> Iterator[tuple[str, swplan.Plan]]:
    """Different plans of a model: the chosen one, the classics, then random ones; at most twice as many draws.

    Draws are kept in a file, also those that gave no plan, and read from there when they are asked for again.
    """
    step, args = build(model)
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    seen: set[tuple] = set()
    for name in ["chosen", *CLASSICS, *(f"random {seed}" for seed in range(2 * plans))]:
        if len(seen) == plans:
            return
        if name not in known:
            plan = _planned(step, args, name)
            known[name] = plan.to_json().decode() if plan else ""
            kept.write_text(json.dumps(known), encoding="utf-8")
        plan = swplan.Plan.from_json(known[name].encode()) if known[name] else None
        if plan is not None and _identity(plan) not in seen:
            seen.add(_identity(plan))
            yield name, plan


def twins(kept: Path) -> dict[str, str]:
    """Every plan that was drawn -> the first that runs the same, of which alone there are times."""
    first: dict[tuple, str] = {}
    known = json.loads(kept.read_text(encoding="utf-8"))
    plans = {name: swplan.Plan.from_json(text.encode()) for name, text in known.items() if text}
    return {name: first.setdefault(_identity(plan), name) for name, plan in plans.items()}


def priced(model: str, plans: Sequence[swplan.Plan]) -> list[swplan.Plan]:
    """Plans of a model with what they cost on the chip as it is now."""
    step, args = build(model)
    cluster = Cluster.parse(CLUSTER)
    graph = as_planned(step, args, cluster).graph
    fused = subject(graph, cluster, xla()).fused
    return [_priced(plan, graph, cluster, fused) for plan in plans]


def _priced(plan: swplan.Plan, graph: Any, cluster: Cluster, fused: Any) -> swplan.Plan:
    order = sorted(range(len(plan.axes)), key=lambda axis: plan.axes[axis].position)
    placement = Placement(cluster=cluster, sizes=tuple(axis.size for axis in plan.axes), order=tuple(order))
    pricer, names = Pricer(cluster, placement, graph, fused), tuple(axis.name for axis in plan.axes)
    ops, exchanges, costs = describe.prices_of(graph, planning.device_program(plan, graph), pricer, names)
    return msgspec.structs.replace(plan, ops=ops, exchanges=exchanges, breakdown=costs, step_time_s=sum(costs.values()))


def _planned(step: Callable, args: tuple, name: str) -> swplan.Plan | None:
    try:
        if name.startswith("random"):
            return random_plan(step, args, int(name.split()[1]), CLUSTER)
        baseline = None if name == "chosen" else name
        return swplan.plan(step, *args, cluster=CLUSTER, precision="fp32", baseline=baseline)
    except (SwplanError, RuntimeError):
        return None


def _identity(plan: swplan.Plan) -> tuple:
    """What tells plans apart that run differently: mesh, ops and exchanges."""
    exchanges = tuple((x.kind, x.axes, x.bytes, x.count, x.source) for x in plan.exchanges)
    return tuple(sorted(plan.mesh.items())), exchanges, tuple((op.source, op.split, op.count) for op in plan.ops)


def compiled(model: str, plan: swplan.Plan) -> Run:
    """One step under a plan, compiled and run in, on a state and a batch that lie as it wants them."""
    step, args = build(model)
    return looped(swplan.auto(step, plan=plan), *at_its_place(plan, args))


def at_its_place(plan: swplan.Plan, args: tuple) -> tuple:
    """Arguments as a plan that was read from a file lays them out."""
    order = sorted(range(len(plan.axes)), key=lambda axis: plan.axes[axis].position)
    mesh = device_mesh([axis.size for axis in plan.axes], [axis.name for axis in plan.axes], order)
    leaves, tree = jax.tree.flatten(jax.device_get(args))
    return jax.tree.unflatten(tree, jax.device_put(leaves, list(plan.named_shardings(mesh).inputs.values())))


def timed(runs: Sequence[Run], rounds: int, limit_s: float) -> list[list[float]]:
    """The seconds of each in rounds that run each once: at least four rounds, then as many as time allows.

    Each round has its own order, so that none always runs after the same other one.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    end = time.monotonic() + limit_s
    for number in range(rounds):
        if number >= 4 and time.monotonic() > end:
            break
        for index in random.Random(number).sample(range(len(runs)), len(runs)):
            begin = time.perf_counter()
            runs[index]()
            seconds[index].append(time.perf_counter() - begin)
    return seconds


def causes(plan: swplan.Plan) -> tuple[dict[str, float], dict[str, int]]:
    """Predicted seconds and number of runs of ops by what binds them, and of exchanges by kind."""
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    items: list[Any] = [*((op.binding, op) for op in plan.ops), *((x.kind, x) for x in plan.exchanges)]
    for cause, item in items:
        seconds[cause] = seconds.get(cause, 0.0) + item.time_s
        counts[cause] = counts.get(cause, 0) + item.count
    return seconds, counts


def measured(model: str, programs: Programs, least: float, options: argparse.Namespace, end: float, say: Say) -> Times:
    """Seconds of every step by program; none if the time is up before `least` of them are compiled."""
    made: dict[str, Run] = {}
    begin = time.monotonic()
    for name, make in programs:
        if time.monotonic() > end:
            say(f"{model}: time is up after {len(made)} programs")
            if len(made) < least:
                return {}
            break
        made[name] = make()
        say(f"{model}: compiled {len(made)}: {name}, {time.monotonic() - begin:.0f} s")
    return dict(zip(made, timed(list(made.values()), options.rounds, options.seconds), strict=True))


def times(
    model: str, kept: Path, programs: Programs, least: float, options: argparse.Namespace, end: float, say: Say
) -> Times:
    """What was measured of a model, kept in a file: now, if that was not done before and there is time."""
    if not kept.exists() and time.monotonic() < end:
        found = measured(model, programs, least, options, end, say)
        if found:
            kept.write_text(json.dumps(found), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}


def rows(model: str, options: argparse.Namespace, end: float, say: Say) -> list[Row]:
    """The rows of one model: measured now, if that was not done before."""
    plans = file(options, model, "plans")
    programs = ((name, partial(compiled, model, plan)) for name, plan in drawn(model, options.plans, plans))
    kept = file(options, model, f"times-{options.plans}")
    seconds = times(model, kept, programs, options.plans / 2, options, end, say)
    if not seconds:
        return []
    found = {name: plan for name, plan in drawn(model, len(seconds), plans) if name in seconds}
    costs = priced(model, list(found.values()))
    return [_row(model, name, plan, seconds[name]) for name, plan in zip(found, costs, strict=True)]


def file(options: argparse.Namespace, model: str, what: str) -> Path:
    """Where something of a model is kept."""
    return options.folder / f"{model.replace(':', '.')}-{what}.json"


def _row(model: str, name: str, plan: swplan.Plan, times: Sequence[float]) -> Row:
    seconds, counts = causes(plan)
    return Row(
        model=model,
        plan=name,
        predicted_s=plan.step_time_s,
        measured_s=statistics.median(times),
        halves_s=(statistics.median(times[::2]), statistics.median(times[1::2])),
        causes=seconds,
        counts=counts,
    )


def ready(options: argparse.Namespace, console: Console) -> None:
    """Makes the folder serve this process: its calibrated chip, its compiled programs."""
    os.environ["SWPLAN_CHIPS"] = str(options.folder / "chips")
    _calibrate(console)
    jax.config.update("jax_compilation_cache_dir", str(options.folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _calibrate(console: Console) -> None:
    """Calibrates into the folder of chips, unless a chip is there already."""
    if user_file().exists():
        return console.print(f"the chip is {user_file()}")
    begin = time.monotonic()
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("calibrating", total=None)
        calibrate(lambda done, total, text: bars.update(task, completed=done, total=total, description=text))
    return console.print(f"calibrated in {time.monotonic() - begin:.0f} s")


def parser(text: str, plans: str, folder: str) -> argparse.ArgumentParser:
    """What the commands that measure here can be told."""
    made = argparse.ArgumentParser(description=text.partition("\n")[0])
    made.add_argument("--models", type=int, default=len(MODELS), help=f"how many of {', '.join(MODELS)}")
    made.add_argument("--plans", type=int, default=30, help=plans)
    made.add_argument("--minutes", type=float, default=60.0, help="stop compiling then; run again to go on")
    made.add_argument("--rounds", type=int, default=25, help="how often each program runs")
    made.add_argument("--seconds", type=float, default=60.0, help="of rounds for each model; at least four rounds")
    folder_path = Path(tempfile.gettempdir()) / folder
    made.add_argument("--folder", type=Path, default=folder_path, help="where results are kept")
    return made


def main() -> None:
    """The command."""
    options = parser(__doc__, "of each model", "swplan-host").parse_args()
    console = Console(width=160, highlight=False)
    end = time.monotonic() + 60 * options.minutes
    ready(options, console)
    found = [row for model in MODELS[: options.models] for row in rows(model, options, end, console.print)]
    if found:
        console.print("\n".join(lines(found)), soft_wrap=True)
    console.print(f"load of the machine now: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
