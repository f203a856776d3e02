"""The whole search equals brute force: meshes x micro-batches x recomputation x strategies, under a memory limit.

Tiny programs on tiny clusters, each under limits from ample to too little. Dims of 3, 5, 67 or 101 cannot be split,
which keeps most programs small enough to list them whole. Of the others the oracle lists what costs up to so many times
the plan that has memory enough; where nothing of that fits, the search may find nothing cheaper than that.
"""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swplan.costmodel import Cluster
from swplan.runtime.planning import variant_graph
from swplan.runtime.trace import trace
from swplan.search.exploring import Explored
from swplan.search.subject import subject
from swplan.search.variants import Variant
from tests.search.oracle import Case, Oracle, oracle, searched, step_of

LIMITS = 10
"""Memory limits of a case."""
EXACT = 1e-9
HOST_2, HOST_4, SUNWAY = "host:devices=2", "host:devices=4", "sw26010pro:nodes=4,nodes_per_supernode=2"


def line(w, x):
    """A product."""
    return jnp.sum(x @ w)


def curve(w, x):
    """A product, then a curve of which the slope is kept for the backward pass."""
    return jnp.sum(jnp.sin(x @ w))


def mean_curve(w, x):
    """The same, but the mean."""
    return jnp.mean(jnp.sin(x @ w))


def tower(w, x):
    """A product, then curve upon curve."""
    return jnp.sum(jnp.sin(jnp.sin(jnp.sin(x @ w))))


def scaled(w, x):
    """Elementwise."""
    return jnp.mean(jnp.sin(x * w))


def twice(w, x):
    """Two products with the same weight."""
    return jnp.sum(jnp.sin(jnp.sin(x @ w) @ w))


def layers(w, x):
    """A loop over two layers."""
    return jnp.mean(jax.lax.scan(lambda h, w: (jnp.sin(h @ w), None), x, w)[0])


def deep_layers(w, x):
    """A loop over two layers that keep more than they hand on."""
    return jnp.sum(jax.lax.scan(lambda h, w: (jnp.sin(jnp.sin(h @ w)), None), x, w)[0])


def limits(known: Oracle) -> list[int]:
    """From ample to too little: where something just fits, where it just does not, and between."""
    edges = [int(one.bytes) for one in known.best]
    marks = dict.fromkeys([4 * edges[0], *edges, *(edge - 1 for edge in edges)])
    between = np.linspace(1.1 * edges[0], 0.7 * edges[-1], LIMITS).astype(int).tolist()
    return sorted([*marks, *(limit for limit in between if limit not in marks)][:LIMITS], reverse=True)


@functools.cache
def found_within(case: Case, limit_bytes: int) -> Explored:
    """What the search finds within a limit."""
    return searched(oracle(case), limit_bytes)


def is_equal(known: Oracle, limit_bytes: int, explored: Explored) -> bool:
    """Whether the search found what the oracle did; where that has nothing, no plan, or none up to the ceiling."""
    best, found = known.within(limit_bytes), explored.found
    if best is None or found is None:
        return best is None and (found is None or found.best.cost_s > known.ceiling_s)
    return found.best.cost_s == pytest.approx(best.cost_s, rel=EXACT)


def is_sound(known: Oracle, limit_bytes: int, explored: Explored) -> bool:
    """Whether a plan that was found fits, and no plan that fits costs less than its certificate says."""
    best, found = known.within(limit_bytes), explored.found
    if found is None:
        return True
    least_s = found.best.cost_s if best is None else min(best.cost_s, found.best.cost_s)
    return found.memory.peak_bytes <= limit_bytes and found.bound_s <= least_s * (1 + EXACT)


CASES = (
    *(Case(loss=line, weight=(3, 5), batch=(4, 101, 3), cluster=c) for c in (HOST_2, HOST_4, SUNWAY)),
    *(Case(loss=curve, weight=(3, 5), batch=(4, 101, 3), cluster=c) for c in (HOST_2, HOST_4, SUNWAY)),
    *(Case(loss=mean_curve, weight=(3, 5), batch=(4, 101, 3), cluster=c) for c in (HOST_2, HOST_4, SUNWAY)),
    *(Case(loss=mean_curve, weight=(3, 5), batch=(6, 101, 3), cluster=c) for c in (HOST_4, SUNWAY)),
    *(Case(loss=scaled, weight=(3,), batch=(4, 101, 3), cluster=c) for c in (HOST_2, HOST_4, SUNWAY)),
    Case(loss=curve, weight=(3, 50), batch=(4, 101, 3), cluster=HOST_2, reach=2.2),
    Case(loss=curve, weight=(3, 50), batch=(4, 101, 3), cluster=HOST_4, axes=2, reach=2),
    Case(loss=tower, weight=(3, 50), batch=(4, 101, 3), cluster=HOST_2, reach=2.2),
    Case(loss=tower, weight=(3, 5), batch=(4, 101, 3), cluster=HOST_2, reach=2.2),
    Case(loss=twice, weight=(4, 4), batch=(4, 101, 4), cluster=HOST_2, reach=2),
    Case(loss=twice, weight=(3, 3), batch=(4, 101, 3), cluster=SUNWAY, axes=2, reach=1.05),
    Case(loss=curve, weight=(4, 8), batch=(4, 101, 4), cluster=HOST_4, axes=2, reach=2.5),
    Case(loss=curve, weight=(4, 8), batch=(4, 101, 4), cluster=SUNWAY, axes=2, reach=1.2),
    Case(loss=curve, weight=(256, 256), batch=(4, 1001, 256), cluster=HOST_4, axes=2, reach=1.05),
    Case(loss=curve, weight=(256, 256), batch=(4, 1001, 256), cluster=SUNWAY, axes=2, reach=1.3),
    Case(loss=layers, weight=(2, 3, 3), batch=(4, 101, 3), cluster=HOST_2, reach=1.3),
    Case(loss=layers, weight=(2, 3, 3), batch=(4, 101, 3), cluster=SUNWAY, axes=2, reach=1.05),
    *(
        Case(loss=deep_layers, weight=(2, 67, 67), batch=(1, 101, 67), cluster=c, reach=1.5)
        for c in (HOST_2, HOST_4, SUNWAY)
    ),
    Case(loss=deep_layers, weight=(2, 3, 3), batch=(4, 101, 3), cluster=HOST_2, reach=1.2),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_search_equals_brute_force(case):
    """At every limit: the cheapest of all plans that fit, nothing if and only if none does, bounded from below."""
    known = oracle(case)
    for number, limit in enumerate(limits(known)):
        explored = found_within(case, limit)
        assert is_equal(known, limit, explored), (number, limit, known.within(limit))
        assert is_sound(known, limit, explored), (number, limit, known.within(limit))


def test_every_kind_of_answer_occurs_often():
    """At least 200 limits; memory binds, micro-batches and recomputation are best, and nothing fits."""
    kinds = Counter()
    for known in map(oracle, CASES):
        for best in map(known.within, limits(known)):
            kinds["all"] += 1
            kinds["nothing fits"] += best is None and known.ceiling_s == np.inf
            kinds["memory binds"] += best not in (None, known.best[0])
            kinds["micro-batches"] += best is not None and best.variant.micro_batches > 1
            kinds["recomputation"] += best is not None and bool(best.variant.recomputed)
    least = {"all": 200, "nothing fits": 10, "memory binds": 100, "micro-batches": 30, "recomputation": 15}
    assert all(kinds[kind] >= count for kind, count in least.items()), kinds


def test_a_loop_over_elementwise_layers_comes_apart():
    """The stack of weights that its backward pass reads is there, in micro-batches too."""

    def loss(w, x):
        return jnp.sum(jax.lax.scan(lambda h, w: (jnp.sin(h * w), None), x, w)[0])

    arguments = jax.ShapeDtypeStruct((2, 3), jnp.float32), jax.ShapeDtypeStruct((4, 3), jnp.float32)
    graph = trace(step_of(loss), arguments, {}).graph
    subject(variant_graph(graph, Variant(micro_batches=2)), Cluster.parse(HOST_2))
