"""What elimination cannot hold: an integer program for HiGHS.

For the solver. The program has a variable for each value and for each pair of values of an edge, which must agree (the
local polytope: M. Wainwright and M. Jordan, Graphical models, exponential families, and variational inference, 2008,
doi:10.1561/2200000001, section 4). Values with equal rows of a matrix share variables.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from swplan.solver import highs
from swplan.solver.highs import TOLERANCE, Program
from swplan.solver.network import Limits, Network, evaluate, fits

Edges = list[tuple[int, int, np.ndarray]]
SCALE = 1000.0  # what the objective of the program is worth at the incumbent
RELATIVE_GAP = 1e-9


def program(network: Network, rows: Limits, *, ceiling: float, until: float) -> tuple[list[int] | None, float]:
    """By HiGHS; if it exceeds a limit within its tolerance, once more with less, under the bound of the first."""
    choice, bound = integer_program(network, rows, ceiling=ceiling, until=until)
    if choice is not None and not fits(network, rows, choice):
        tighter = Limits(usage=rows.usage, limit=rows.limit - 1e-7 * np.abs(rows.limit))
        choice, _ = integer_program(network, tighter, ceiling=ceiling, until=until)
    return choice, bound


def integer_program(
    network: Network, rows: Limits, *, ceiling: float = math.inf, until: float = math.inf
) -> tuple[list[int] | None, float]:
    """A choice, or None, and a bound on the cost of every choice (infinite: there is none).

    Only choices of at most the cost `ceiling` are looked for; `until` is a time of `time.monotonic`.
    """
    nodes, edges, base = _reparametrised(network)
    if not math.isfinite(base):
        return None, math.inf
    cap = max(ceiling - base, 0.0) + 1e-9 * abs(ceiling)
    scale = cap if 0 < cap < math.inf else _typical([*nodes, *(table for *_, table in edges)])
    program = Program()
    places = [program.add_columns(np.where(node <= cap, node, np.inf) / scale * SCALE) for node in nodes]
    for place in places:
        program.add_row(place, np.ones(len(place)), 1.0, 1.0)
    for i, j, table in edges:
        _add_edge(program, places[i], places[j], np.where(table <= cap, table, np.inf) / scale * SCALE)
    for usage, limit, unit in zip(rows.usage, rows.limit, rows.units, strict=True):
        users = np.flatnonzero(usage)
        program.add_row(users, usage[users] / unit, -np.inf, limit / unit)
    options = {"mip_rel_gap": RELATIVE_GAP, "mip_abs_gap": SCALE * RELATIVE_GAP, "mip_feasibility_tolerance": TOLERANCE}
    options |= {} if until == math.inf else {"time_limit": max(until - time.monotonic(), 0.1)}
    solver = highs.solved(program, integers=len(network.costs), options=options)
    return _answer(solver, network, places, base, scale)


def _reparametrised(network: Network) -> tuple[list[np.ndarray], Edges, float]:
    """The same sum with tables of minimum zero: what depends on one variable only moves there, the rest to the base."""
    nodes, moved = network.of(network.costs), []
    for i, j, table in network.edges():
        rows = table.min(axis=1, initial=np.inf)
        rest = table - np.where(np.isfinite(rows), rows, 0.0)[:, None]
        columns = rest.min(axis=0, initial=np.inf)
        nodes[i], nodes[j] = nodes[i] + rows, nodes[j] + columns
        moved.append((i, j, rest - np.where(np.isfinite(columns), columns, 0.0)))
    least = [float(node.min(initial=np.inf)) for node in nodes]
    if math.inf in least:
        return nodes, moved, math.inf
    return [node - low for node, low in zip(nodes, least, strict=True)], moved, network.base + math.fsum(least)


def _typical(tables: Sequence[np.ndarray]) -> float:
    """A scale for the costs: the sum over all tables of their mean finite entry."""
    means = [table[np.isfinite(table)].mean() for table in tables if np.isfinite(table).any()]
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
