"""Predicted against measured steps on this machine: `python -m benchmarks.host [--models N] [--plans N] [--minutes M]`.

For each of six models: the chosen plan, the classics and random legal plans, on eight emulated devices. The machine is
calibrated first. All plans of a model are compiled and then run in turn, round after round, so that whatever else the
machine does falls on all alike; the median counts. What is measured is kept in a folder, model by model: run again, the
command goes on where its time ran out, with the chip that it calibrated then.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before JAX is imported, which reads them then
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
from rich.console import Console
from rich.progress import Progress
from scipy.stats import spearmanr

import swplan
from benchmarks.models import build, random_plan
from benchmarks.step_time import looped
from swplan.errors import SwplanError
from swplan.runtime.calibrate import calibrate, user_file
from swplan.search.classics import CLASSICS

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model under one plan; seconds of a step.

    Attributes:
        halves_s: what was measured in every other round, and in the rounds between: how far both agree bounds what any
            prediction can reach.
        causes: predicted seconds of ops by what binds them, and of exchanges by kind.
        counts: how many runs of each of those there are in a step.
    """

    model: str
    plan: str
    predicted_s: float
    measured_s: float
    halves_s: tuple[float, float]
    causes: dict[str, float]
    counts: dict[str, int]


def drawn(model: str, plans: int) -> Iterator[tuple[str, swplan.Plan]]:
    """Different plans of a model: the chosen one, the classics, then random ones; at most twice as many draws."""
    step, args = build(model)
    seen: set[tuple] = set()
    named = ["chosen", *CLASSICS, *(f"random {seed}" for seed in range(2 * plans))]
    for name in named:
        if len(seen) == plans:
            return
        plan = _planned(step, args, name)
        if plan is not None and _identity(plan) not in seen:
            seen.add(_identity(plan))
            yield name, plan


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


def measured(model: str, plans: int, rounds: int, end: float, say: Say) -> list[Row]:
    """The rows of one model; none if the time is up before half of its plans are compiled."""
    made: list[tuple[str, swplan.Plan, Callable[[], None]]] = []
    for name, plan in drawn(model, plans):
        if time.monotonic() > end:
            say(f"{model}: time is up after {len(made)} of {plans} plans")
            break
        made.append((name, plan, compiled(model, plan)))
        say(f"{model}: compiled {len(made)} of {plans}")
    if 2 * len(made) < plans:
        return []
    times = timed([run for *_, run in made], rounds, 60.0)
    return [_row(model, name, plan, seconds) for (name, plan, _), seconds in zip(made, times, strict=True)]


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


@dataclass(frozen=True, slots=True)
class Score:
    """How well predictions rank the plans of a model.

    Attributes:
        spearman: rank correlation of predicted and measured.
        repeats: the same of one half of the rounds and the other.
        regret: measured time of the plan predicted best, over the best measured.
        ratio: median of measured over predicted.
        under: the plan whose time is most underestimated, beside that median.
        over: the one most overestimated.
    """

    spearman: float
    repeats: float
    regret: float
    ratio: float
    under: Row
    over: Row


def score(rows: Sequence[Row]) -> Score:
    """Of the rows of one model."""
    ratio = lambda row: row.measured_s / row.predicted_s  # noqa: E731
    first = min(rows, key=lambda row: row.predicted_s)
    return Score(
        spearman=float(spearmanr([row.predicted_s for row in rows], [row.measured_s for row in rows]).statistic),
        repeats=float(spearmanr([row.halves_s for row in rows]).statistic),
        regret=first.measured_s / min(row.measured_s for row in rows),
        ratio=statistics.median(map(ratio, rows)),
        under=max(rows, key=ratio),
        over=min(rows, key=ratio),
    )


def _shown(row: Row, what: str) -> str:
    parts = sorted(row.causes.items(), key=lambda part: -part[1])[:4]
    words = ", ".join(f"{cause} {1e3 * s:.2f} ({row.counts[cause]})" for cause, s in parts)
    times = f"predicted {1e3 * row.predicted_s:.2f} ms, measured {1e3 * row.measured_s:.2f} ms"
    return f"    {what} {row.plan}: {times}; {words}"


def lines(rows: Sequence[Row]) -> list[str]:
    """The table, for people."""
    found = []
    models = dict.fromkeys(row.model for row in rows)
    scores = {model: score([row for row in rows if row.model == model]) for model in models}
    for model, each in scores.items():
        count = sum(row.model == model for row in rows)
        found.append(
            f"{model}: {count} plans, Spearman {each.spearman:.3f} (of two halves of the rounds {each.repeats:.3f}), "
            f"predicted best over best {each.regret:.3f}, measured over predicted {each.ratio:.2f}"
        )
        found += [_shown(each.under, "most underestimated:"), _shown(each.over, "most overestimated:")]
    worst = max((each.regret for each in scores.values()), default=1.0)
    mean = statistics.fmean(each.spearman for each in scores.values()) if scores else 0.0
    whole = float(spearmanr([row.predicted_s for row in rows], [row.measured_s for row in rows]).statistic)
    found.append(f"mean Spearman {mean:.3f}, of all rows together {whole:.3f}; worst predicted best {worst:.3f}")
    return found


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
    rows = []
    for model in MODELS[: options.models]:
        kept = options.folder / f"{model.replace(':', '.')}-{options.plans}.json"
        if not kept.exists() and time.monotonic() < end:
            found = measured(model, options.plans, options.rounds, end, console.print)
            if found:
                kept.write_text(json.dumps([asdict(row) for row in found], indent=1), encoding="utf-8")
        if kept.exists():
            rows += [Row(**row) for row in json.loads(kept.read_text(encoding="utf-8"))]
    if rows:
        console.print("\n".join(lines(rows)), soft_wrap=True)
    console.print(f"load of the machine now: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
