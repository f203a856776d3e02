"""Chosen plans against classics, steps sharded by hand and random plans, measured: `python -m benchmarks.measured`.

Of each model of `benchmarks.host`, on eight emulated devices: swplan's chosen plan, the three classics, the ways of
`benchmarks.by_hand`, and random legal plans. They are compiled, run and kept as there: all in turn, round after round,
the median counts; what a folder has is not done again, so use a new one for another planner. Losses of the chosen plan
and of the steps by hand are compared with those of the unsharded step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # before JAX is imported, which reads them then
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
import numpy as np
from rich.console import Console

import swplan
from benchmarks.by_hand import BY_HAND, HandWritten, placed
from benchmarks.host import MODELS, Run, Say, Times, compiled, drawn, file, parser, ready, times, twins
from benchmarks.models import build, train
from benchmarks.step_time import looped
from swplan.search.classics import CLASSICS

HAND = "by hand "
STEPS = 3
"""Steps whose losses are compared."""
AGREE = 1e-4
"""Relative difference of losses beyond which the table warns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model: medians of seconds a step, with the names of the best of each kind.

    Attributes:
        classics: by classic; one that is the chosen plan has its time.
        by_hand: by way.
        randoms: of the random plans, in the order in which they were drawn.
        losses: the largest relative difference of a loss from the unsharded step's, by program.
    """

    model: str
    chosen_s: float
    classics: dict[str, float]
    by_hand: dict[str, float]
    randoms: list[float]
    losses: dict[str, float]

    @property
    def best(self) -> tuple[str, float]:
        """The fastest classic or step by hand."""
        return min({**self.classics, **self.by_hand}.items(), key=lambda item: item[1])

    @property
    def ratio(self) -> float:
        """Chosen over the best of the classics and the steps by hand: below one where swplan is faster."""
        return self.chosen_s / self.best[1]

    @property
    def regret(self) -> float:
        """Chosen over the best of itself and the random plans."""
        return self.chosen_s / min([self.chosen_s, *self.randoms])


def by_hand(model: str, way: HandWritten) -> Run:
    """One step sharded by hand, compiled and run in."""
    step, args = build(model)
    return looped(*placed(step, args, way))


def programs(model: str, options: argparse.Namespace) -> Iterator[tuple[str, partial[Run]]]:
    """All programs of a model: by hand, chosen, classics and random ones."""
    for name, way in BY_HAND[model].items():
        yield HAND + name, partial(by_hand, model, way)
    for name, plan in drawn(model, 1 + len(CLASSICS) + options.plans, file(options, model, "plans")):
        yield name, partial(compiled, model, plan)


def losses(model: str, options: argparse.Namespace) -> dict[str, float]:
    """Of the chosen plan and the steps by hand, the largest relative difference of a loss from the unsharded step's."""
    step, args = build(model)
    unsharded = train(jax.jit(step), *args, STEPS).losses
    (_, chosen), *_ = drawn(model, 1, file(options, model, "plans"))
    found = {"chosen": train(swplan.auto(step, plan=chosen), *args, STEPS).losses}
    found |= {
        HAND + name: train(*placed(step, build(model)[1], way), STEPS).losses for name, way in BY_HAND[model].items()
    }
    return {name: float(np.max(np.abs(each / unsharded - 1))) for name, each in found.items()}


def compared(model: str, options: argparse.Namespace, end: float, say: Say) -> Row | None:
    """The row of a model; None while it is not measured."""
    kept = file(options, model, f"side-by-side-{options.plans}")
    seconds = times(model, kept, programs(model, options), math.inf, options, end, say)
    if not seconds:
        return None
    agreed = file(options, model, "losses")
    if not agreed.exists():
        agreed.write_text(json.dumps(losses(model, options)), encoding="utf-8")
    differences = json.loads(agreed.read_text(encoding="utf-8"))
    return _row(model, seconds, twins(file(options, model, "plans")), differences)


def _row(model: str, seconds: Times, same: Mapping[str, str], differences: dict[str, float]) -> Row:
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    return Row(
        model=model.removeprefix("models."),
        chosen_s=medians["chosen"],
        classics={name: medians[same[name]] for name in CLASSICS if name in same},
        by_hand={name: median for name, median in medians.items() if name.startswith(HAND)},
        randoms=[median for name, median in medians.items() if name.startswith("random")],
        losses=differences,
    )


COLUMNS = ("chosen", "classic", "by hand", "random", "ratio", "regret")
HEAD = f"{'model':18s}" + "".join(f"{title:>9s}" for title in COLUMNS) + f"{'losses':>10s}  best"


def line(row: Row) -> str:
    """A row of the table: milliseconds of the chosen plan and of the best of each other kind."""
    kinds = (row.classics.values(), row.by_hand.values(), row.randoms)
    best = (row.chosen_s, *(min(each, default=math.nan) for each in kinds))
    numbers = "".join(f"{1e3 * seconds:9.2f}" for seconds in best) + f"{row.ratio:9.3f}{row.regret:9.3f}"
    worst = max(row.losses, key=lambda name: row.losses[name])
    warning = "" if row.losses[worst] < AGREE else f"; [red]losses of {worst} differ[/red]"
    return f"{row.model:18s}{numbers}{row.losses[worst]:10.1e}  {row.best[0]}{warning}"


def summary(rows: Sequence[Row]) -> str:
    """The last line of the table."""
    ratios, regrets = [row.ratio for row in rows], [row.regret for row in rows]
    text = f"mean ratio {statistics.geometric_mean(ratios):.3f} (geometric), the worst {max(ratios):.3f}"
    return f"{text}; mean regret {statistics.fmean(regrets):.3f}, the worst {max(regrets):.3f}"


def main() -> None:
    """The command."""
    arguments = parser(__doc__, "random ones of each model", "swplan-measured")
    arguments.add_argument("--json", metavar="FILE", type=Path, help="write the numbers there")
    options, console = arguments.parse_args(), Console(width=160, highlight=False)
    end = time.monotonic() + 60 * options.minutes
    ready(options, console)
    found = (compared(model, options, end, console.print) for model in MODELS[: options.models])
    rows = [row for row in found if row is not None]
    if rows:
        console.print("\n".join([HEAD, *map(line, rows), summary(rows)]), soft_wrap=True)
    console.print(f"load of the machine now: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    if options.json:
        numbers = [asdict(row) | {"ratio": row.ratio, "regret": row.regret} for row in rows]
        options.json.write_text(json.dumps({"jax": jax.__version__, "rows": numbers}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
