"""Predicted peak memory against XLA's own figure, model by model and plan by plan: `python benchmarks/memory.py`.

XLA's figure is arguments + results - aliased results + temporaries of `compiled.memory_analysis()`, on eight emulated
devices. Options: names of models or plans to keep (`gpt: zero`), `--all` for the plans that compile slowly too.
"""

import importlib
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax

import models
from swplan.ir.graph import Graph
from swplan.ir.layout import Layout, divides, local_shape, replicated, reshard, shift
from swplan.ir.strategy import layouts, operand_layout, result_layout, split_degree, strategies
from swplan.passes.memory import MemoryReport, peak_memory
from swplan.passes.partition import partition
from swplan.runtime.build import build
from swplan.runtime.compiler import xla
from swplan.runtime.mesh import device_mesh
from swplan.runtime.trace import trace
from swplan.search.decisions import DecisionGraph, Edge, Node, decision_graph

REPLICATED, DATA, ZERO, TENSOR, HYBRID, RANDOM = "replicated", "data", "zero", "tensor", "hybrid", "random"
QUICK = [(REPLICATED, (8,), 0), (DATA, (8,), 0), (DATA, (2, 4), 0), (ZERO, (8,), 0)]
SLOW = [(TENSOR, (8,), 0), (HYBRID, (2, 4), 0), (HYBRID, (2, 2, 2), 0), (RANDOM, (2, 4), 1), (RANDOM, (2, 2, 2), 2)]
FAST_MODELS = ("models.mlp:tiny", "models.mlp:tiny_plain", "models.convnet:tiny", "models.vit:tiny")


@dataclass(frozen=True, slots=True)
class Case:
    """One model under one plan: what was predicted, and what XLA says of arguments, new results and temporaries."""

    model: str
    plan: str
    predicted: MemoryReport
    argument_bytes: int
    result_bytes: int
    temporary_bytes: int

    @property
    def total_bytes(self) -> int:
        """XLA's peak."""
        return self.argument_bytes + self.result_bytes + self.temporary_bytes

    @property
    def ratio(self) -> float:
        """Predicted peak over XLA's."""
        return self.predicted.peak_bytes / self.total_bytes

    @property
    def temporary_ratio(self) -> float:
        """Predicted temporaries over XLA's."""
        return self.predicted.temporary_bytes / self.temporary_bytes


class Chooser:
    """Makes a plan out of the layouts of inputs: every op takes the strategy for which least has to move."""

    def __init__(self, graph: Graph, plan: str, sizes: tuple[int, ...]) -> None:
        self.graph, self.plan, self.sizes = graph, plan, sizes
        self.whole = replicated(len(sizes))
        self.chosen: dict = {}

    def choices(self, decisions: DecisionGraph) -> dict:
        """A choice for every decision."""
        entering: dict[int, list[Edge]] = {}
        for edge in decisions.edges:
            entering.setdefault(edge.target, []).append(edge)
        for position, node in enumerate(decisions.nodes):
            edges = [edge for edge in entering.get(position, []) if edge.source < position]
            self.chosen[node.key] = self.choose(decisions, node, edges)
        return self.chosen

    def choose(self, decisions: DecisionGraph, node: Node, edges: list[Edge]) -> Layout:
        """The choice of one node, given the nodes before it."""
        if self.plan == REPLICATED or node.key[0] in ("constant", "predicate", "output"):
            return self.whole
        if node.key[0] == "input":
            return self.input_layout(node)
        optimizer = node.op is not None and node.op.stage == "optimizer"
        sources = [self.source_layout(decisions, edge, optimizer) for edge in edges]
        if node.op is not None:
            return min(strategies(node.op.rule, self.sizes), key=lambda s: self.price(node, s, edges, sources))
        layout = shift(sources[0], -edges[0].target_shift)
        layout = tuple(entry if 0 <= entry < len(node.aval.shape) else -1 for entry in layout)
        return layout if layout in layouts(node.aval.shape, self.sizes) else self.whole

    def input_layout(self, node: Node) -> Layout:
        """Batches are split on their first dim along data axes, state on one of its dims along model axes."""
        axes = range(len(self.sizes))
        rank = len(node.aval.shape)
        if node.role == "batch":
            data = {HYBRID: [0], TENSOR: []}.get(self.plan, axes)
            return self.split(node, data, [0])
        if node.aval.is_key or self.plan == DATA:
            return self.whole
        if self.plan == ZERO:
            return self.split(node, axes, list(range(rank)))
        model = axes[1:] if self.plan == HYBRID else axes
        last_first = [rank - 1, rank - 2] if sum(node.aval.shape) % 3 else [rank - 2, rank - 1]
        return self.split(node, model, last_first) if rank > 1 else self.whole

    def split(self, node: Node, axes: list[int], dims: list[int]) -> Layout:
        """Each axis lies on the first of `dims` that it divides."""
        layout = self.whole
        for axis in axes:
            options = [tuple(dim if a == axis else entry for a, entry in enumerate(layout)) for dim in dims]
            layout = next((some for some in options if divides(node.aval.shape, some, self.sizes)), layout)
        return layout

    def source_layout(self, decisions: DecisionGraph, edge: Edge, optimizer: bool) -> Layout:
        """The layout in which a value comes; outside of the optimizer, split state counts as whole (it is gathered)."""
        node = decisions.nodes[edge.source]
        chosen = self.chosen[node.key]
        if node.op is not None:
            chosen = result_layout(node.op.rule, edge.out, chosen)
        elif self.plan == ZERO and node.key[0] == "input" and node.role != "batch" and not optimizer:
            chosen = self.whole
        return shift(chosen, edge.source_shift)

    def price(self, node: Node, strategy: Layout, edges: list[Edge], sources: list[Layout]) -> float:
        """Bytes that move for a strategy, and a little for the work that it leaves."""
        free_slices = node.op.stage == "optimizer"
        moved = 0.0
        for edge, source in zip(edges, sources, strict=True):
            moved += self.moved_bytes(edge, source, operand_layout(node.op.rule, edge.slot, strategy), free_slices)
        return moved + 0.01 * node.op.rule.points / split_degree(strategy, self.sizes)

    def moved_bytes(self, edge: Edge, source: Layout, target: Layout, free_slices: bool) -> float:
        """Bytes that a resharding moves; a slice counts as the gather that it will need later."""
        total = 0.0
        for step in reshard(source, target):
            local = step.kind in ("slice", "mask")
            factor = 0.0 if local and free_slices else 1.5 if step.kind == "all_reduce" else 1.0
            total += factor * max(_size(edge, layout, self.sizes) for layout in (step.before, step.after))
        return total


def _size(edge: Edge, layout: Layout, sizes: tuple[int, ...]) -> float:
    size = edge.aval.item_bytes
    for extent in local_shape(edge.aval.shape, layout, sizes):
        size *= extent
    return size


def choices_of(graph: Graph, plan: str, sizes: tuple[int, ...], seed: int = 0) -> dict:
    """The choices of a plan by name; `seed` numbers the random ones."""
    decisions = decision_graph(graph)
    if plan != RANDOM:
        return Chooser(graph, plan, sizes).choices(decisions)
    rng, whole = random.Random(seed), replicated(len(sizes))

    def options(node: Node) -> tuple[Layout, ...]:
        if node.op is not None:
            return strategies(node.op.rule, sizes)
        if node.key[0] in ("constant", "predicate") or node.aval.is_key:
            return (whole,)
        return layouts(node.aval.shape, sizes, node.pending and "float" in node.aval.dtype)

    return {node.key: rng.choice(options(node)) for node in decisions.nodes}


def measure(model: str, plan: str, sizes: tuple[int, ...], seed: int = 0) -> Case:
    """Compiles a model of `models.ALL` under a plan and compares."""
    module, name = model.split(":")
    step, arguments = getattr(importlib.import_module(module), name)()
    graph = trace(step, arguments, {}).graph
    program = partition(graph, sizes, choices_of(graph, plan, sizes, seed))
    built = build(program, graph, device_mesh(sizes, "abc"[: len(sizes)], range(len(sizes))))
    abstract = [
        jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
        for x, s in zip(jax.tree.leaves(arguments), built.in_shardings, strict=True)
    ]
    found = built.run.lower(*abstract).compile().memory_analysis()
    return Case(
        model=model.removeprefix("models."),
        plan=f"{plan} {'x'.join(map(str, sizes))}" + (f" #{seed}" if seed else ""),
        predicted=peak_memory(program, graph, xla=xla()),
        argument_bytes=found.argument_size_in_bytes,
        result_bytes=found.output_size_in_bytes - found.alias_size_in_bytes,
        temporary_bytes=found.temp_size_in_bytes,
    )


def main() -> None:
    """The table, and the worst of it."""
    wanted = [word for word in sys.argv[1:] if word != "--all"]
    slow = models.ALL if "--all" in sys.argv else FAST_MODELS
    jobs = [(model, *plan) for plan in QUICK + SLOW for model in (models.ALL if plan in QUICK else slow)]
    print(f"{'model':26s} {'plan':16s} {'XLA':>10s} {'predicted':>10s} ratio | temporaries ratio | compiled in")
    cases = []
    for model, plan, sizes, seed in jobs:
        if wanted and not any(word in f"{model} {plan}" for word in wanted):
            continue
        start = time.perf_counter()
        case = measure(model, plan, sizes, seed)
        cases.append(case)
        print(
            f"{case.model:26s} {case.plan:16s} {case.total_bytes:10d} {case.predicted.peak_bytes:10d} {case.ratio:5.3f}"
            f" | {case.temporary_bytes:11d} {case.temporary_ratio:5.3f} | {time.perf_counter() - start:5.1f} s",
            flush=True,
        )
    worst = sorted(cases, key=lambda case: -abs(case.ratio - 1))[:5]
    print("worst:", "; ".join(f"{case.model} {case.plan} {case.ratio:.3f}" for case in worst))
    print(f"within 10 %: {sum(abs(case.ratio - 1) <= 0.1 for case in cases)} of {len(cases)}")


if __name__ == "__main__":
    main()
