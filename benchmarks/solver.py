"""Milliseconds for each solve of ladders and of steps with layouts: `python benchmarks/solver.py`."""

import itertools
import time

import numpy as np

from swplan.solver.problem import Problem, Row, usage
from swplan.solver.solving import solve


def ladder(nodes: int, strategies: int, seed: int, hubs: int = 0, skip: int = 0) -> Problem:
    """Forward and backward chains of `nodes` in all, rungs, skip connections, and `hubs` more nodes that touch many."""
    random = np.random.default_rng(seed)
    sizes = [int(n) for n in random.integers(max(2, strategies - 5), strategies + 5, nodes + hubs)]
    half = nodes // 2
    pairs = [(i, i + 1) for i in range(half - 1)] + [(half + i, half + i + 1) for i in range(half - 1)]
    pairs += [(i, nodes - 1 - i) for i in range(half)]
    pairs += [(i, i + skip) for i in range(0, half - skip, skip)] if skip else []
    pairs += [(nodes + hub, int(i)) for hub in range(hubs) for i in random.choice(nodes, 40, replace=False)]
    costs = tuple(random.random(n) for n in sizes)
    edges = tuple((i, j, random.random((sizes[i], sizes[j])) * (random.random((sizes[i], 1)) < 0.7)) for i, j in pairs)
    return Problem(costs=costs, edges=edges)


def step(layers: int, axes: int, seed: int, width: int = 3) -> Problem:
    """A training step in miniature: values with layouts, ops with strategies, forward and then backward.

    On each mesh axis a value is whole, split in one of two ways, or partial; an op takes two values and makes one. The
    value takes the layout of its op; what an op reads is resharded. Backward ops read what forward ones made; all ops
    of a layer share a weight, and a hub (the statistics of all layers) reads from each of them.
    """
    random = np.random.default_rng(seed)
    layouts = np.array(list(itertools.product(range(4), repeat=axes)))
    strategies = np.array(list(itertools.product([(0, 0, 0), (1, 0, 1), (0, 1, 2), (2, 1, 3), (2, 2, 2)], repeat=axes)))
    made = strategies[:, :, 2] @ 4 ** np.arange(axes)[::-1]
    costs: list[np.ndarray] = []
    edges: list[tuple[int, int, np.ndarray]] = []

    def value() -> int:
        costs.append(np.where((layouts == 3).any(axis=1), np.inf, 0.0))
        return len(costs) - 1

    def op(*inputs: int) -> int:
        work = random.lognormal() * (1 + random.random())
        costs.append(work / 2.0 ** (strategies != 0).any(axis=2).sum(axis=1))
        for slot, source in enumerate(inputs):
            changed = layouts[:, None, :] != strategies[None, :, :, slot]
            edges.append((source, len(costs) - 1, random.lognormal() * changed @ (0.1 + random.random(axes))))
        costs.append(np.zeros(len(layouts)))
        edges.append((len(costs) - 2, len(costs) - 1, np.where(made[:, None] == np.arange(len(layouts)), 0.0, np.inf)))
        return len(costs) - 1

    hidden, saved = value(), []
    for _ in range(layers):
        weight, start = value(), hidden
        for _ in range(width):
            hidden = op(hidden, weight)
        hidden = op(hidden, start)
        saved.append((weight, start, hidden))
    hub, gradient = value(), hidden
    for weight, start, end in reversed(saved):
        for _ in range(width):
            gradient = op(gradient, weight)
        gradient = op(gradient, op(start, end))
        hub = op(hub, gradient) if random.random() < 0.3 else hub
    return Problem(costs=tuple(costs), edges=tuple(edges))


def with_rows(problem: Problem, seed: int, rows: int = 1, tightness: float = 0.9) -> Problem:
    """The problem with rows that its best choice without them exceeds: limit = `tightness` of what that uses."""
    random = np.random.default_rng(seed)
    best = solve(problem).choice
    made = []
    for _ in range(rows):
        users = random.choice(len(problem.costs), len(problem.costs) // 2, replace=False)
        row = Row(usage={int(i): random.integers(1, 1000, len(problem.costs[i])) * 1e6 for i in users}, limit=0.0)
        made.append(Row(usage=row.usage, limit=usage(row, best) * tightness))
    return Problem(costs=problem.costs, edges=problem.edges, rows=tuple(made))


def report(name: str, problem: Problem, repeats: int = 3, time_limit_s: float | None = 20.0) -> None:
    """One line: the first solve, which finds the order, and the mean of the later ones."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        solution = solve(problem, time_limit_s=time_limit_s)
        times.append(1e3 * (time.perf_counter() - start))
    later = sum(times[1:]) / max(1, len(times) - 1)
    print(
        f"{name:42s} {times[0]:9.1f} ms first {later:9.1f} ms later  gap {solution.gap:8.1e}  {solution.method}",
        flush=True,
    )


def main() -> None:
    """All lines."""
    for nodes, strategies in [(300, 10), (1000, 15), (2000, 20), (3000, 15)]:
        plain = ladder(nodes, strategies, seed=nodes)
        report(f"ladder {nodes} x {strategies}", plain)
    for nodes, strategies, hubs, skip in [(1000, 10, 1, 0), (1000, 10, 2, 5), (2000, 10, 1, 4)]:
        plain = ladder(nodes, strategies, seed=nodes, hubs=hubs, skip=skip)
        report(f"ladder {nodes} x {strategies}, {hubs} hubs, skip {skip}", plain)
    for layers, axes in [(10, 1), (10, 2), (40, 2), (10, 3)]:
        report(f"step {layers} layers, {axes} axes", step(layers, axes, seed=layers))
    report("step 10 layers, 2 axes, 2 rows", with_rows(step(10, 2, seed=10), seed=2, rows=2))
    for rows in (1, 3):
        report(f"ladder 1000 x 10, {rows} rows", with_rows(ladder(1000, 10, seed=1), seed=2, rows=rows))


if __name__ == "__main__":
    main()
