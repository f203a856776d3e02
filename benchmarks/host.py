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
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
from benchmarks.models import build, random_plan
from benchmarks.ranking import Row, lines
from benchmarks.step_time import looped
from swplan.costmodel import Cluster
from swplan.costmodel.network import Placement
from swplan.errors import SwplanError
from swplan.runtime import describe, planning
from swplan.runtime.calibrate import calibrate, user_file
from swplan.runtime.compiler import xla
from swplan.runtime.trace import trace
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


def priced(model: str, plans: Sequence[swplan.Plan]) -> list[swplan.Plan]:
    """Plans of a model with what they cost on the chip as it is now."""
    step, args = build(model)
    graph, cluster = trace(step, args, {}).graph, Cluster.parse(CLUSTER)
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


def compiled(model: str, plan: swplan.Plan) -> Callable[[], None]:
    """One step under a plan, compiled and run in."""
    step, (state, batch) = build(model)
    return looped(swplan.auto(step, plan=plan), state, jax.device_put(batch))


def timed(runs: Sequence[Callable[[], None]], rounds: int, limit_s: float) -> list[list[float]]:
    """The seconds of each in rounds that run each once: at least four rounds, then as many as time allows."""
    seconds: list[list[float]] = [[] for _ in runs]
    end = time.monotonic() + limit_s
    for number in range(rounds):
        if number >= 4 and time.monotonic() > end:
            break
        for run, times in zip(runs, seconds, strict=True):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
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


def measured(model: str, options: argparse.Namespace, end: float, say: Say) -> dict[str, list[float]]:
    """Seconds of every step by plan; none if the time is up before half of the plans are compiled."""
    made: dict[str, Callable[[], None]] = {}
    for name, plan in drawn(model, options.plans, _file(options, model, "plans")):
        if time.monotonic() > end:
            say(f"{model}: time is up after {len(made)} of {options.plans} plans")
            break
        made[name] = compiled(model, plan)
        say(f"{model}: compiled {len(made)} of {options.plans}")
    if 2 * len(made) < options.plans:
        return {}
    return dict(zip(made, timed(list(made.values()), options.rounds, 60.0), strict=True))


def rows(model: str, options: argparse.Namespace, end: float, say: Say) -> list[Row]:
    """The rows of one model: measured now, if that was not done before."""
    kept = _file(options, model, f"times-{options.plans}")
    if not kept.exists() and time.monotonic() < end:
        found = measured(model, options, end, say)
        if found:
            kept.write_text(json.dumps(found), encoding="utf-8")
    if not kept.exists():
        return []
    times = json.loads(kept.read_text(encoding="utf-8"))
    plans = {name: plan for name, plan in drawn(model, len(times), _file(options, model, "plans")) if name in times}
    costs = priced(model, list(plans.values()))
    return [_row(model, name, plan, times[name]) for name, plan in zip(plans, costs, strict=True)]


def _file(options: argparse.Namespace, model: str, what: str) -> Path:
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


def _calibrated(console: Console) -> None:
    """Calibrates into the folder of chips, unless a chip is there already."""
    if user_file().exists():
        return console.print(f"the chip is {user_file()}")
    begin = time.monotonic()
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task("calibrating", total=None)
        calibrate(lambda done, total, text: bars.update(task, completed=done, total=total, description=text))
    return console.print(f"calibrated in {time.monotonic() - begin:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=len(MODELS), help=f"how many of {', '.join(MODELS)}")
    parser.add_argument("--plans", type=int, default=30, help="of each model")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop compiling then; run again to go on")
    parser.add_argument("--rounds", type=int, default=25, help="how often each plan runs")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "swplan-host", help="where results are kept"
    )
    return parser.parse_args()


def main() -> None:
    """The command."""
    options, console = _options(), Console(width=160, highlight=False)
    end = time.monotonic() + 60 * options.minutes
    os.environ["SWPLAN_CHIPS"] = str(options.folder / "chips")
    _calibrated(console)
    jax.config.update("jax_compilation_cache_dir", str(options.folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    found = [row for model in MODELS[: options.models] for row in rows(model, options, end, console.print)]
    if found:
        console.print("\n".join(lines(found)), soft_wrap=True)
    console.print(f"load of the machine now: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
