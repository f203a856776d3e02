"""Step times side by side on eight emulated devices: `python -m benchmarks.step_time [MODEL ...] [--json FILE]`.

For each model: the chosen plan, the three classics through swplan, and the same classics by hand, as `jax.jit` with
NamedShardings for state and batch and XLA's partitioner for the rest. All variants of a model are compiled first and
then run in turn, round after round, so that whatever else the machine does falls on all alike; the median counts. The
machine is calibrated first, unless told otherwise. Then, what a call of the decorated step costs over a call of the
same jitted step.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before JAX is imported, which reads them then
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"
    os.environ.setdefault("SWPLAN_CHIPS", tempfile.mkdtemp(prefix="swplan-chips-"))

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

import models
import swplan
from swplan.errors import SwplanError
from swplan.runtime.calibrate import calibrate

CLASSICS = ("data_parallel", "fully_sharded", "tensor_parallel")
DEFAULT = ("models.mlp:tiny", "models.gpt:tiny_scanned", "models.moe:tiny_scanned", "models.vit:tiny")
Step = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A compiled way to run a step: `predicted_s` is None where swplan has no say; `run` does one step and waits."""

    name: str
    predicted_s: float | None
    run: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; seconds a step."""

    model: str
    variant: str
    predicted_s: float | None
    measured_s: float
    ratio_to_best: float


def program(name: str) -> tuple[Step, Any, Any]:
    """The step, state and batch of a model such as "models.mlp:tiny"."""
    module, _, function = name.partition(":")
    step, (state, batch) = getattr(importlib.import_module(module), function)()
    return step, jax.device_get(state) if not _has_keys(state) else state, batch


def _has_keys(tree: Any) -> bool:
    return any(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(tree))


def looped(step: Step, state: Any, batch: Any) -> Callable[[], None]:
    """Runs a step on its own last state; called three times here, until nothing is compiled any more."""
    held = [state]

    def run() -> None:
        held[0], _ = step(held[0], batch)
        jax.block_until_ready(held[0])

    for _ in range(3):
        run()
    return run


def planned(name: str, cluster: str, baseline: str | None) -> Variant:
    """A step under a plan of swplan."""
    step, state, batch = program(name)
    plan = swplan.plan(step, state, batch, cluster=cluster, baseline=baseline, precision="fp32")
    run = looped(swplan.auto(step, plan=plan), state, jax.device_put(batch))
    return Variant(name=f"swplan {baseline or 'chosen'}", predicted_s=plan.step_time_s, run=run)


def by_hand(name: str, classic: str, mesh: Mesh) -> Variant:
    """A step under `jax.jit` with NamedShardings, as one writes a classic by hand."""
    step, state, batch = program(name)
    place = lambda x, dim: NamedSharding(mesh, _spec(np.shape(x), dim, mesh.size))  # noqa: E731
    batch_dim = None if classic == "tensor_parallel" else 0
    state_at = jax.tree.map(
        lambda x: place(x, None if classic == "data_parallel" else _dim(np.shape(x), mesh.size)), state
    )
    batch_at = jax.tree.map(lambda x: place(x, batch_dim), batch)
    jitted = jax.jit(step, in_shardings=(state_at, batch_at), out_shardings=(state_at, None), donate_argnums=0)
    run = looped(jitted, jax.device_put(state, state_at), jax.device_put(batch, batch_at))
    return Variant(name=f"by hand {classic}", predicted_s=None, run=run)


def _dim(shape: tuple[int, ...], devices: int) -> int | None:
    """The longest dim that the devices divide, the last of equals; None for vectors and where there is none."""
    dims = [d for d, n in enumerate(shape) if n % devices == 0] if len(shape) > 1 else []
    return max(dims, key=lambda d: (shape[d], d), default=None)


def _spec(shape: tuple[int, ...], dim: int | None, devices: int) -> PartitionSpec:
    if dim is None or not shape or shape[dim] % devices:
        return PartitionSpec()
    return PartitionSpec(*[None] * dim, "devices")


def variants(name: str, cluster: str, mesh: Mesh, say: Callable[[str], None]) -> list[Variant]:
    """All compiled variants of a model; one that cannot be made is said and left out."""
    makers = {f"swplan {baseline or 'chosen'}": (planned, (name, cluster, baseline)) for baseline in (None, *CLASSICS)}
    makers |= {f"by hand {classic}": (by_hand, (name, classic, mesh)) for classic in CLASSICS}
    made = []
    for label, (make, args) in makers.items():
        say(f"{name}: compiling {label}")
        try:
            made.append(make(*args))
        except (SwplanError, ValueError) as error:
            say(f"[red]{name}: no {label}: {error}[/red]")
    return made


def measured(made: list[Variant], rounds: int) -> dict[str, float]:
    """The median seconds of each variant, in rounds that run every variant once."""
    seconds: dict[str, list[float]] = {variant.name: [] for variant in made}
    for _ in range(rounds):
        for variant in made:
            begin = time.perf_counter()
            variant.run()
            seconds[variant.name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def compared(name: str, cluster: str, mesh: Mesh, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """The rows of one model."""
    made = variants(name, cluster, mesh, say)
    say(f"{name}: {rounds} rounds of {len(made)} variants")
    times = measured(made, rounds)
    best = min(times.values())
    return [
        Row(
            model=name.removeprefix("models."),
            variant=variant.name,
            predicted_s=variant.predicted_s,
            measured_s=times[variant.name],
            ratio_to_best=times[variant.name] / best,
        )
        for variant in made
    ]


def overhead_s(cluster: str, rounds: int = 15, calls: int = 20) -> float:
    """What a call of a decorated step takes longer than a call of the jitted function inside: medians, in turn.

    Each takes its turn for some calls, the first of which is not counted: it frees what the other has left.

    Only the call is timed, not the step: each is waited for before the next. With more than one step in flight, XLA's
    collectives on emulated devices can wait for each other for ever.
    """
    step, state, batch = program("models.mlp:tiny")
    plan = swplan.plan(step, state, batch, cluster=cluster, baseline="data_parallel", precision="fp32")
    auto = swplan.auto(step, plan=plan)
    held, _ = auto(state, batch)
    made = next(iter(auto._steps.values()))
    batch = jax.device_put(batch, jax.tree.unflatten(made.program.in_tree, made.executable.in_shardings)[0][1])
    jitted = _jitted_of(made.fast)
    seconds: dict[Step, list[float]] = {jitted: [], auto: []}
    for call in [jitted, auto] * rounds:
        for number in range(calls):
            jax.block_until_ready(held)
            begin = time.perf_counter()
            held, _ = call(held, batch)
            seconds[call] += [time.perf_counter() - begin] if number else []
    jax.block_until_ready(held)
    return statistics.median(seconds[auto]) - statistics.median(seconds[jitted])


def _jitted_of(fast: Callable) -> Callable:
    """The jitted function that a planned step calls on its fast path."""
    return next(cell.cell_contents for cell in fast.__closure__ if hasattr(cell.cell_contents, "lower"))


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    headers = (Column(name, no_wrap=True) for name in ("model", "variant", "predicted", "measured", "to best"))
    shown = Table(*headers, box=box.SIMPLE, title="Step times, milliseconds")
    last = ""
    for row in rows:
        predicted = "" if row.predicted_s is None else f"{1e3 * row.predicted_s:.2f}"
        cells = (row.variant, predicted, f"{1e3 * row.measured_s:.2f}", f"{row.ratio_to_best:.2f}")
        shown.add_row(row.model if row.model != last else "", *cells)
        last = row.model
    return shown


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(models.ALL)}")
    parser.add_argument("--rounds", type=int, default=15, help="how often each variant runs")
    parser.add_argument("--uncalibrated", action="store_true", help="price by the chip `host` as it is")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers there")
    options = parser.parse_args()
    console = Console()
    mesh = Mesh(np.array(jax.devices()), ("devices",), axis_types=(AxisType.Auto,))
    cluster = f"host:devices={mesh.size}"
    if not options.uncalibrated:
        with Progress(console=console, transient=True) as bars:
            task = bars.add_task("calibrating", total=None)
            calibrate(lambda done, total, text: bars.update(task, completed=done, total=total, description=text))
    rows = []
    for name in options.models or DEFAULT:
        rows += compared(name, cluster, mesh, options.rounds, console.print)
    console.print(table(rows))
    extra_s = overhead_s(cluster)
    console.print(f"a call of the decorated step costs {1e6 * extra_s:.1f} us over the jitted step")
    if options.json:
        found = {"jax": jax.__version__, "overhead_s": extra_s, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
