"""Every model of `models/` under many plans against its unplanned step: `python -m benchmarks.models [--json FILE]`.

For each: the chosen plan, the three classics and some random legal plans, on eight emulated devices. Losses of some
steps, the optimizer's moments after the first (the gradients, scaled) and the parameters after the last are compared
with those of `jax.jit` of the same step; the compiled program is compared with the plan, collective by collective,
and XLA's memory with the planned peak.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

if __name__ == "__main__":  # before JAX is imported, which reads them then
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
import numpy as np

import models
import swplan
from swplan.costmodel import Cluster
from swplan.runtime import planning
from swplan.runtime.compiler import xla
from swplan.runtime.precise import applied, chosen
from swplan.runtime.trace import Program, trace
from swplan.search.classics import CLASSICS
from swplan.search.exploring import Explored
from swplan.search.frame import domain
from swplan.search.meshes import placements
from swplan.search.planner import find
from swplan.search.subject import subject
from swplan.search.variants import AS_WRITTEN

# Eight devices on which splitting pays even for tiny models: an op and a message cost next to nothing to start.
CLUSTER = (
    "host:devices=8,compute.op_overhead_s=1e-9,network.host.latency_s=1e-9,network.host.bytes_per_s=1e12,"
    "memory.bytes=64e9"
)
MESHES = ((8,), (2, 4), (4, 2), (2, 2, 2))
PINS, TRIES = 8, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one model ran under one plan: largest relative differences, and planned over compiled memory.

    Attributes:
        losses: over all steps.
        gradients: over the leaves of the optimizer's state after the first step, by the norm of each.
        parameters: over the leaves of the parameters after the last step, by the norm of each.
        differences: collectives that were not compiled as planned.
        collectives: how many were planned.
        memory_ratio: planned peak over XLA's.
        seconds: to plan, compile, run and verify.
    """

    model: str
    plan: str
    mesh: str
    losses: float
    gradients: float
    parameters: float
    differences: int
    collectives: int
    memory_ratio: float
    seconds: float

    @property
    def numeric(self) -> float:
        """The largest of the relative differences."""
        return max(self.losses, self.gradients, self.parameters)


@dataclass(frozen=True, slots=True)
class History:
    """What a run left: the loss of every step, the optimizer's state after the first, the parameters after the last."""

    losses: np.ndarray
    moments: Any
    params: Any


def build(reference: str, **options: Any) -> tuple[Callable, tuple[Any, Any]]:
    """The step and the arguments of a name in `models.ALL`."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)(**options)


def difference(got: Any, wanted: Any) -> float:
    """The largest relative difference of the leaves of two trees: the norm of it, over the norm of what is wanted."""
    left, right = jax.tree.leaves(got), jax.tree.leaves(wanted)
    return max((_leaf_difference(a, b) for a, b in zip(left, right, strict=True)), default=0.0)


def _leaf_difference(got: Any, wanted: Any) -> float:
    got, wanted = plain(got), plain(wanted)
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return np.inf
    distance, size = np.linalg.norm(np.ravel(got - wanted)), np.linalg.norm(np.ravel(wanted))
    return float(distance / size if size else distance)


def plain(leaf: Any) -> np.ndarray:
    """A leaf as a wide NumPy array; of a typed key, its words."""
    if jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.astype(np.float64 if array.dtype.kind in "fV" else np.int64)


def train(step: Callable, state: Any, batch: Any, steps: int) -> History:
    """Runs a step on a copy of `state`, which the step may take for its own."""
    state = jax.tree.map(lambda leaf: leaf.copy(), state)
    losses, moments = [], None
    for _ in range(steps):
        state, aux = step(state, batch)
        losses.append(aux["loss"])
        moments = jax.device_get(state.opt_state) if moments is None else moments
    return History(np.asarray(jax.device_get(losses)), moments, jax.device_get(state.params))


def as_planned(step: Callable, args: tuple, cluster: Cluster) -> Program:
    """The program that is planned in fp32: traced, and through all passes."""
    program = trace(step, args, {})
    return applied(chosen(program.graph, cluster.chip, "fp32"), program)


def random_plan(step: Callable, args: tuple, seed: int, cluster: str = CLUSTER) -> swplan.Plan:
    """A legal plan that nobody would choose: some decisions drawn, the rest solved around them, on a random mesh.

    Raises:
        RuntimeError: no draw could be completed to a plan.
    """
    draw, target = random.Random(seed), Cluster.parse(cluster)
    program = as_planned(step, args, target)
    precision = chosen(program.graph, target.chip, "fp32")
    prepared = subject(program.graph, target, xla())
    for _ in range(TRIES):
        placement = draw.choice(placements(target, draw.choice(MESHES)))
        classes = draw.sample(range(len(prepared.folded.members)), min(PINS, len(prepared.folded.members)))
        nodes = {cls: prepared.folded.representative(cls) for cls in classes}
        pins = {cls: (draw.choice(domain(node, placement.sizes)),) for cls, node in nodes.items()}
        found = find(prepared, max_axes=3, meshes=[placement], pins=pins)
        if found is not None:
            return written(prepared, program, found, precision, "random")
    raise RuntimeError(f"no random plan in {TRIES} draws")


def written(prepared: Any, program: Program, found: Any, precision: Any, name: str) -> swplan.Plan:
    """The plan of what was found for a program as it is written."""
    explored = Explored(variant=AS_WRITTEN, subject=prepared, found=found, points=(), tried={})
    return planning.write_down(explored, program, name, precision, (), [])


def plan_named(step: Callable, args: tuple, name: str, *, seed: int = 0, max_axes: int | None = None) -> swplan.Plan:
    """The plan "chosen", a classic by its name, or a "random" one."""
    if name == "random":
        return random_plan(step, args, seed)
    baseline = None if name == "chosen" else name
    return swplan.plan(step, *args, cluster=CLUSTER, precision="fp32", baseline=baseline, max_axes=max_axes)


def measured(model: str, name: str, plan: swplan.Plan, step: Callable, args: tuple, unplanned: History) -> Row:
    """Runs and verifies a step under one plan."""
    start = time.perf_counter()
    history = train(swplan.auto(step, plan=plan), *args, len(unplanned.losses))
    conformance = swplan.verify(plan, step, *args)
    return Row(
        model=model.removeprefix("models."),
        plan=name,
        mesh=" x ".join(f"{axis} {size}" for axis, size in plan.mesh.items()),
        losses=float(np.max(np.abs(history.losses / unplanned.losses - 1))),
        gradients=difference(history.moments, unplanned.moments),
        parameters=difference(history.params, unplanned.params),
        differences=len(conformance.differences),
        collectives=conformance.collectives,
        memory_ratio=conformance.memory_ratio,
        seconds=time.perf_counter() - start,
    )


def rows(model: str, *, randoms: int = 5, steps: int = 5, max_axes: int | None = None) -> Iterator[Row]:
    """One model under all its plans."""
    step, args = build(model)
    unplanned = train(jax.jit(step), *args, steps)
    for name, seed in [("chosen", 0), *((name, 0) for name in CLASSICS), *(("random", n) for n in range(randoms))]:
        plan = plan_named(step, args, name, seed=seed, max_axes=max_axes)
        yield measured(model, name if name != "random" else f"random {seed}", plan, step, args, unplanned)


def line(row: Row) -> str:
    """A row of the table."""
    numbers = f"{row.losses:9.1e} {row.gradients:9.1e} {row.parameters:10.1e}"
    counts = f"{row.differences:7d} {row.collectives:11d} {row.memory_ratio:8.3f} {row.seconds:8.1f}"
    return f"{row.model:26s} {row.plan:16s} {row.mesh:28s} {numbers} {counts}"


HEAD = f"{'model':26s} {'plan':16s} {'mesh':28s} {'losses':>9s} {'gradients':>9s} {'parameters':>10s}"
HEAD += f" {'differ':>7s} {'collectives':>11s} {'memory':>8s} {'seconds':>8s}"


def main() -> None:
    """The table, and the worst of every column."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=models.ALL, help="names as in models.ALL; all of them if absent")
    parser.add_argument("--randoms", type=int, default=5, help="random plans for each model")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--max-axes", type=int, default=None, help="of the chosen plan")
    parser.add_argument("--json", metavar="FILE", help="also write all rows here")
    options = parser.parse_args()
    print(HEAD, flush=True)
    found = []
    for model in options.models:
        for row in rows(model, randoms=options.randoms, steps=options.steps, max_axes=options.max_axes):
            found.append(row)
            print(line(row), flush=True)
    print(f"\nworst numbers   {line(max(found, key=lambda row: row.numeric))}")
    print(f"worst memory    {line(max(found, key=lambda row: abs(np.log(row.memory_ratio))))}")
    print(f"most differ     {line(max(found, key=lambda row: row.differences))}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump([asdict(row) for row in found], file, indent=1)


if __name__ == "__main__":
    main()
