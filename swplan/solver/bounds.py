"""The best choice in a graph of costs that tables alone cannot hold, with its proof: by guessing the gap.

For the solver. Reductions first; then messages, which say how far from the best each value is. The values within a
margin of the bound make a problem that elimination can hold, and a choice that costs no more than the margin allows is
the best of all. Rows that bind are priced, and what a gap in prices leaves open is searched by halves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from swplan.solver import elimination, reduction
from swplan.solver.exact import Found, Search, better, by_elimination, rest
from swplan.solver.guesses import Best, by_messages
from swplan.solver.messages import Messages
from swplan.solver.network import Limits, Network, evaluate, fits, restrict
from swplan.solver.prices import free, priced
from swplan.solver.values import full

CHEAP_WORK = 100_000_000  # entries added: about a quarter of a second
SHRUNK = 0.8  # share of the values of which the search starts anew
NEAR = 0.05  # share of the gap within which values are good


def by_reduction(network: Network, rows: Limits, search: Search) -> Found:
    """What remains after reductions: by elimination if the tables are small, else by bounds."""
    small = reduction.reduced(network, rows)
    if small is None:
        return Found(None, math.inf, "elimination")
    plan = elimination.order(small.network, search.table_limit)
    if plan is None or plan.work > CHEAP_WORK:
        search = replace(search, prices=tuple(search.prices[row] for row in small.rows) if search.prices else ())
        found = _by_bounds(small.network, small.limits, search)
    else:
        found = by_elimination(small.network, small.limits, elimination.steps_of(small.network, plan), search)
    choice = None if found.choice is None else small.restore(found.choice)
    prices = dict(zip(small.rows, found.prices, strict=True)) if found.prices else {}
    return found._replace(choice=choice, prices=tuple(prices.get(row, 0.0) for row in range(len(rows))))


def _by_bounds(network: Network, rows: Limits, search: Search) -> Found:
    """The best of the values near the bound; if that is no proof, the best of all that are not too far from it."""
    best = None if search.prices else _guessed(network, rows.only([]), search)
    if best is None or (best.choice is not None and not fits(network, rows, best.choice)):
        best = _guessed(network, rows, search)
    top = min(best.cost, search.ceiling)
    found = Found(best.choice, best.bound, "bounds", tuple(best.prices.tolist()))  # no prices, if rows did not bind
    if search.is_content(best.choice, best.cost, best.bound, rows):
        return found
    left = _remaining(network, rows, best.messages, replace(search, ceiling=top, prices=found.prices))
    choice = better(network, best.choice, left.choice)
    return Found(choice, max(best.bound, min(left.bound, top)), left.method, found.prices)


def _guessed(network: Network, rows: Limits, search: Search) -> Best:
    """By messages and guesses; with an infinite bound if some row is out of reach."""
    return by_messages(network, rows, search, _lightest(network, rows, search))


def _remaining(network: Network, rows: Limits, messages: Messages, search: Search) -> Found:
    """What messages leave open: once more, if it is less; by halves, if rows bind; else by tables or the program."""
    kept = messages.within(search.ceiling)
    if not all(len(values) for values in kept):
        return Found(None, search.ceiling, "bounds")
    parts = [kept]
    less = sum(map(len, kept)) < SHRUNK * len(network.costs)
    if search.prices and not less:
        parts = _halves(network, rows, messages, kept, search)
    finish = by_reduction if less or len(parts) > 1 else rest
    best, least, method = None, math.inf, "bounds"
    for part in parts:
        if search.ceiling < math.inf and time.monotonic() > search.until:
            return Found(best, -math.inf, method)
        choice, bound, method, _ = finish(*restrict(network, rows, part), search)
        best, least = better(network, best, full(choice, part)), min(least, bound)
        cost = math.inf if best is None else evaluate(network, best)
        search = replace(search, ceiling=min(search.ceiling, cost))
    return Found(best, least, method)


def _halves(
    network: Network, rows: Limits, messages: Messages, kept: Sequence[np.ndarray], search: Search
) -> list[list[np.ndarray]]:
    """The values kept in two parts: by the usage of the variable whose good values differ most in it, at its price."""
    worth = np.array(search.prices) + 1e-9 * abs(search.ceiling) / rows.units
    charged = network.of(worth @ rows.usage)
    good = messages.within(messages.bound + NEAR * (search.ceiling - messages.bound))
    spread = [(float(np.ptp(x[good[v]])), float(np.ptp(x[kept[v]])), -v) for v, x in enumerate(charged)]
    v = -max(spread)[2]
    if spread[v][1] == 0.0:
        return [list(kept)]
    near = charged[v][good[v] if spread[v][0] else kept[v]]
    light = charged[v][kept[v]] <= (near.max() + near.min()) / 2
    return [[part if w == v else values for w, values in enumerate(kept)] for part in (kept[v][light], kept[v][~light])]


def _lightest(network: Network, rows: Limits, search: Search) -> list[list[int]] | None:
    """Choices that use least of each row and of all together; None if some row is out of reach."""
    found = []
    single = [rows.only([row]) for row in range(len(rows))]
    weightless = free(network)
    for some in [*single, rows] if len(rows) > 1 else single:
        weighed = priced(weightless, some, [1.0] * len(some))
        choice, bound, *_ = by_reduction(
            weighed, rows.only([]), Search(table_limit=search.table_limit, until=search.until)
        )
        least = bound if choice is None else min(bound, evaluate(weighed, choice))
        if least > (some.limit / some.units).sum() + 1e-9:
            return None
        found += [] if choice is None else [choice]
    return found
