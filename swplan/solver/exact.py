"""The best choice in a graph of costs of which the tables can be held, within rows; the rest for the integer program.

For bounds.py: elimination; rows that bind are priced, and the program decides what the best prices leave open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from swplan.solver import elimination, integer, reduction
from swplan.solver.incumbents import incumbent
from swplan.solver.layout import Steps
from swplan.solver.network import Limits, Network, evaluate, fits, restrict
from swplan.solver.prices import best_prices, charge, dearer, free, priced
from swplan.solver.values import full

LATE_WORK = 500_000_000  # entries added: what is less than the integer program takes
ENOUGH = 1e-6  # relative gap at which prices suffice


class Found(NamedTuple):
    """A choice, a bound (at or above its cost: the choice is best), how it was found, and prices of rows that bind."""

    choice: list[int] | None
    bound: float
    method: str
    prices: tuple[float, ...] = ()


class Relaxed(NamedTuple):
    """A choice, a bound, the prices of rows that give it, and all choices met on the way."""

    choice: list[int] | None
    bound: float
    prices: np.ndarray
    met: list[list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What limits a search: entries of a table, `time.monotonic()`, and the cost that is to be undercut.

    `prices` of a unit of usage of each row are where to start, if it is known that rows bind. `enough` is the relative
    gap with which the search is content where rows bind, `loose` that anywhere; it is content with any choice if
    none costs less than `settled`.
    """

    table_limit: int
    until: float
    ceiling: float = math.inf
    prices: tuple[float, ...] = ()
    enough: float = 0.0
    loose: float = 0.0
    settled: float = math.inf

    def is_content(self, choice: list[int] | None, cost: float, bound: float, rows: Limits) -> bool:
        """Whether nothing more need be done about the best choice so far."""
        if choice is not None and (bound >= self.settled or bound >= cost * (1 - self.loose)):
            return True
        return _proven(min(cost, self.ceiling), bound, rows, self.enough)


def by_elimination(
    network: Network, rows: Limits, steps: Steps, search: Search, relaxed: Relaxed | None = None
) -> Found:
    """Exact if the rows do not bind; else by prices, and the program over what their bound leaves open.

    `relaxed` is what `lagrangian` says of the network, if it was asked.
    """
    best, bound, prices, _ = relaxed or lagrangian(network, rows, steps, search.until)
    cost = math.inf if best is None else evaluate(network, best)
    charged = tuple((prices / rows.units).tolist())
    if search.is_content(best, cost, bound, rows):
        return Found(best, bound, "lagrangian" if prices.any() else "elimination", charged)
    kept = _open(priced(network, rows, prices), steps, cost + charge(rows, prices))
    left = rest(*restrict(network, rows, kept), replace(search, table_limit=0, ceiling=cost))
    return Found(better(network, best, full(left.choice, kept)), max(bound, left.bound), left.method, charged)


def lagrangian(network: Network, rows: Limits, steps: Steps, until: float) -> Relaxed:
    """The best prices of rows."""
    none = np.zeros(len(rows))
    first, _ = elimination.minimise(network, steps)
    if first is None or fits(network, rows, first):
        return Relaxed(first, math.inf, none, [] if first is None else [first])
    lightest, weightless = [], free(network)
    for row in range(len(rows)):
        only = rows.only([row])
        lightest.append(elimination.minimise(priced(weightless, only, [1.0]), steps)[0])
        if not fits(network, only, lightest[-1]):
            return Relaxed(None, math.inf, none, [first, *lightest])
    met, bound, prices = best_prices(network, rows, steps, [first, *lightest], until)
    choices = [*met, *(dearer(network, rows, steps, prices) if len(rows) > 1 else [])]
    return Relaxed(incumbent(network, rows, choices), bound, prices, met)


def rest(network: Network, rows: Limits, search: Search) -> Found:
    """By elimination, if the tables can be held at all and its choice is within the rows; else by the program."""
    small = reduction.reduced(network, rows)
    if small is None:
        return Found(None, math.inf, "elimination")
    plan = elimination.order(small.network, search.table_limit)
    if plan is not None and plan.work <= LATE_WORK:
        choice, _ = elimination.minimise(small.network, elimination.steps_of(small.network, plan))
        if choice is None or fits(small.network, small.limits, choice):
            return Found(None if choice is None else small.restore(choice), math.inf, "elimination")
    start = incumbent(small.network, small.limits, [[0] * len(small.nodes)])
    ceiling = min(search.ceiling, math.inf if start is None else evaluate(small.network, start))
    choice, bound = integer.program(small.network, small.limits, ceiling=ceiling, until=search.until)
    choice = better(small.network, start, choice)
    return Found(None if choice is None else small.restore(choice), bound, "integer program")


def _open(network: Network, steps: Steps, ceiling: float) -> list[np.ndarray]:
    """The values with which a network can stay at or below `ceiling`: no other is in a better choice."""
    if not math.isfinite(ceiling):
        return [np.arange(size) for size in network.sizes]
    margin = ceiling + 1e-9 * abs(ceiling)
    return [np.flatnonzero(least <= margin) for least in elimination.marginals(network, steps)]


def _proven(cost: float, bound: float, rows: Limits, enough: float = 0.0) -> bool:
    """Whether a bound is so near a cost that nothing need be done; prices cannot close the gap wholly."""
    return bound >= cost or bound >= cost - max(ENOUGH, enough) * abs(cost) * (len(rows) > 0)


def better(network: Network, *choices: list[int] | None) -> list[int] | None:
    """The cheapest, the first of equals, or None if all are."""
    found = [choice for choice in choices if choice is not None]
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=lambda choice: evaluate(network, choice), default=None)
