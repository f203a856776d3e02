"""Strategies priced per second on one core, GPT-3 175B on 1,024 A100: `python -m benchmarks.strategies`.

A sweep takes every mesh of data, model and pipe that fits the devices and the program, in every order, for several
global batches, with every number of micro-batches and of interleaved chunks that divides, and several ZeRO stages. All
strategies are different ones. What those of one kind share (decisions, rows) is made once and reported apart; the rate
is of pricing, step times and memory, with and without making batches of arrays, or of `Strategy` objects.
`--unrolled` takes the program without a scan over its layers, which has no pipeline, and one order of the axes.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ["JAX_PLATFORMS"] = "cpu"

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from models.gpt import gpt3_175b
from swplan.costmodel import Cluster
from swplan.estimate.batch import Batch, alike
from swplan.estimate.estimating import Estimator, costs_of
from swplan.estimate.strategy import Strategy
from swplan.runtime.estimating import estimating

CLUSTER = Cluster.parse("a100-80g-sxm:gpus=1024")
LAYERS = HEADS = 96
GLOBAL_BATCHES = (512, 768, 1024, 1536, 2048, 3072)
REPEATS = 5

T = TypeVar("T")


@dataclass(frozen=True)
class Sweep:
    """Different strategies of one kind, as arrays.

    Attributes:
        kind: a strategy of the kind.
        table: degrees in the order of its mesh, then global batch, micro-batches and interleaved chunks [S, A + 3].
    """

    kind: Strategy
    table: np.ndarray

    def batch(self, estimator: Estimator) -> Batch:
        """The strategies made ready from the arrays."""
        *degrees, global_batch, micro, interleave = self.table.T
        named = dict(zip((axis for axis, _ in self.kind.mesh), degrees, strict=True))
        return estimator.batch_at(self.kind, named, micro=micro, interleave=interleave, global_batch=global_batch)

    def strategies(self) -> list[Strategy]:
        """The strategies one by one."""
        axes = [axis for axis, _ in self.kind.mesh]
        return [self.strategy(axes, row) for row in self.table.tolist()]

    def strategy(self, axes: list[str], row: list[int]) -> Strategy:
        """The strategy of a row of the table."""
        *degrees, global_batch, micro, interleave = row
        mesh = tuple(zip(axes, degrees, strict=True))
        return replace(self.kind, mesh=mesh, global_batch=global_batch, micro_batches=micro, interleave=interleave)


def divisors(number: int) -> list[int]:
    """All divisors."""
    return [n for n in range(1, number + 1) if number % n == 0]


def rows_of(order: tuple[str, ...]) -> Iterator[tuple[int, ...]]:
    """All that fits, where data and model have more than one device and pipe at least one."""
    stages = divisors(LAYERS) if "pipe" in order else [1]
    for model, pipe in itertools.product(divisors(HEADS)[1:], stages):
        data, rest = divmod(CLUSTER.devices, model * pipe)
        degrees = {"data": data, "model": model, "pipe": pipe}
        batches = [size for size in GLOBAL_BATCHES if not rest and data > 1 and size % data == 0]
        chunks = divisors(LAYERS // pipe) if pipe > 1 else [1]
        for size, chunk in itertools.product(batches, chunks):
            yield from ((*(degrees[a] for a in order), size, micro, chunk) for micro in divisors(size // data))


def sweeps(*, unrolled: bool) -> Iterator[Sweep]:
    """One sweep for each order of the axes and each of two ZeRO stages."""
    orders = [("model", "data")] if unrolled else itertools.permutations(("data", "model", "pipe"))
    for order, zero in itertools.product(orders, (0, 1)):
        table = np.array(list(rows_of(order)), np.int64)
        kind = Strategy(zero=zero, precision="bf16", overlap=("data",), attention="fused", mesh=(("data", 1),))
        mesh = Sweep(kind, table).strategy(list(order), table[0].tolist())
        yield Sweep(mesh, table)


def timed(run: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Seconds of the median of a few runs, and what the last one gave."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        made = run()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), made


def measure(estimator: Estimator, sweep: Sweep) -> np.ndarray:
    """Seconds: once for the kind, from arrays, pricing alone, from objects."""
    once_s, _ = timed(lambda: estimator.prices(sweep.kind, CLUSTER.chip))
    whole_s, _ = timed(lambda: estimator.costs_at(sweep.kind, sweep.batch(estimator)), REPEATS)
    made, moments = estimator.prices(sweep.kind, CLUSTER.chip), estimator.rows(sweep.kind)[1]
    batch = sweep.batch(estimator)
    pricing_s, _ = timed(lambda: costs_of(made, moments, batch, CLUSTER, sweep.kind), REPEATS)
    strategies = sweep.strategies()
    objects_s, _ = timed(lambda: estimator.costs(strategies))
    return np.array([once_s, whole_s, pricing_s, objects_s])


HEADING = ("mesh", "zero", "strategies", "that differ", "once, s", "a second", "pricing", "objects")


def line(estimator: Estimator, sweep: Sweep, seconds: np.ndarray) -> str:
    """A row of the table: rates from arrays, of pricing alone, from objects."""
    mesh = "/".join(axis for axis, _ in sweep.kind.mesh)
    differ = alike(sweep.batch(estimator)).batch.count
    counts = f"{mesh:18s}{sweep.kind.zero:>12d}{len(sweep.table):12,d}{differ:12,d}{seconds[0]:12.2f}"
    return counts + "".join(f"{rate:12,.0f}" for rate in len(sweep.table) / seconds[1:])


def main() -> None:
    """One line for each kind, then the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unrolled", action="store_true", help="without a scan over layers")
    unrolled = parser.parse_args().unrolled
    traced_s, traced = timed(lambda: estimating(*gpt3_175b(scan_layers=not unrolled), {}, CLUSTER))
    ready_s, estimator = timed(lambda: traced.priced("bf16", CLUSTER).estimator)
    print(f"GPT-3 175B, {'unrolled' if unrolled else 'scanned'}, {CLUSTER.spec}, one thread")
    print(f"once: {traced_s:.1f} s to trace it, {ready_s:.1f} s to put it in bf16\n")
    print(f"{HEADING[0]:18s}" + "".join(f"{title:>12s}" for title in HEADING[1:]))
    count, total = 0, np.zeros(4)
    for sweep in sweeps(unrolled=unrolled):
        seconds = measure(estimator, sweep)
        print(line(estimator, sweep, seconds), flush=True)
        count, total = count + len(sweep.table), total + seconds
    arrays, pricing, objects = count / total[1:]
    print(f"\n{count:,} strategies; a second: {arrays:,.0f} from arrays, {pricing:,.0f} pricing alone,")
    print(f"{objects:,.0f} from objects, {count / (total[0] + total[1]):,.0f} with what is made once for each kind")


if __name__ == "__main__":
    main()
