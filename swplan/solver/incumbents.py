"""Good choices out of those met: single changes of one, and mixtures of two.

For exact.py and guesses.py, which need a choice within the limits to compare bounds with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled, inner
from swplan.solver.large.instance import starts
from swplan.solver.network import Limits, Network, changes, evaluate, fits, used

SWEEPS = 20
ROUNDING = 1e-9  # share of a limit that sums may differ by


class Around(NamedTuple):
    """The pairs of each variable v: `pair[start[v] : start[v + 1]]`, in their order."""

    start: np.ndarray
    pair: np.ndarray


def incumbent(network: Network, rows: Limits, choices: Sequence[Sequence[int]]) -> list[int] | None:
    """The best that single changes and mixtures make of some choices; None if that exceeds a limit or is infinite."""
    finite = [choice for choice in choices if math.isfinite(evaluate(network, choice))]
    feasible, around = [choice for choice in finite if fits(network, rows, choice)], _around(network)
    if not feasible:
        changed = [_improved(network, rows, around, choice) for choice in choices]
        feasible = [c for c in changed if fits(network, rows, c) and math.isfinite(evaluate(network, c))]
    if not feasible:
        return None
    best = min(feasible, key=lambda choice: evaluate(network, choice))
    for other in finite:
        best = _mixed(network, rows, best, other)
    return _improved(network, rows, around, best)


def _around(network: Network) -> Around:
    ends = network.pairs.ravel()
    return Around(
        start=starts(np.bincount(ends, minlength=len(network.sizes))), pair=np.argsort(ends, kind="stable") >> 1
    )


def _improved(network: Network, rows: Limits, around: Around, start: Sequence[int]) -> list[int]:
    """Gives one variable after the other its best value given the others and the limits, until none gains."""
    choice = np.array(start, np.int64)
    for _ in range(SWEEPS):
        if not _change(network, around, rows.usage, rows.limit - used(network, rows, choice), choice):
            break
    return choice.tolist()


@compiled
def _change(network, around, usage, room, choice):
    """Gives every variable its best value once, as far as there is room; whether any gained."""
    changed = False
    for v in range(len(choice)):
        first, old = network.first[v], choice[v]
        column = network.costs[first : network.first[v + 1]].copy()
        for pair in around.pair[around.start[v] : around.start[v + 1]]:
            _add_line(network, pair, v, choice, column)
        for row in range(len(room)):
            most, own = max(room[row], 0.0), usage[row, first + old]
            for x in range(len(column)):
                column[x] = np.inf if usage[row, first + x] - own > most else column[x]
        value = column.argmin()
        if column[value] < column[old]:
            choice[v], changed = value, True
            for row in range(len(room)):
                room[row] -= usage[row, first + value] - usage[row, first + old]
    return changed


@inner
def _add_line(network, pair, v, choice, column):
    """Adds what a pair costs with each value of one of its variables."""
    i, j, at = network.pairs[pair, 0], network.pairs[pair, 1], network.at[pair]
    columns = network.sizes[j]
    start, step = (at + choice[j], columns) if v == i else (at + choice[i] * columns, 1)
    for x in range(len(column)):
        column[x] += network.tables[start + x * step]


def _mixed(network: Network, rows: Limits, best: Sequence[int], other: Sequence[int]) -> Sequence[int]:
    """Takes from `other` those connected parts in which the two differ that gain, the best for their usage first."""
    here, there = np.array(best, np.int64), np.array(other, np.int64)
    part, count = _parts(network, here, there)
    gain, taken = _gains(network, rows, part, count, here, there)
    room = rows.limit - used(network, rows, here) + ROUNDING * rows.units
    worth = -gain / ((np.maximum(taken, 0.0) / rows.units[:, None]).sum(axis=0) + 1e-12)
    for number in np.argsort(-worth, kind="stable"):
        if gain[number] < 0 and (taken[:, number] <= room).all():
            mixed = np.where(part == number, there, here)
            if fits(network, rows, mixed):
                here, room = mixed, room - taken[:, number]
    return here.tolist()


def _gains(
    network: Network, rows: Limits, part: np.ndarray, count: int, here: np.ndarray, there: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each part costs more there than here [parts], and uses more of each resource [rows, parts]."""
    first, second = part[network.pairs].T
    owner = np.concatenate([part, np.where(first >= 0, first, second)])
    total = lambda parts, more: np.bincount(parts[parts >= 0], more[parts >= 0], minlength=count)  # noqa: E731
    more = rows.usage[:, network.first[:-1] + there] - rows.usage[:, network.first[:-1] + here]
    taken = np.array([total(part, line) for line in more]).reshape(len(rows), count)
    return total(owner, np.concatenate(changes(network, here, there))), taken


def _parts(network: Network, here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, int]:
    """The connected part of the variables in which two choices differ, -1 where they do not; and how many parts."""
    differs = here != there
    first = list(range(len(here)))  # of each variable, one of its part, by way of others the smallest

    def smallest(v: int) -> int:
        while first[v] != v:
            first[v] = v = first[first[v]]
        return v

    for i, j in network.pairs[differs[network.pairs].all(axis=1)].tolist():
        one, two = sorted((smallest(i), smallest(j)))
        first[two] = one
    numbers: dict[int, int] = {}
    part = np.full(len(here), -1)
    part[differs] = [numbers.setdefault(smallest(v), len(numbers)) for v in np.flatnonzero(differs).tolist()]
    return part, len(numbers)
