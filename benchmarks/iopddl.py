"""The contest's instances, each within its time limit, against the best published costs: `python -m benchmarks.iopddl`.

Every instance is one run of `swplan bench iopddl`, start-up and reading included; its answer is checked here once more
against the file. The score of an instance is the best published cost over ours, 0 where the answer does not fit; the
winner of the contest scored 7.997 on these eight, the second 5.288, on 8 cores (doi:10.1145/3676642.3736399).

Options: names of instances (all if absent), `--folder`, and `--share` of the time limits.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from swplan.solver.large.iopddl import read

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "validation" / "iopddl"
PUBLISHED = {
    "A": (60, 6_548_641_531),
    "B": (60, 532_843),
    "G": (120, 217_039),
    "K": (180, 2_274_276_676),
    "M": (180, 49_928_460_991),
    "N": (180, 202_739_586_553),
    "S": (240, 1_534_613_444),
    "U": (300, 2_569_342_178),
}
"""Time limit in seconds and best published cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run: its score, its answer, and the seconds from start to end of the process."""

    name: str
    limit_s: float
    cost: float
    bound: float
    seconds: float
    fits: bool

    @property
    def score(self) -> float:
        """Best published cost over ours, 0 if the answer does not fit or came late."""
        return PUBLISHED[self.name][1] / self.cost if self.fits and self.seconds <= self.limit_s else 0.0

    def line(self) -> str:
        """A row of the table."""
        gap = 1 - self.bound / self.cost
        costs = f"{self.cost:>19,} {PUBLISHED[self.name][1]:>19,} {gap:>9.4%}"
        return f"{self.name:>4} {costs} {self.seconds:>8.1f} {self.limit_s:>6.0f} {self.score:>8.4f}"


def run(name: str, folder: Path, share: float) -> Result:
    """Solves one instance in a process of its own."""
    file, limit_s = folder / f"{name}.json.gz", share * PUBLISHED[name][0]
    swplan = Path(sys.executable).with_name("swplan")
    command = [swplan, "bench", "iopddl", str(file), "--time-limit", str(limit_s), "--json"]
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    if done.returncode:
        return Result(name=name, limit_s=limit_s, cost=math.inf, bound=-math.inf, seconds=seconds, fits=False)
    answer, instance = json.loads(done.stdout), read(file)
    fits = instance.fits(answer["choices"]) and instance.cost(answer["choices"]) == answer["cost"]
    cost, bound = answer["cost"], answer["bound"]
    return Result(name=name, limit_s=limit_s, cost=cost, bound=bound, seconds=seconds, fits=fits)


def main() -> None:
    """The table, row by row as runs end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--share", type=float, default=1.0)
    options = parser.parse_args()
    print(f"     {'cost':>19} {'best published':>19} {'gap':>9} {'seconds':>8} {'limit':>6} {'score':>8}")
    total = 0.0
    for name in options.names:
        result = run(name, options.folder, options.share)
        total += result.score
        print(f"{result.line()}   load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    print(f"{'sum':>4} {total:>83.4f}")


if __name__ == "__main__":
    main()
