"""Fits the numbers of kind "fitted" of a chip file to the rows for fitting, and to no other row.

    python -m benchmarks.fit_chips a100-80g-sxm [--write] [--evaluations N]

Prints the numbers found, and the errors on rows for fitting and for checking. The misfit is the mean over tables of the
mean absolute error, as log of the ratio, of their rows for fitting: a table counts the same, however many its rows.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from swplan.costmodel import load_chip
from swplan.costmodel.chip import PACKAGED
from swplan.validation.case import Case
from swplan.validation.running import Runner
from swplan.validation.tables import packaged_cases

EXCLUDED = ("-z3-", "float8-rowwise")
"""Rows that another mechanism decides: per-parameter traffic of DeepSpeed's ZeRO-3, a known fault of torchtitan's runs
(issue 1207)."""
TIMES = ("iter_time_s", "tok_s_chip", "tflops_per_chip")


def main() -> None:
    """Fits one chip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chip")
    parser.add_argument("--write", action="store_true", help="put the numbers into the chip file")
    parser.add_argument("--evaluations", type=int, default=400)
    options = parser.parse_args()
    chip = load_chip(options.chip)
    cases = [c for c in packaged_cases() if c.run.cluster.partition(":")[0] == chip.name and c.quantity in TIMES]
    runner = Runner()
    rows = [c for c in cases if c.use == "fit" and not any(word in c.id for word in EXCLUDED)]
    found = fit(runner, chip.name, rows, options.evaluations)
    runner.overrides = {chip.name: found}
    report(runner, cases)
    for key, value in found.items():
        print(f"{key} = {value:.4g}")
    if options.write:
        write(chip.name, found)


def fit(runner: Runner, chip: str, cases: list[Case], evaluations: int) -> dict[str, float]:
    """The numbers of kind "fitted" with which the cases come out best."""
    numbers = load_chip(chip).numbers
    keys = list(load_chip(chip).fitted)
    start = np.log([max(numbers[key].value, 1e-9) for key in keys])

    def misfit(logs: np.ndarray) -> float:
        values = {key: float(np.exp(x)) for key, x in zip(keys, logs, strict=True)}
        if any(value > 1 for key, value in values.items() if numbers[key].unit == "ratio"):
            return 10.0
        runner.overrides = {chip: values}
        return float(np.mean([np.mean(errors) for errors in log_errors(runner, cases).values()]))

    print(f"{len(cases)} rows, {len(keys)} numbers, misfit before {misfit(start):.4f}")
    simplex = np.vstack([start, start + 0.2 * np.eye(len(keys))])
    best = minimize(misfit, start, method="Nelder-Mead", options={"maxfev": evaluations, "initial_simplex": simplex})
    print(f"misfit after {best.fun:.4f}")
    return {key: float(f"{np.exp(x):.4g}") for key, x in zip(keys, best.x, strict=True)}


def log_errors(runner: Runner, cases: list[Case]) -> dict[str, list[float]]:
    """Absolute log ratios of predicted to measured, by table."""
    for estimator in runner.estimators.values():
        estimator._prices.clear()
    errors = defaultdict(list)
    for case, predicted in zip(cases, runner.predict(cases), strict=True):
        errors[case.table].append(abs(np.log(predicted / case.measured)))
    return errors


def report(runner: Runner, cases: list[Case]) -> None:
    """Mean errors by table and use."""
    groups = defaultdict(list)
    for case, predicted in zip(cases, runner.predict(cases), strict=True):
        groups[case.table, case.use].append(predicted / case.measured - 1)
    for (table, use), errors in sorted(groups.items()):
        mean, bias = np.abs(errors).mean(), np.mean(errors)
        print(f"{table:24s} {use:6s} {len(errors):4d} rows: mean abs {mean:.3%}, bias {bias:+.3%}")


def write(chip: str, found: dict[str, float]) -> None:
    """Puts numbers into a packaged chip file, in place."""
    path = Path(PACKAGED) / f"{chip}.toml"
    text = path.read_text(encoding="utf-8")
    for key, value in found.items():
        last = re.escape(key.split(".", 2)[-1] if key.startswith("network.") else key.split(".", 1)[1])
        section = key.rsplit(".", 1)[0] if key.startswith("network.") else key.split(".")[0]
        head, body = re.split(rf"(?m)^\[{re.escape(section)}\]$", text, maxsplit=1)
        body = re.sub(rf"(?m)^({last} = \{{ value = )[^,]+", rf"\g<1>{value!r}", body, count=1)
        text = f"{head}[{section}]{body}"
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
