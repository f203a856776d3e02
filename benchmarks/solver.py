"""Milliseconds for each solve of ladders as training steps make them: `python benchmarks/solver.py`."""

import time

import numpy as np

from swplan.search.solver import Problem, Row, solve, usage


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
    for rows in (1, 3):
        report(f"ladder 1000 x 10, {rows} rows", with_rows(ladder(1000, 10, seed=1), seed=2, rows=rows))


if __name__ == "__main__":
    main()
