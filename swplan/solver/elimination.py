"""Exact minimisation of a sum of small tables by eliminating one variable after the other.

For the solver, which states problems and chooses between methods; nothing here knows rows or time limits. A network is
a sum of tables, each over a few variables (its scope). Eliminating a variable replaces the tables that mention it by
one over its neighbours: the minimum of their sum. Going back, each variable takes its best value given the others.

Sources: U. Bertele and F. Brioschi, Nonserial Dynamic Programming, Academic Press 1972; R. Dechter, Bucket elimination:
a unifying framework for reasoning, Artificial Intelligence 113 (1999), doi:10.1016/S0004-3702(99)00059-4. Order: the
variable that leaves the smallest table first (U. Kjaerulff, Triangulation of graphs, report R 90-09, Aalborg 1990).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

Scope = tuple[int, ...]
Pairs = dict[tuple[int, int], np.ndarray]

CACHED_ORDERS = 32
BLOCK_ENTRIES = 1 << 17  # a larger sum is made slice by slice, so that it stays in the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A sum of tables: `tables[f]` has an axis for each variable of `scopes[f]`; variable `v` has `sizes[v]` values."""

    sizes: tuple[int, ...]
    scopes: tuple[Scope, ...]
    tables: tuple[np.ndarray, ...]


def restrict(network: Network, kept: Sequence[np.ndarray]) -> Network:
    """The network with only the values `kept[v]` of each variable, renumbered."""
    columns = [values[:, None] for values in kept]
    tables = []
    for scope, table in zip(network.scopes, network.tables, strict=True):
        if len(scope) == 2:
            tables.append(table[columns[scope[0]], kept[scope[1]]])
        else:
            tables.append(table[np.ix_(*[kept[v] for v in scope])])
    return Network(sizes=tuple(len(values) for values in kept), scopes=network.scopes, tables=tuple(tables))


def merged(network: Network) -> tuple[list[np.ndarray], Pairs, float]:
    """One table for each variable, one for each pair (i < j), and the sum of the constants."""
    nodes, pairs, base = [np.zeros(size) for size in network.sizes], {}, 0.0
    for scope, table in zip(network.scopes, network.tables, strict=True):
        if not scope:
            base += float(table)
        elif len(scope) == 1:
            nodes[scope[0]] = nodes[scope[0]] + table
        else:
            key, ordered = (scope, table) if scope[0] < scope[1] else (scope[::-1], table.T)
            pairs[key] = pairs[key] + ordered if key in pairs else ordered
    return nodes, pairs, base


def distinct(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each kind of equal rows, and the kind of every row."""
    kinds: dict[bytes, int] = {}
    label = np.array([kinds.setdefault(row.tobytes(), len(kinds)) for row in np.ascontiguousarray(table)], int)
    return np.unique(label, return_index=True)[1], label


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Eliminates `variable`: adds the tables `inputs`, each (slot, scope, shape to add it in), leaves one on `rest`."""

    variable: int
    inputs: tuple[tuple[int, Scope, tuple[int, ...]], ...]
    rest: Scope
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How to eliminate, for every network of one structure.

    `layout` brings each table into the order of elimination, without axes of length one, as (axes, shape). `left` are
    the variables that stay, `remains` the (slot, scope) of the tables that stay; `work` counts entries added.
    """

    layout: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    steps: tuple[Step, ...]
    left: tuple[int, ...]
    remains: tuple[tuple[int, Scope], ...]
    work: int


@lru_cache(maxsize=CACHED_ORDERS)
def order(
    sizes: tuple[int, ...],
    scopes: tuple[Scope, ...],
    *,
    table_limit: int,
    degree_limit: int | None = None,
    keep: frozenset[int] = frozenset(),
) -> Order:
    """The greedy order: always the variable that leaves the smallest table.

    Variables with one value are no variables. Those in `keep`, and those that would leave a table of more than
    `table_limit` entries or over more than `degree_limit` variables, stay.
    """
    neighbours = _neighbours(sizes, scopes)
    sequence = _sequence(sizes, neighbours, table_limit, degree_limit, keep)
    rank = {variable: position for position, variable in enumerate(sequence)}
    left = tuple(variable for variable in sorted(neighbours) if variable not in rank)
    rank.update({variable: len(sequence) + position for position, variable in enumerate(left)})
    sorted_scopes = [tuple(sorted((v for v in scope if sizes[v] > 1), key=rank.__getitem__)) for scope in scopes]
    layout = tuple(_layout(sizes, scope, target) for scope, target in zip(scopes, sorted_scopes, strict=True))
    steps, remains = _steps(sizes, sequence, sorted_scopes, rank)
    work = sum(math.prod(step.shape) * sizes[step.variable] for step in steps)
    return Order(layout=layout, steps=steps, left=left, remains=remains, work=work)


def _neighbours(sizes: tuple[int, ...], scopes: Iterable[Scope]) -> dict[int, set[int]]:
    """The variables with more than one value, and with whom each shares a table."""
    neighbours: dict[int, set[int]] = {variable: set() for variable, size in enumerate(sizes) if size > 1}
    for scope in scopes:
        members = [variable for variable in scope if sizes[variable] > 1]
        for variable in members:
            neighbours[variable].update(members)
            neighbours[variable].discard(variable)
    return neighbours


def _sequence(
    sizes: tuple[int, ...],
    neighbours: dict[int, set[int]],
    table_limit: int,
    degree_limit: int | None,
    keep: frozenset[int],
) -> list[int]:
    """The variables to eliminate, in order."""
    around = {variable: set(others) for variable, others in neighbours.items()}
    weight = {variable: math.prod(sizes[other] for other in others) for variable, others in around.items()}
    heap = [(weight[variable], variable) for variable in around if variable not in keep]
    heapq.heapify(heap)
    sequence, most = [], len(sizes) if degree_limit is None else degree_limit
    while heap:
        size, variable = heapq.heappop(heap)
        others = around.get(variable)
        if others is None or size != weight[variable] or size > table_limit or len(others) > most:
            continue
        sequence.append(variable)
        del around[variable]
        for other in others:
            around[other] |= others
            around[other] -= {other, variable}
            weight[other] = math.prod(sizes[third] for third in around[other])
            if other not in keep:
                heapq.heappush(heap, (weight[other], other))
    return sequence


def _layout(sizes: tuple[int, ...], scope: Scope, target: Scope) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes, those of length one first, and the shape without these."""
    single = [axis for axis, variable in enumerate(scope) if sizes[variable] == 1]
    axes = (*single, *(scope.index(variable) for variable in target))
    return axes, tuple(sizes[variable] for variable in target)


def _steps(
    sizes: tuple[int, ...], sequence: list[int], scopes: list[Scope], rank: dict[int, int]
) -> tuple[tuple[Step, ...], tuple[tuple[int, Scope], ...]]:
    """One step for each variable of the sequence, and the tables that no step uses."""
    buckets: dict[int, list[tuple[int, Scope]]] = {}
    steps: list[Step] = []

    def put(slot: int, scope: Scope) -> None:
        buckets.setdefault(scope[0] if scope else -1, []).append((slot, scope))

    for slot, scope in enumerate(scopes):
        put(slot, scope)
    for variable in sequence:
        bucket = sorted(buckets.pop(variable, []), key=lambda item: (len(item[1]), item[0]))
        rest = tuple(sorted({v for _, scope in bucket for v in scope} - {variable}, key=rank.__getitem__))
        inputs = tuple(
            (slot, scope, tuple(sizes[v] if v in scope else 1 for v in (variable, *rest))) for slot, scope in bucket
        )
        shape = tuple(sizes[v] for v in rest)
        put(len(scopes) + len(steps), rest)
        steps.append(Step(variable=variable, inputs=inputs, rest=rest, shape=shape))
    return tuple(steps), tuple(item for bucket in buckets.values() for item in bucket)


def forward(network: Network, plan: Order) -> list[np.ndarray]:
    """All tables, those of the network in the layout of the plan and then the one that each step leaves."""
    tables = [
        table.transpose(axes).reshape(shape) for table, (axes, shape) in zip(network.tables, plan.layout, strict=True)
    ]
    for step in plan.steps:
        tables.append(_message([tables[slot].reshape(shape) for slot, _, shape in step.inputs], step.shape))
    return tables


def _message(parts: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The minimum over axis 0 of the sum of `parts`, which broadcast to `[n, *shape]`; the small ones come first."""
    count = parts[0].shape[0]
    if count * math.prod(shape) <= BLOCK_ENTRIES:
        return _add(parts).min(axis=0).reshape(shape)
    least = np.full(shape, np.inf)
    for value in range(count):
        np.minimum(least, _add([part[value] for part in parts]), out=least)
    return least


def _add(parts: list[np.ndarray]) -> np.ndarray:
    """The sum, from left to right."""
    result = parts[0]
    for part in parts[1:]:
        result = result + part
    return result


def backward(plan: Order, tables: list[np.ndarray], choice: list[int]) -> None:
    """Sets the value of every eliminated variable in `choice`, which holds those of the others; ties: the first."""
    for step in reversed(plan.steps):
        column = 0.0
        for slot, scope, _ in step.inputs:
            column = column + tables[slot][(slice(None), *[choice[variable] for variable in scope[1:]])]
        choice[step.variable] = int(np.argmin(column))


def remainder(network: Network, plan: Order, tables: list[np.ndarray]) -> Network:
    """The network over `plan.left`, renumbered in that order, of which the minimum is that of the whole network."""
    number = {variable: position for position, variable in enumerate(plan.left)}
    return Network(
        sizes=tuple(network.sizes[variable] for variable in plan.left),
        scopes=tuple(tuple(number[variable] for variable in scope) for _, scope in plan.remains),
        tables=tuple(tables[slot] for slot, _ in plan.remains),
    )


def constant(plan: Order, tables: list[np.ndarray]) -> float:
    """The sum of the tables over no variable: the minimum, if all variables were eliminated."""
    return float(sum(tables[slot] for slot, scope in plan.remains if not scope))


def minimise(network: Network, plan: Order) -> tuple[list[int] | None, float]:
    """The first best choice and the minimum, by an order that leaves no variable; None if it is infinite."""
    tables = forward(network, plan)
    least = constant(plan, tables)
    if not math.isfinite(least):
        return None, math.inf
    choice = [0] * len(network.sizes)
    backward(plan, tables, choice)
    return choice, least


def evaluate(network: Network, choice: Sequence[int]) -> float:
    """The sum of the tables at a choice."""
    picked = zip(network.tables, network.scopes, strict=True)
    return math.fsum([table.item(*[choice[v] for v in scope]) for table, scope in picked])


def marginals(network: Network, plan: Order) -> list[np.ndarray]:
    """For every variable and value the minimum of the network with that value; the minimum itself must be finite.

    Source: the two passes over the tree of steps of S. Aji and R. McEliece, The generalized distributive law, IEEE
    Trans. Inf. Theory 46 (2000), doi:10.1109/18.825794, for (min, +).
    """
    tables = forward(network, plan)
    least, first = constant(plan, tables), len(network.tables)
    outside = {slot: np.asarray(least - tables[slot]) for slot, scope in plan.remains if slot >= first and not scope}
    found = [np.full(size, least) for size in network.sizes]
    for position, step in reversed(list(enumerate(plan.steps))):
        parts = [tables[slot].reshape(shape) for slot, _, shape in step.inputs]
        joint = _add(parts) + outside.pop(first + position).reshape(1, *step.shape)
        found[step.variable] = joint.min(axis=tuple(range(1, joint.ndim)))
        for part, (slot, _, shape) in zip(parts, step.inputs, strict=True):
            if slot >= first:
                summed = tuple(axis for axis, size in enumerate(shape) if size == 1)
                message = np.where(np.isfinite(part), part, 0.0)  # where it is infinite, so is the sum
                outside[slot] = (joint.min(axis=summed, keepdims=True) - message).reshape(tables[slot].shape)
    return found
