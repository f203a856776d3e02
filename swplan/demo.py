"""`swplan demo`: trains a small mixture-of-experts language model on eight emulated devices, under two plans in turn.

It shows what swplan is for, on any machine, in a minute or two: the plan of an ordinary training step and its price
beside the alternatives, the compiled program compared with the plan, the loss, and a checkpoint that is restored onto
another plan, from which training goes on. Nothing here is needed by anything else; JAX is imported when it runs.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import swplan
from swplan.errors import UsageError
from swplan.plan import Plan
from swplan.views import units
from swplan.views.html import page_html
from swplan.views.parts import Part, Section
from swplan.views.report import alternative_table, mesh_part, summary
from swplan.views.tables import collective_table
from swplan.views.text import part_text

DEVICES = 8
CLUSTER = f"host:devices={DEVICES}"
MODEL = {"layers": 2, "d_model": 64, "experts": 8, "scan_layers": True, "learning_rate": 1e-2}
BATCH, SEQ = 16, 64
OTHERS = ("fully_sharded", "tensor_parallel", "data_parallel")
SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a demo did.

    Attributes:
        first: the chosen plan.
        second: the other one, on which training went on.
        agrees: whether the compiled program exchanged what the first plan says.
        losses: of every step, in nats for a byte; the checkpoint lies in the middle.
        folder: the plans as HTML, and the checkpoint.
    """

    first: Plan
    second: Plan
    agrees: bool
    losses: tuple[float, ...]
    folder: Path


def main(*, steps: int = 60, folder: str | Path = "out/demo", console: Console | None = None) -> Outcome:
    """Runs the demo.

    Args:
      steps: of training, half of them under each plan; 2 or more.
      folder: each run makes a new folder within it.
      console: where to print.

    Raises:
      UsageError: JAX is already running with fewer than eight devices.
    """
    console = console or Console()
    emulate(DEVICES)
    step, state, batches = _program()
    step = swplan.auto(step, cluster=CLUSTER)
    run = _new_folder(Path(folder))

    plan = _planned(step, state, next(batches), console)
    agrees = _verified(plan, step, state, next(batches), console)
    (run / "plan.html").write_text(page_html(plan), encoding="utf-8")
    state, before = _trained(plan, step, state, itertools.islice(batches, steps // 2), console)

    other = _other_plan(plan, step, state, next(batches), console)
    (run / "other-plan.html").write_text(page_html(other), encoding="utf-8")
    state = _moved(state, steps // 2, other, run / "checkpoint", console)
    state, after = _trained(other, step, state, itertools.islice(batches, steps - steps // 2), console, steps // 2)

    outcome = Outcome(first=plan, second=other, agrees=agrees, losses=(*before, *after), folder=run)
    _summed_up(outcome, console)
    return outcome


def emulate(devices: int) -> None:
    """Makes JAX see this many CPU devices.

    Raises:
      UsageError: it is too late, since JAX has begun with fewer.
    """
    import jax

    try:
        jax.config.update("jax_num_cpu_devices", devices)
        jax.config.update("jax_platforms", "cpu")
    except RuntimeError:
        pass  # JAX has begun: what it has may do.
    if jax.device_count() < devices:
        raise UsageError(
            f"the demo needs {devices} devices, and JAX is already running with {jax.device_count()}.\n"
            f"  Run it in a fresh process, or set JAX_NUM_CPU_DEVICES={devices} before starting this one."
        )


def _program() -> tuple[Callable, Any, Iterator]:
    """The step of one device, its first state, and text without end."""
    from models import moe, text

    step, (state, _) = moe.lm(**MODEL, batch=BATCH, seq=SEQ)
    return step, state, text.batches(BATCH, SEQ, seed=0)


def _new_folder(parent: Path) -> Path:
    free = (parent / f"run-{number}" for number in itertools.count(1))
    found = next(path for path in free if not path.exists())
    found.mkdir(parents=True)
    return found


def _planned(step: Any, state: Any, batch: Any, console: Console) -> Plan:
    _title(
        console, "Planning", f"a mixture of experts of {MODEL['layers']} layers on {CLUSTER}; the step knows no devices"
    )
    with _progress(console) as bars:
        task = bars.add_task("planning", total=None)
        report = lambda done, total, text: bars.update(task, completed=done, total=total, description=text)  # noqa: E731
        plan = swplan.plan(step, state, batch, cluster=CLUSTER, progress=report)
    exchanges = Section(title="Exchanges", parts=(collective_table(plan.collectives(), SHOWN),))
    alternatives = Section(title="Alternatives", parts=(alternative_table(plan),))
    for part in (summary(plan), mesh_part(plan.axes), exchanges, alternatives):
        _show(console, part)
    return plan


def _show(console: Console, part: Part) -> None:
    console.print(part_text(part, width=min(console.width, 110)), markup=False, highlight=False)


def _title(console: Console, title: str, text: str) -> None:
    console.rule(f"[bold]{title}[/bold]", align="left")
    console.print(f"{text}\n", markup=False, highlight=False)


def _progress(console: Console) -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def _verified(plan: Plan, step: Any, state: Any, batch: Any, console: Console) -> bool:
    """Whether XLA's program does what the plan says; prints how near its memory and flops are."""
    _title(console, "Checking", "the plan against the program that XLA compiles from it")
    with console.status("compiling"):
        found = swplan.verify(plan, step, state, batch)
    verdict = "every one compiled as planned" if found else f"{len(found.differences)} differences"
    flops = "" if found.flops_ratio is None else f"; flops of contractions {found.flops_ratio:.3f}"
    memory = "" if found.memory_ratio is None else f"; peak memory {found.memory_ratio:.3f}"
    console.print(
        f"collectives: {found.collectives} a step, {verdict}\nplanned over compiled{flops}{memory}\n".replace(
            "compiled;", "compiled:"
        )
    )
    for difference in found.differences[:SHOWN]:
        console.print(f"  {difference}", markup=False, highlight=False)
    return bool(found)


def _trained(
    plan: Plan, step: Any, state: Any, batches: Iterator, console: Console, start: int = 0
) -> tuple[Any, list[float]]:
    """The state after the batches, and the loss of each; a line every few steps, with their mean."""
    import jax

    rows = list(batches)
    _title(console, "Training", f"{len(rows)} steps on Python's standard library, as planned ({_mesh_text(plan)})")
    run = swplan.auto(step.undecorated, plan=plan)
    with console.status("compiling"):
        run(jax.device_get(state), rows[0])  # on a copy, which the step may overwrite
    losses, seconds, every = [], [], max(1, len(rows) // SHOWN)
    with _progress(console) as bars:
        task = bars.add_task("training", total=len(rows))
        for number, batch in enumerate(rows):
            begin = time.perf_counter()
            state, aux = run(state, batch)
            losses.append(float(aux["cross_entropy"]))
            seconds.append(time.perf_counter() - begin)
            bars.advance(task)
            if (number + 1) % every == 0:
                line = _loss_line(start + number + 1, statistics.mean(losses[-every:]))
                bars.console.print(line, highlight=False)
    measured, predicted = statistics.median(seconds), plan.step_time_s
    console.print(
        f"\n{units.duration(measured)} a step, the median; {units.duration(predicted)} by the numbers of this chip\n"
    )
    return state, losses


def _loss_line(number: int, loss: float) -> str:
    return f"step {number:4d}  loss {loss:6.3f}  [cyan]{'█' * round(8 * loss)}[/cyan]"


def _mesh_text(plan: Plan) -> str:
    return " x ".join(f"{name} {size}" for name, size in plan.mesh.items()) or "one device"


def _other_plan(plan: Plan, step: Any, state: Any, batch: Any, console: Console) -> Plan:
    """The first of the classics that lays the state out in another way."""
    with console.status("planning anew"):
        classics = (swplan.plan(step, state, batch, cluster=CLUSTER, baseline=name) for name in OTHERS)
        return next(other for other in classics if _layouts(other) != _layouts(plan))


def _layouts(plan: Plan) -> list[tuple]:
    return [tensor.spec for tensor in plan.inputs]


def _moved(state: Any, number: int, plan: Plan, folder: Path, console: Console) -> Any:
    """The state, saved as it lies and restored as another plan wants it."""
    _title(console, "Moving", f"the state to another plan, through a sharded checkpoint of step {number}")
    with console.status("saving and restoring"), swplan.Checkpointer(folder) as checkpointer:
        checkpointer.save(number, state)
        restored = checkpointer.restore(state, plan=plan)
    label, was, now = _example(state, restored)
    console.print(f"for example {label}: {was} before, {now} now\n", markup=False, highlight=False)
    return restored


def _example(before: Any, after: Any) -> tuple[str, Any, Any]:
    """The largest leaf that lies elsewhere now: its name and its PartitionSpecs."""
    import jax

    paths = jax.tree_util.tree_flatten_with_path(before)[0]
    triples = zip(paths, jax.tree.leaves(after), strict=True)
    moved = [(name, old, new) for (name, old), new in triples if old.sharding.spec != new.sharding.spec]
    name, old, new = max(moved, key=lambda row: row[1].size)
    return jax.tree_util.keystr(name, simple=True, separator="/"), old.sharding.spec, new.sharding.spec


def _summed_up(outcome: Outcome, console: Console) -> None:
    few, half = max(1, len(outcome.losses) // 6), len(outcome.losses) // 2
    parts = (outcome.losses[:1], outcome.losses[half - few : half], outcome.losses[-few:])
    first, middle, last = (f"{statistics.mean(part):.3f}" for part in parts)
    _title(console, "Done", f"loss {first} at first, {middle} before the checkpoint, {last} at last")
    for plan, file in ((outcome.first, "plan.html"), (outcome.second, "other-plan.html")):
        console.print(f"plan        {outcome.folder / file}  ({_mesh_text(plan)})", markup=False, highlight=False)
    console.print(f"checkpoint  {outcome.folder / 'checkpoint'}", markup=False, highlight=False)
