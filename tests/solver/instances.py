"""Small random instances with intervals, the oracle that tries every choice, and the file format of the contest."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np

from swplan.solver.large.instance import Instance, starts


def instance_of(nodes, edges, limit=math.inf):
    """An instance of nodes (interval, costs, usages) and edges (u, v, matrix)."""
    return Instance(
        first=starts(np.array([len(costs) for _, costs, _ in nodes])),
        costs=np.concatenate([np.array(costs, float) for _, costs, _ in nodes]),
        usages=np.concatenate([np.array(usages, float) for _, _, usages in nodes]),
        intervals=np.array([interval for interval, _, _ in nodes]),
        pairs=np.array([(u, v) for u, v, _ in edges], np.int64).reshape(-1, 2),
        at=starts(np.array([np.size(matrix) for _, _, matrix in edges], np.int64)),
        table=np.concatenate([np.zeros(0), *(np.array(matrix, float).ravel() for _, _, matrix in edges)]),
        limit=limit,
    )


def random_instance(seed, nodes=6, strategies=4, tightness=0.5, forbidden=0.2, density=0.4, equal=0.2):
    """A random instance whose limit lies between its least peak and its largest one."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, strategies + 1, nodes)
    made = []
    for size in sizes:
        start = int(random.integers(0, 8))
        span = (start, start + int(random.integers(0, 6)))
        made.append((span, random.integers(0, 30, size), random.integers(0, 20, size)))
    pairs = [pair for pair in itertools.combinations(range(nodes), 2) if random.random() < density]
    pairs += [pair[::-1] for pair in pairs if random.random() < 0.1]
    edges = []
    for u, v in pairs:
        matrix = random.integers(0, 30, (sizes[u], sizes[v])).astype(float)
        matrix[random.random(matrix.shape) < forbidden] = np.inf
        if random.random() < equal and sizes[u] == sizes[v]:
            matrix[~np.eye(sizes[u], dtype=bool)] = np.inf
        edges.append((u, v, matrix))
    free = instance_of(made, edges)
    most = instance_of([(i, c, [max(u)] * len(u)) for i, c, u in made], edges).least().max(initial=0)
    least = free.least().max(initial=0)
    return instance_of(made, edges, limit=float(round(least + tightness * (most - least))))


def oracle(instance):
    """The least cost of all choices that fit, by trying all; infinite if none does."""
    best = math.inf
    for choice in itertools.product(*(range(size) for size in np.diff(instance.first))):
        cost = instance.cost(choice)
        if cost < best and instance.fits(choice):
            best = cost
    return best


def as_file(instance, **changes):
    """The text of the file of an instance, with parts of the problem replaced."""

    def numbers(values):
        return [int(1e18) if value == math.inf else int(value) for value in values]

    problem = {
        "nodes": {
            "intervals": instance.intervals.tolist(),
            "costs": [numbers(part) for part in np.split(instance.costs, instance.first[1:-1])],
            "usages": [numbers(part) for part in np.split(instance.usages, instance.first[1:-1])],
        },
        "edges": {
            "nodes": instance.pairs.tolist(),
            "costs": [numbers(part) for part in np.split(instance.table, instance.at[1:-1])]
            if len(instance.pairs)
            else [],
        },
        "usage_limit": int(instance.limit),
    }
    return json.dumps({"problem": problem | changes})
