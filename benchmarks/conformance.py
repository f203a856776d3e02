"""Random programs under random plans on eight emulated devices: `python benchmarks/conformance.py`.

Each program must give what it gives without a plan, and exchange what was planned. Prints every failure, and a summary.
`--minimise N` makes the case with number N smaller and prints it.
"""

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax

from swplan.ir.device import Move, walk_device
from swplan.runtime.conformance import compare
from tests.conformance.minimise import describe, minimise
from tests.conformance.plans import differences, lower_plan, plan_of, run_plain
from tests.conformance.programs import program_of


def check(seed: int) -> tuple[list[str], list[str], Counter]:
    """What is wrong in one case, what XLA exchanges otherwise than planned, and how often each kind of op runs."""
    program, plan = program_of(seed), plan_of(seed)
    planned = lower_plan(program, plan)
    compiled = planned.compile()
    report = compare(planned.program, planned.graph, planned.mesh, compiled)
    wrong = differences(program, run_plain(program), list(compiled(*planned.inputs)))
    counts: Counter = Counter()
    for op, _ in walk_device(planned.program.top):
        counts["local op" if not isinstance(op, Move) else op.step.kind] += 1
    return wrong, [str(difference) for difference in report.differences], counts


def attempt(seed: int) -> tuple[list[str], list[str], Counter]:
    """As `check`; an exception is a failure."""
    try:
        return check(seed)
    except Exception as error:
        return [f"{type(error).__name__}: {str(error)[:400]}"], [], Counter()


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
        wrong, other, counts = attempt(seed)
        total += counts + Counter({"wrong": bool(wrong), "exchanges otherwise": bool(other)})
        for line in [f"WRONG {row}" for row in wrong] + [f"exchange {row}" for row in other]:
            print(f"case {seed}: {line}", flush=True)
    print(f"{arguments.programs} programs in {time.perf_counter() - start:.0f} s, jax {jax.__version__}: {dict(total)}")
    sys.exit(bool(total["wrong"]))


if __name__ == "__main__":
    main()
