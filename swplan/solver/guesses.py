"""Guesses of how far the best choice is from a bound: exact over the few values within it.

For bounds.py. Messages say how far from the best each value is. The values within a margin of the bound make a problem
that elimination can hold, and a choice that costs no more than the margin allows is the best of all. Rows are priced;
what every guess meets says which prices to try next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from swplan.solver import elimination, reduction
from swplan.solver.exact import Search, better, by_elimination, lagrangian
from swplan.solver.incumbents import incumbent
from swplan.solver.messages import Messages, messages_of
from swplan.solver.network import Limits, Network, evaluate, restrict
from swplan.solver.prices import highest, line
from swplan.solver.values import full, joined

SMALL_WORK, SMALL_TABLE = 20_000_000, 1_000_000  # entries added, and of a table: what one guess may take
VALUES = 2.0  # for each variable, in the first guess
ROUNDS = 10  # of messages between guesses
PATIENCE = 10  # times as many at most, if they help
GUESSES = 20  # at most
SLOW = 2e-4  # share of the bound
STALLED = 0.1  # share of the gap that messages should close between guesses


def by_messages(network: Network, rows: Limits, search: Search, anchors: list[list[int]] | None) -> Best:
    """Solves exactly over the values within a margin of the bound; a choice that costs no more than this is the best.

    `anchors` use least of rows; None if some row is out of reach. The margin is where there are few values for each
    variable, more after every success and fewer after a failure.
    """
    prices = np.array(search.prices) if len(rows) and search.prices else np.zeros(len(rows))
    best, values, before = Best(messages=messages_of(network), rows=rows, prices=prices), VALUES, -math.inf
    best.messages.charge(rows, prices)
    if anchors is None:
        best.bound = math.inf
        return best
    best.improve(network, incumbent(network, rows, anchors), -math.inf)
    for _ in range(GUESSES):
        best.ascend(search.ceiling)
        low, top = best.messages.bound, min(best.cost, search.ceiling)
        if low >= top:
            best.bound = top
            break
        reach = min(low + _margin(best.messages.above, len(network.sizes), values), top)
        kept = joined(best.messages.within(reach), [*anchors, best.choice])
        found = _small(*restrict(network, rows, kept), reach >= top, search)
        best.bound = max(best.bound, min(low, top))
        gain, before, values = low - before, low, values * (0.7 if found is None else 1.5)
        anchors = _after(best, anchors, found, kept, reach, network)
        top = min(best.cost, search.ceiling)
        if search.is_content(best.choice, best.cost, best.bound, rows) or time.monotonic() > search.until:
            break
        if found is not None and _stalled(found[1] - low if len(rows) else gain, top - low, low):
            break
        best.reprice([] if found is None else found[2])
    best.settle()
    return best


@dataclass(slots=True, kw_only=True)
class Best:
    """What messages led to: a choice, a bound on all, the messages and the prices of rows that they include.

    `lines` are those of all choices met (prices.py); `peak` is the best bound of messages alone, and its prices.
    """

    messages: Messages
    rows: Limits
    prices: np.ndarray
    peak: tuple[float, np.ndarray] = (-math.inf, np.zeros(0))
    lines: list[np.ndarray] = field(default_factory=list)
    choice: list[int] | None = None
    cost: float = math.inf
    bound: float = -math.inf

    def improve(self, network: Network, choice: list[int] | None, bound: float) -> None:
        """Takes in a choice, if it is better, and a bound, if it is."""
        self.choice = better(network, self.choice, choice)
        self.cost = math.inf if self.choice is None else evaluate(network, self.choice)
        self.bound = min(max(self.bound, bound), self.cost)

    def ascend(self, ceiling: float) -> None:
        """Passes messages on while they close the gap to the best choice known: they cost less than a guess."""
        top = min(self.cost, ceiling)
        for _ in range(PATIENCE):
            before = self.messages.bound
            self.messages.ascend(ROUNDS, top)
            gap = top - self.messages.bound
            if not self.messages.bound - before > STALLED * gap or gap == math.inf:
                break
        if self.messages.bound > self.peak[0]:
            self.peak = (self.messages.bound, self.prices)

    def reprice(self, met: Sequence[np.ndarray]) -> None:
        """Puts the prices that are best by the lines of all choices met into the messages."""
        self.lines += met
        if self.lines:
            self._charge(highest(self.lines)[0] / self.rows.units)

    def settle(self) -> None:
        """Goes back to the prices at which messages alone bound the most."""
        self._charge(self.peak[1])

    def _charge(self, prices: np.ndarray) -> None:
        if not np.array_equal(prices, self.prices):
            self.messages.charge(self.rows, prices - self.prices)
            self.messages.ascend(ROUNDS)
            self.prices = prices


def _after(
    best: Best, anchors: list[list[int]], found: tuple | None, kept: list[np.ndarray], reach: float, network: Network
) -> list[list[int]]:
    """Takes in what a guess found; where it was too much work the anchors go, if there is a choice without them."""
    if found is None:
        return anchors if best.choice is None else []
    best.improve(network, full(found[0], kept), min(reach, found[1]))
    return anchors


def _stalled(gain: float, gap: float, low: float) -> bool:
    """Whether messages do too little for a gap; where the choice known is bad, the gap says nothing."""
    return gain <= min(STALLED * gap, SLOW * abs(low)) and gap < math.inf


def _small(
    network: Network, rows: Limits, exact: bool, search: Search
) -> tuple[list[int] | None, float, list[np.ndarray]] | None:
    """A choice, a bound and the lines of choices met, by elimination; None if that is too much work."""
    small = reduction.reduced(network, rows)
    if small is None:
        return None, math.inf, []
    plan = elimination.order(small.network, SMALL_TABLE)
    if plan is None or plan.work > SMALL_WORK / (1 + 4 * len(small.limits)):
        return None
    steps = elimination.steps_of(small.network, plan)
    found = lagrangian(small.network, small.limits, steps, search.until)
    choice, bound, *_ = by_elimination(small.network, small.limits, steps, search, found) if exact else found
    lines = [line(network, rows, small.restore(one)) for one in found.met] if len(rows) else []
    return None if choice is None else small.restore(choice), bound, lines


def _margin(above: np.ndarray, variables: int, values: float) -> float:
    """Up to where there are so many values for a variable."""
    return float(np.sort(above)[min(int(values * variables), len(above) - 1)])
