"""Random programs under random plans on eight emulated devices: `python benchmarks/conformance.py`.

Each program must give what it gives without a plan, and hand to XLA the collectives that were planned.
Prints every failure, and a summary.
`--minimise N` makes the case with number N smaller and prints it.
"""

import argparse
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax

from swplan.ir.device import Move, walk_device
from swplan.runtime.conformance import compare
from tests.conformance.minimise import describe, minimise
from tests.conformance.plans import exchanges, lower_plan, mistakes, plan_of
from tests.conformance.programs import program_of


@dataclass(frozen=True)
class Outcome:
    """One case.

    Attributes:
      wrong: what the planned program gives otherwise than the program, or why it does not run.
      emitted: the collectives that were planned and those that JAX hands to XLA, if they are not the same.
      unplanned: what XLA exchanges and no one planned.
      removed: how many kinds of exchange XLA found to be superfluous, as it does in programs as foolish as these.
      counts: how often each kind of op runs on a device.
    """

    wrong: list[str]
    emitted: str = ""
    unplanned: tuple[str, ...] = ()
    removed: int = 0
    counts: Counter = field(default_factory=Counter)


def check(seed: int) -> Outcome:
    """Runs one case."""
    program, plan = program_of(seed), plan_of(seed)
    planned = lower_plan(program, plan)
    compiled = planned.compile()
    report = compare(planned.program, planned.graph, planned.mesh, compiled)
    ours, theirs = exchanges(planned)
    return Outcome(
        wrong=mistakes(program, list(compiled(*planned.inputs))),
        emitted="" if ours == theirs else f"planned {ours}, emitted {theirs}",
        unplanned=tuple(
            str(difference)
            for difference in report.differences
            if difference.compiled and difference.what != "other exact"
        ),
        removed=sum(difference.compiled is None for difference in report.differences),
        counts=Counter(
            op.step.kind if isinstance(op, Move) else "local ops" for op, _ in walk_device(planned.program.top)
        ),
    )


def attempt(seed: int) -> Outcome:
    """As `check`; an exception is a failure."""
    try:
        return check(seed)
    except Exception as error:
        return Outcome([f"{type(error).__name__}: {str(error)[:400]}"])


def show(seed: int) -> None:
    """A smaller form of a failing case."""
    small, choices = minimise(program_of(seed), plan_of(seed))
    split = {key: option for key, option in choices.items() if set(option) != {-1}}
    print(small, plan_of(seed), split, jax.make_jaxpr(small)(*small.inputs()), sep="\n")
    print(describe(small, plan_of(seed), choices))


def main() -> None:
    """The campaign."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=320)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minimise", type=int)
    arguments = parser.parse_args()
    if arguments.minimise is not None:
        show(arguments.minimise)
        return
    start, total = time.perf_counter(), Counter()
    for seed in range(arguments.first, arguments.first + arguments.programs):
        outcome = attempt(seed)
        for label in ("wrong", "emitted", "unplanned", "removed"):
            total[f"cases {label}"] += bool(getattr(outcome, label))
        total += outcome.counts
        lines = [*outcome.wrong, *filter(None, [outcome.emitted]), *outcome.unplanned]
        print(*(f"case {seed}: {line}" for line in lines), sep="\n", end="\n" if lines else "", flush=True)
    print(f"{arguments.programs} programs in {time.perf_counter() - start:.0f} s, jax {jax.__version__}")
    print(*(f"  {name}: {count}" for name, count in total.items()), sep="\n")
    sys.exit(bool(total["cases wrong"] + total["cases emitted"]))


if __name__ == "__main__":
    main()
