"""What elimination cannot hold: an integer program for HiGHS.

For the solver. Works on networks of tables over at most two variables, and rows of (usage by variable, limit).

The program has a variable for each value and for each pair of values of an edge, which must agree (the local polytope:
M. Wainwright and M. Jordan, Graphical models, exponential families, and variational inference, 2008,
doi:10.1561/2200000001, section 4). Values with equal rows of a matrix share variables.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from swplan.solver import highs
from swplan.solver.elimination import Network, Pairs, evaluate, merged
from swplan.solver.highs import TOLERANCE, Program

Usage = Mapping[int, np.ndarray]
Limits = Sequence[tuple[Usage, float]]

SWEEPS = 20
ROUNDING = 1e-9  # share of a limit that sums may differ by
SCALE = 1000.0  # what the objective of the program is worth at the incumbent
RELATIVE_GAP = 1e-9


def program(network: Network, rows: Limits, *, ceiling: float, until: float) -> tuple[list[int] | None, float]:
    """By HiGHS; if it exceeds a limit within its tolerance, once more with less, under the bound of the first."""
    choice, bound = integer_program(network, rows, ceiling=ceiling, until=until)
    if choice is not None and not fits(rows, choice):
        tighter = [(usage, limit - 1e-7 * abs(limit)) for usage, limit in rows]
        choice, _ = integer_program(network, tighter, ceiling=ceiling, until=until)
    return choice, bound


def integer_program(
    network: Network, rows: Limits, *, ceiling: float = math.inf, until: float = math.inf
) -> tuple[list[int] | None, float]:
    """A choice, or None, and a bound on the cost of every choice (infinite: there is none).

    Only choices of at most the cost `ceiling` are looked for; `until` is a time of `time.monotonic`.
    """
    nodes, pairs, base = merged(network)
    nodes, pairs, base = _reparametrised(nodes, pairs, base)
    if not math.isfinite(base):
        return None, math.inf
    cap = max(ceiling - base, 0.0) + 1e-9 * abs(ceiling)
    scale = cap if 0 < cap < math.inf else _typical(nodes, pairs)
    program = Program()
    places = [program.add_columns(np.where(node <= cap, node, np.inf) / scale * SCALE) for node in nodes]
    for place in places:
        program.add_row(place, np.ones(len(place)), 1.0, 1.0)
    for (i, j), table in pairs.items():
        _add_edge(program, places[i], places[j], np.where(table <= cap, table, np.inf) / scale * SCALE)
    for usage, limit in rows:
        columns, unit = np.concatenate([places[v] for v in usage]), abs(limit) or 1.0
        program.add_row(columns, np.concatenate([*usage.values()]) / unit, -np.inf, limit / unit)
    options = {"mip_rel_gap": RELATIVE_GAP, "mip_abs_gap": SCALE * RELATIVE_GAP, "mip_feasibility_tolerance": TOLERANCE}
    options |= {} if until == math.inf else {"time_limit": max(until - time.monotonic(), 0.1)}
    solver = highs.solved(program, integers=sum(len(node) for node in nodes), options=options)
    return _answer(solver, network, places, base, scale)


def _reparametrised(nodes: list[np.ndarray], pairs: Pairs, base: float) -> tuple[list[np.ndarray], Pairs, float]:
    """The same sum with tables of minimum zero: what depends on one variable only moves there, the rest to the base."""
    nodes, moved = list(nodes), {}
    for (i, j), table in pairs.items():
        rows = table.min(axis=1, initial=np.inf)
        rest = table - np.where(np.isfinite(rows), rows, 0.0)[:, None]
        columns = rest.min(axis=0, initial=np.inf)
        nodes[i], nodes[j] = nodes[i] + rows, nodes[j] + columns
        moved[i, j] = rest - np.where(np.isfinite(columns), columns, 0.0)
    least = [float(node.min(initial=np.inf)) for node in nodes]
    if math.inf in least:
        return nodes, moved, math.inf
    return [node - low for node, low in zip(nodes, least, strict=True)], moved, base + math.fsum(least)


def _typical(nodes: list[np.ndarray], pairs: Pairs) -> float:
    """A scale for the costs: the sum over all tables of their mean finite entry."""
    means = [table[np.isfinite(table)].mean() for table in (*nodes, *pairs.values()) if np.isfinite(table).any()]
    return math.fsum(means) or 1.0


def _add_edge(program: Program, source: np.ndarray, target: np.ndarray, table: np.ndarray) -> None:
    """Columns for the pairs of groups of equal rows and equal columns of the matrix, consistent with both ends."""
    _, first_row, row_group = np.unique(table, axis=0, return_index=True, return_inverse=True)
    _, first_column, column_group = np.unique(table, axis=1, return_index=True, return_inverse=True)
    small = table[np.ix_(first_row, first_column)]
    if not small.any():
        return
    allowed = np.isfinite(small)
    flow = np.full(small.shape, -1)
    flow[allowed] = program.add_columns(small[allowed])
    for ends, group, flows in ((source, row_group.ravel(), flow), (target, column_group.ravel(), flow.T)):
        for number, line in enumerate(flows):
            members, columns = ends[group == number], line[line >= 0]
            signs = np.concatenate([np.ones(len(columns)), -np.ones(len(members))])
            program.add_row(np.concatenate([columns, members]), signs, 0.0, 0.0)


def _answer(
    solver: highs.Solver, network: Network, places: list[np.ndarray], base: float, scale: float
) -> tuple[list[int] | None, float]:
    """The choice that HiGHS found, if any, and its bound in seconds."""
    if highs.is_impossible(solver):
        return None, math.inf
    bound = base + max(highs.bound_of(solver), 0.0) * scale / SCALE
    values = highs.values_of(solver) if highs.has_solution(solver) else ()
    choice = [int(values[place].argmax()) for place in places] if len(values) else None
    if choice is None or not math.isfinite(evaluate(network, choice)):
        return None, bound
    return choice, bound


def fits(rows: Limits, choice: Sequence[int]) -> bool:
    """Whether a choice stays within all limits."""
    return all(used(usage, choice) <= limit for usage, limit in rows)


def incumbent(network: Network, rows: Limits, choices: Sequence[Sequence[int]]) -> list[int] | None:
    """The best that single changes and mixtures make of some choices; None if that exceeds a limit or is infinite."""
    finite = [choice for choice in choices if math.isfinite(evaluate(network, choice))]
    feasible = [choice for choice in finite if fits(rows, choice)]
    if not feasible:
        changed = [_improved(network, rows, choice) for choice in choices]
        feasible = [choice for choice in changed if fits(rows, choice) and math.isfinite(evaluate(network, choice))]
    if not feasible:
        return None
    best = min(feasible, key=lambda choice: evaluate(network, choice))
    for other in finite:
        best = _mixed(network, rows, best, other)
    return _improved(network, rows, best)


def _improved(network: Network, rows: Limits, start: Sequence[int]) -> list[int]:
    """Gives one variable after the other its best value given the others and the limits, until none gains."""
    choice, incident = list(start), [[] for _ in network.sizes]
    for scope, table in zip(network.scopes, network.tables, strict=True):
        for axis, v in enumerate(scope):
            incident[v].append((table, scope, axis))
    for _ in range(SWEEPS):
        before, room = list(choice), [limit - used(usage, choice) for usage, limit in rows]
        for v, terms in enumerate(incident):
            column = _column(terms, choice)
            more = [(r, usage[v] - usage[v][choice[v]]) for r, (usage, _) in enumerate(rows) if v in usage]
            for r, difference in more:
                column[difference > max(room[r], 0.0)] = np.inf
            value = int(column.argmin())
            if column[value] < column[choice[v]]:
                choice[v] = value
                room = [left - sum(float(d[value]) for q, d in more if q == r) for r, left in enumerate(room)]
        if choice == before:
            break
    return choice


def used(usage: Usage, choice: Sequence[int]) -> float:
    """What a choice uses."""
    return math.fsum([vector.item(choice[v]) for v, vector in usage.items()])


def _column(terms: Sequence[tuple[np.ndarray, tuple[int, ...], int]], choice: Sequence[int]) -> np.ndarray:
    """The cost of each value of one variable, given the choice of the others."""
    column = 0.0
    for table, scope, axis in terms:
        column = column + table[tuple(slice(None) if a == axis else choice[v] for a, v in enumerate(scope))]
    return column


def _mixed(network: Network, rows: Limits, best: list[int], other: Sequence[int]) -> list[int]:
    """Takes from `other` those connected parts in which the two differ that gain, the best for their usage first."""
    numbers, count = _parts(network, best, other)
    part, members = numbers.tolist(), [np.flatnonzero(numbers == number) for number in range(count)]
    gain = [0.0] * count
    for scope, table in zip(network.scopes, network.tables, strict=True):
        v = next((v for v in scope if part[v] >= 0), None)
        if v is not None:
            gain[part[v]] += table[tuple([other[w] for w in scope])] - table[tuple([best[w] for w in scope])]
    taken = np.zeros((len(rows), count))
    for r, (usage, _) in enumerate(rows):
        for v, vector in usage.items():
            if part[v] >= 0:
                taken[r, part[v]] += vector[other[v]] - vector[best[v]]
    limits = np.array([abs(limit) or 1.0 for _, limit in rows])
    room = np.array([limit - used(usage, best) for usage, limit in rows]) + ROUNDING * limits
    worth = -np.array(gain) / ((np.maximum(taken, 0.0) / limits[:, None]).sum(axis=0) + 1e-12)
    for number in np.argsort(-worth, kind="stable"):
        if gain[number] < 0 and (taken[:, number] <= room).all():
            mixed = list(best)
            for v in members[number].tolist():
                mixed[v] = int(other[v])
            if fits(rows, mixed):
                best, room = mixed, room - taken[:, number]
    return best


def _parts(network: Network, best: Sequence[int], other: Sequence[int]) -> tuple[np.ndarray, int]:
    """The connected part of the variables in which two choices differ, -1 where they do not; and how many parts."""
    differs = np.flatnonzero(np.array(best) != np.array(other)).tolist()
    first = {v: v for v in differs}  # of each variable, one of its part, by way of others the smallest

    def smallest(v: int) -> int:
        while first[v] != v:
            first[v] = v = first[first[v]]
        return v

    for scope in network.scopes:
        if len(scope) == 2 and scope[0] in first and scope[1] in first:
            one, two = sorted((smallest(scope[0]), smallest(scope[1])))
            first[two] = one
    numbers: dict[int, int] = {}
    result = np.full(len(network.sizes), -1)
    result[differs] = [numbers.setdefault(smallest(v), len(numbers)) for v in differs]
    return result, len(numbers)
