"""How long planning takes, and how much memory: `python -m benchmarks.planning [--json FILE] [CASE ...]`.

Every case is planned in a process of its own, from shapes to the finished plan, tracing included. Beside the Llama
cases stands what Meta's AutoParallel took on two cores: 167 s and 5.95 GB (8B, 64 devices), 320 s and 20 GB (70B, 256).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from importlib import import_module

CASES = {
    "llama3-8b": ("models.llama:llama3_8b", {}, "h100-sxm:gpus=64"),
    "llama3-70b": ("models.llama:llama3_70b", {"batch": 256}, "h100-sxm:gpus=256"),
    "gpt3-175b": ("models.gpt:gpt3_175b", {}, "a100-80g-sxm:gpus=1024"),
    "deepseek-v3": ("models.mixtures:deepseek_v3", {"batch": 2048}, "h100-sxm:gpus=2048"),
    "moda-14.5t": ("models.moe:moda_14_5t", {}, "sw26010pro:nodes=96000"),
    "unet": ("models.unet:ddpm_lsun", {}, "a100-80g-sxm:gpus=64"),
    "graph-network": ("models.graphnet:gns_deep", {}, "a100-80g-sxm:gpus=64"),
}
LIMIT_S = 900


def measured(name: str) -> dict:
    """Plans one case in this process."""
    started = time.perf_counter()
    import swplan

    reference, options, cluster = CASES[name]
    module, function = reference.split(":")
    step, args = getattr(import_module(module), function)(**options)
    built = time.perf_counter()
    found = swplan.plan(step, *args, cluster=cluster)
    done = time.perf_counter()
    return {
        "case": name,
        "plan_s": done - built,
        "cpu_s": time.process_time(),
        "total_s": done - started,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "step_s": found.step_time_s,
        "gap": found.certificate.gap,
        "mesh": dict(found.mesh),
        "micro_batches": found.micro_batches,
        "recompute": found.recompute.what,
        "decisions": found.certificate.decisions,
    }


def apart(name: str) -> dict:
    """Plans one case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.planning", "--one", name]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"case": name, "problem": f"more than {LIMIT_S} s"}
    lines = run.stdout.strip().splitlines()
    return json.loads(lines[-1]) if run.returncode == 0 else {"case": name, "problem": run.stderr.strip()[-300:]}


def line(row: dict) -> str:
    """A row of the table."""
    if "problem" in row:
        return f"{row['case']:14s} {row['problem']}"
    mesh = " x ".join(f"{name} {size}" for name, size in row["mesh"].items())
    numbers = f"{row['plan_s']:8.1f} {row['cpu_s']:8.1f} {row['peak_gib']:8.2f} {row['step_s']:10.4g} {row['gap']:7.2%}"
    return f"{row['case']:14s} {numbers} {row['decisions']:9,d}  {mesh}; {row['micro_batches']} micro-batches"


def main() -> None:
    """Plans all cases, or some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES])
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one)))
        return
    heads = f"{'plan s':>8s} {'CPU s':>8s} {'GiB':>8s} {'step s':>10s} {'gap':>7s} {'decisions':>9s}"
    print(f"{'case':14s} {heads}", flush=True)
    rows = []
    for name in options.cases or CASES:
        rows.append(apart(name))
        print(line(rows[-1]), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
