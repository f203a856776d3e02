"""The best choice in a graph of costs that tables alone cannot hold, with its proof: by guessing the gap.

For the solver. Reductions first; then messages, which say how far from the best each value is. The values within a
margin of the bound make a problem that elimination can hold, and a choice that costs no more than the margin allows is
the best of all. Rows that bind are priced, and what a gap in prices leaves open is searched by halves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swplan.solver import elimination, integer, reduction
from swplan.solver.elimination import Network, Order
from swplan.solver.integer import Limits
from swplan.solver.messages import Messages, messages_of
from swplan.solver.prices import best_prices, charge, dearer, priced, unit
from swplan.solver.values import full, joined, restricted

CHEAP_WORK = 100_000_000  # entries added: about a quarter of a second
SMALL_WORK, SMALL_TABLE = 20_000_000, 1_000_000  # what one guess may take
LATE_WORK = 500_000_000  # what is less than the integer program takes
MARGINAL_ENTRIES = 20_000_000  # the largest sum that marginals may hold at once: 160 MB
VALUES = 2.0  # for each variable, in the first guess
ROUNDS = 10  # of messages between guesses
GUESSES = 20  # at most
SLOW = 2e-4  # share of the bound
STALLED = 0.1  # share of the gap that messages should close between guesses
SHRUNK = 0.8  # share of the values of which the search starts anew
NEAR = 0.05  # share of the gap within which values are good
ENOUGH = 1e-6  # relative gap at which prices suffice

Found = tuple[list[int] | None, float, str]  # choice, bound (at or above its cost: the choice is best), method


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What limits a search: entries of a table, `time.monotonic()`, and the cost that is to be undercut.

    `prices` of a unit of usage of each row are where to start, if it is known that rows bind. `enough` is the relative
    gap with which the search is content where rows bind, `loose` that anywhere; it is content with any choice if
    none costs less than `settled`.
    """

    table_limit: int
    until: float
    ceiling: float
    prices: tuple[float, ...] = ()
    enough: float = 0.0
    loose: float = 0.0
    settled: float = math.inf

    def is_content(self, best: _Best, rows: Limits) -> bool:
        """Whether nothing more need be done about the best choice so far."""
        if best.choice is not None and (best.bound >= self.settled or best.bound >= best.cost * (1 - self.loose)):
            return True
        return _proven(min(best.cost, self.ceiling), best.bound, rows, self.enough)


def by_reduction(network: Network, rows: Limits, search: Search) -> Found:
    """What remains after reductions: by elimination if the tables are small, else by bounds."""
    small = reduction.reduced(network, rows)
    if small is None:
        return None, math.inf, "elimination"
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=search.table_limit)
    if plan.left or plan.work > CHEAP_WORK:
        search = replace(search, prices=tuple(search.prices[row] for row in small.rows) if search.prices else ())
        choice, bound, method = _by_bounds(small.network, small.limits, search)
    else:
        choice, bound, method = by_elimination(small.network, small.limits, plan, search.until)
    return (None if choice is None else small.restore(choice)), bound, method


def _by_bounds(network: Network, rows: Limits, search: Search) -> Found:
    """The best of the values near the bound; if that is no proof, the best of all that are not too far from it."""
    best = None if search.prices else _by_messages(network, (), search)
    if best is None or (rows and best.choice is not None and not integer.fits(rows, best.choice)):
        best = _by_messages(network, rows, search)
    top = min(best.cost, search.ceiling)
    if search.is_content(best, rows):
        return best.choice, best.bound, "bounds"
    search = replace(search, ceiling=top, prices=tuple(best.prices))  # none, if rows did not bind
    choice, bound, method = _remaining(network, rows, best.messages, search)
    return _better(network, best.choice, choice), max(best.bound, min(bound, top)), method


def _remaining(network: Network, rows: Limits, messages: Messages, search: Search) -> Found:
    """What messages leave open: once more, if it is less; by halves, if rows bind; else by tables or the program."""
    kept = messages.within(search.ceiling)
    if not all(len(values) for values in kept):
        return None, search.ceiling, "bounds"
    parts = [kept]
    less = sum(map(len, kept)) < SHRUNK * sum(network.sizes)
    if search.prices and not less:
        parts = _halves(rows, messages, kept, search)
    finish = by_reduction if less or len(parts) > 1 else _rest
    best, least, method = None, math.inf, "bounds"
    for part in parts:
        if search.ceiling < math.inf and time.monotonic() > search.until:
            return best, -math.inf, method
        choice, bound, method = finish(elimination.restrict(network, part), restricted(rows, part), search)
        best, least = _better(network, best, full(choice, part)), min(least, bound)
        cost = math.inf if best is None else elimination.evaluate(network, best)
        search = replace(search, ceiling=min(search.ceiling, cost))
    return best, least, method


def _halves(rows: Limits, messages: Messages, kept: Sequence[np.ndarray], search: Search) -> list[list[np.ndarray]]:
    """The values kept in two parts: by the usage of the variable whose good values differ most in it, at its price."""
    charged: dict[int, np.ndarray] = {}
    for (usage, limit), price in zip(rows, search.prices, strict=True):
        for v, vector in usage.items():
            charged[v] = charged.get(v, 0.0) + (price + 1e-9 * abs(search.ceiling) / unit(limit)) * vector
    good = messages.within(messages.bound + NEAR * (search.ceiling - messages.bound))
    spread = {v: (float(np.ptp(x[good[v]])), float(np.ptp(x[kept[v]])), -v) for v, x in charged.items()}
    v = max(spread, key=spread.__getitem__)
    if spread[v][1] == 0.0:
        return [list(kept)]
    near = charged[v][good[v] if spread[v][0] else kept[v]]
    light = charged[v][kept[v]] <= (near.max() + near.min()) / 2
    return [[part if w == v else values for w, values in enumerate(kept)] for part in (kept[v][light], kept[v][~light])]


@dataclass(slots=True, kw_only=True)
class _Best:
    """What messages led to: a choice, a bound on all, the messages and the prices of rows that they include."""

    messages: Messages
    prices: np.ndarray
    choice: list[int] | None = None
    cost: float = math.inf
    bound: float = -math.inf

    def improve(self, network: Network, choice: list[int] | None, bound: float) -> None:
        """Takes in a choice, if it is better, and a bound, if it is."""
        self.choice = _better(network, self.choice, choice)
        self.cost = math.inf if self.choice is None else elimination.evaluate(network, self.choice)
        self.bound = min(max(self.bound, bound), self.cost)

    def reprice(self, rows: Limits, prices: np.ndarray | None) -> None:
        """Puts new prices into the messages, if there are any."""
        if prices is None or np.array_equal(prices, self.prices):
            return
        self.messages.charge(rows, prices - self.prices)
        self.messages.ascend(1)
        self.prices = prices


def _by_messages(network: Network, rows: Limits, search: Search) -> _Best:
    """Solves exactly over the values within a margin of the bound; a choice that costs no more than this is the best.

    The margin is where there are few values for each variable, more after every success and fewer after a failure.
    """
    prices = np.array(search.prices) if rows and search.prices else np.zeros(len(rows))
    best, values, before = _Best(messages=messages_of(network), prices=prices), VALUES, -math.inf
    best.messages.charge(rows, prices)
    anchors = _lightest(network, rows, search)
    if anchors is None:
        best.bound = math.inf
        return best
    best.improve(network, integer.incumbent(network, rows, anchors), -math.inf)
    for _ in range(GUESSES):
        best.messages.ascend(ROUNDS)
        low, top = best.messages.bound, min(best.cost, search.ceiling)
        reach = min(low + _margin(best.messages.above, values), top)
        kept = joined(best.messages.within(reach), [*anchors, best.choice])
        found = _small(elimination.restrict(network, kept), restricted(rows, kept), reach >= top, search)
        best.bound = max(best.bound, min(low, top))
        gain, before, values = low - before, low, values * (0.7 if found is None else 1.5)
        anchors = _after(best, anchors, found, kept, reach, network)
        top = min(best.cost, search.ceiling)
        if search.is_content(best, rows) or time.monotonic() > search.until:
            break
        if found is not None and _stalled(found[1] - low if rows else gain, top - low, low):
            break
        best.reprice(rows, None if found is None else found[2])
    return best


def _after(
    best: _Best, anchors: list[list[int]], found: tuple | None, kept: list[np.ndarray], reach: float, network: Network
) -> list[list[int]]:
    """Takes in what a guess found; where it was too much work the anchors go, if there is a choice without them."""
    if found is None:
        return anchors if best.choice is None else []
    best.improve(network, full(found[0], kept), min(reach, found[1]))
    return anchors


def _stalled(gain: float, gap: float, low: float) -> bool:
    """Whether messages do too little for a gap; where the choice known is bad, the gap says nothing."""
    return gain <= min(STALLED * gap, SLOW * abs(low)) and gap < math.inf


def _lightest(network: Network, rows: Limits, search: Search) -> list[list[int]] | None:
    """Choices that use least of each row and of all together; None if some row is out of reach."""
    found = []
    for some in [*((row,) for row in rows), rows] if len(rows) > 1 else [rows] * len(rows):
        free = priced(network, some, [1.0] * len(some), free=True)
        choice, bound, _ = by_reduction(free, (), replace(search, ceiling=math.inf))
        least = bound if choice is None else min(bound, elimination.evaluate(free, choice))
        if least > sum(limit / unit(limit) for _, limit in some) + 1e-9:
            return None
        found += [] if choice is None else [choice]
    return found


def _small(
    network: Network, rows: Limits, exact: bool, search: Search
) -> tuple[list[int] | None, float, np.ndarray | None] | None:
    """A choice, a bound and the prices of rows, by elimination; None if that is too much work."""
    small = reduction.reduced(network, rows)
    if small is None:
        return None, math.inf, None
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=SMALL_TABLE)
    if plan.left or plan.work > SMALL_WORK / (1 + 4 * len(small.limits)):
        return None
    choice, bound, charged = _lagrangian(small.network, small.limits, plan, search.until)
    if exact:
        choice, bound, _ = by_elimination(small.network, small.limits, plan, search.until)
    prices = np.zeros(len(rows))
    for row, (_, limit), price in zip(small.rows, small.limits, charged, strict=True):
        prices[row] = price / unit(limit)
    return None if choice is None else small.restore(choice), bound, prices


def _margin(above: Sequence[np.ndarray], values: float) -> float:
    """Up to where there are so many values for a variable."""
    everything = np.sort(np.concatenate(above))
    return float(everything[min(int(values * len(above)), len(everything) - 1)])


def _rest(network: Network, rows: Limits, search: Search) -> Found:
    """By elimination, if the tables can be held at all and its choice is within the rows; else by the program."""
    small = reduction.reduced(network, rows)
    if small is None:
        return None, math.inf, "elimination"
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=search.table_limit)
    if not plan.left and plan.work <= LATE_WORK:
        choice, _ = elimination.minimise(small.network, plan)
        if choice is None or integer.fits(small.limits, choice):
            return (None if choice is None else small.restore(choice)), math.inf, "elimination"
    start = integer.incumbent(small.network, small.limits, [[0] * len(small.nodes)])
    ceiling = min(search.ceiling, math.inf if start is None else elimination.evaluate(small.network, start))
    choice, bound = integer.program(small.network, small.limits, ceiling=ceiling, until=search.until)
    choice, method = _better(small.network, start, choice), "integer program"
    return (None if choice is None else small.restore(choice)), bound, method


def by_elimination(network: Network, rows: Limits, plan: Order, until: float) -> Found:
    """Exact if the rows do not bind; else by prices, and the program over what their bound leaves open."""
    best, bound, prices = _lagrangian(network, rows, plan, until)
    cost = math.inf if best is None else elimination.evaluate(network, best)
    if _proven(cost, bound, rows):
        return best, bound, "lagrangian" if prices.any() else "elimination"
    kept = _open(priced(network, rows, prices), plan, cost + charge(rows, prices))
    search = Search(table_limit=0, until=until, ceiling=cost)
    better, proven, method = _rest(elimination.restrict(network, kept), restricted(rows, kept), search)
    return _better(network, best, full(better, kept)), max(bound, proven), method


def _lagrangian(
    network: Network, rows: Limits, plan: Order, until: float
) -> tuple[list[int] | None, float, np.ndarray]:
    """A choice, a bound and the prices of rows that give it."""
    free = np.zeros(len(rows))
    first, _ = elimination.minimise(network, plan)
    if first is None or integer.fits(rows, first):
        return first, math.inf, free
    lightest = [elimination.minimise(priced(network, [row], [1.0], free=True), plan)[0] for row in rows]
    if not all(integer.fits([row], choice) for row, choice in zip(rows, lightest, strict=True)):
        return None, math.inf, free
    choices, bound, prices = best_prices(network, rows, plan, [first, *lightest], until)
    choices += dearer(network, rows, plan, prices) if len(rows) > 1 else []
    return integer.incumbent(network, rows, choices), bound, prices


def _proven(cost: float, bound: float, rows: Limits, enough: float = 0.0) -> bool:
    """Whether a bound is so near a cost that nothing need be done; prices cannot close the gap wholly."""
    return bound >= cost or bound >= cost - max(ENOUGH, enough) * abs(cost) * bool(rows)


def _better(network: Network, *choices: list[int] | None) -> list[int] | None:
    """The cheapest, the first of equals, or None if all are."""
    found = [choice for choice in choices if choice is not None]
    return min(found, key=lambda choice: elimination.evaluate(network, choice), default=None)


def _open(network: Network, plan: Order, ceiling: float) -> list[np.ndarray]:
    """The values with which a network can stay at or below `ceiling`: no other is in a better choice."""
    largest = max((math.prod(step.shape) * network.sizes[step.variable] for step in plan.steps), default=0)
    if not math.isfinite(ceiling) or largest > MARGINAL_ENTRIES:
        return [np.arange(size) for size in network.sizes]
    margin = ceiling + 1e-9 * abs(ceiling)
    return [np.flatnonzero(least <= margin) for least in elimination.marginals(network, plan)]
