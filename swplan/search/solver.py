"""The best choice of one strategy per decision, with a proof of how good it is.

For the search, which prices strategies and reshardings; nothing here knows what a strategy is. A problem is a graph:
every node has a finite domain with costs, every edge a matrix of costs of the pairs, and rows limit what the chosen
strategies use together (memory). Without rows it is solved by elimination; with rows that bind, by multipliers, then by
an integer program over what the multipliers leave open; by that alone where tables grow too large.

"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from swplan.search import elimination, integer, reduction
from swplan.search.dual import Dual, best_prices, charge, dearer, dual, priced, unit
from swplan.search.elimination import Network, Order
from swplan.search.integer import Limits

RAW_WORK = 10_000_000  # entries added without reductions first
CHEAP_WORK = 40_000_000  # entries added: about a tenth of a second; above, strategies are first thinned out
MARGINAL_ENTRIES = 20_000_000  # the largest sum that marginals may hold at once: 160 MB
VALUES, ROUNDS, STALLED = 2.0, 10, 0.1
SMALL_WORK, SMALL_TABLE = 20_000_000, 1_000_000
MOST = 30
SHRUNK = 0.8
LATE_WORK = 500_000_000
ENOUGH = 1e-6  # relative gap at which multipliers suffice


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A limit: the sum over nodes of `usage[node][strategy]` (bytes, >= 0; absent nodes use nothing) is <= `limit`."""

    usage: Mapping[int, np.ndarray]
    limit: float
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What to choose: `costs[i]` [n_i] in seconds, `edges` of (i, j, [n_i, n_j]), `rows`; infinity forbids.

    Several edges of one pair add up; the diagonal of an edge (i, i) adds to the costs of i.
    """

    costs: tuple[np.ndarray, ...]
    edges: tuple[tuple[int, int, np.ndarray], ...]
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A choice and its cost; no choice costs less than `bound`.

    Without a choice the cost is infinite; if the bound is infinite too, it is proven that there is none.
    """

    choice: tuple[int, ...] | None
    cost: float
    bound: float
    method: str

    @property
    def gap(self) -> float:
        """By which fraction of its cost the choice may be worse than the best."""
        if self.bound >= self.cost:
            return 0.0
        if self.choice is None:
            return math.inf
        return (self.cost - self.bound) / max(abs(self.cost), np.finfo(float).tiny)


Found = tuple[list[int] | None, float, str]  # choice, bound (at or above its cost: the choice is best), method


def total(problem: Problem, choice: Sequence[int]) -> float:
    """The cost of a choice, rows not looked at."""
    nodes = math.fsum(float(cost[x]) for cost, x in zip(problem.costs, choice, strict=True))
    return nodes + math.fsum(float(matrix[choice[i], choice[j]]) for i, j, matrix in problem.edges)


def usage(row: Row, choice: Sequence[int]) -> float:
    """What a choice uses of the resource of a row."""
    return math.fsum(float(vector[choice[node]]) for node, vector in row.usage.items())


def solve(
    problem: Problem,
    *,
    time_limit_s: float | None = None,
    table_limit: int = 4_000_000,
    upper_bound: float = math.inf,
) -> Solution:
    """The best choice, or the best one found within the time with a bound on all others.

    Tables of at most `table_limit` entries are held. The same problem gives the same solution, unless time runs out.
    If it is found that no choice costs less than `upper_bound`, the cost of something known, there is no choice in the
    solution, its bound is at least `upper_bound`, and its method "bound".
    """
    until = math.inf if time_limit_s is None else time.monotonic() + time_limit_s
    rows = tuple((row.usage, row.limit) for row in problem.rows if row.usage and row.limit < math.inf)
    network = _network(problem)
    if any(row.limit < 0 for row in problem.rows) or _hopeless(network):
        return Solution(choice=None, cost=math.inf, bound=math.inf, method="elimination")
    plan = elimination.order(network.sizes, network.scopes, table_limit=table_limit)
    if plan.left or plan.work > RAW_WORK:
        search = _Search(table_limit=table_limit, until=until, ceiling=upper_bound)
        choice, bound, method = _reduced(network, rows, search)
    else:
        choice, bound, method = _by_elimination(network, rows, plan, until)
    cost = math.inf if choice is None else total(problem, choice)
    if min(bound, cost) >= upper_bound and upper_bound < math.inf:
        return Solution(choice=None, cost=math.inf, bound=min(bound, cost), method="bound")
    if choice is None:
        return Solution(choice=None, cost=math.inf, bound=bound, method=method)
    return Solution(choice=tuple(choice), cost=cost, bound=min(bound, cost), method=method)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """What limits a search: entries of a table, `time.monotonic()`, and the cost that is to be undercut."""

    table_limit: int
    until: float
    ceiling: float


def _hopeless(network: Network) -> bool:
    """Whether some variable has no finite value."""
    nodes = (table for table in network.tables if table.ndim == 1)
    return any(not np.isfinite(table).any() for table in nodes)


def _network(problem: Problem) -> Network:
    """The problem as a sum of tables, in which strategies that alone exceed a row are forbidden."""
    costs = [np.array(cost, float) for cost in problem.costs]
    for row in problem.rows:
        least = math.fsum(float(np.min(vector)) for vector in row.usage.values())
        for node, vector in row.usage.items():
            excess = least - np.min(vector) + vector - row.limit
            costs[node][excess > 1e-12 * abs(row.limit)] = np.inf
    tables = [((i,), cost) for i, cost in enumerate(costs)]
    for i, j, matrix in problem.edges:
        tables.append(((i,), np.diagonal(matrix)) if i == j else ((i, j), np.asarray(matrix, float)))
    scopes = tuple(scope for scope, _ in tables)
    return Network(sizes=tuple(map(len, costs)), scopes=scopes, tables=tuple(table for _, table in tables))


def _reduced(network: Network, rows: Limits, search: _Search) -> Found:
    """What remains after reductions: by elimination if the tables are small, else by bounds."""
    small = reduction.reduced(network, rows)
    if small is None:
        return None, math.inf, "elimination"
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=search.table_limit)
    if plan.left or plan.work > CHEAP_WORK:
        choice, bound, method = _by_bounds(small.network, small.limits, search)
    else:
        choice, bound, method = _by_elimination(small.network, small.limits, plan, search.until)
    return (None if choice is None else small.restore(choice)), bound, method


def _by_bounds(network: Network, rows: Limits, search: _Search) -> Found:
    """Values near the bound first, then what they leave open."""
    best = _by_messages(network, (), search)
    if rows and best.choice is not None and not integer.fits(rows, best.choice):
        best = _by_messages(network, rows, search)
    top = min(best.cost, search.ceiling)
    if _proven(top, best.bound, rows):
        return best.choice, best.bound, "bounds"
    kept, search = _within(best.messages, top), replace(search, ceiling=top)
    finish = _reduced if sum(map(len, kept)) < SHRUNK * sum(network.sizes) else _rest
    choice, bound, method = finish(elimination.restrict(network, kept), _restricted(rows, kept), search)
    return _better(network, best.choice, _full(choice, kept)), max(best.bound, min(bound, top)), method


@dataclass(slots=True, kw_only=True)
class _Best:
    """What messages led to: a choice, a bound on all, the messages and the prices of rows that they include."""

    messages: Dual
    choice: list[int] | None = None
    cost: float = math.inf
    bound: float = -math.inf

    def improve(self, network: Network, choice: list[int] | None, bound: float) -> None:
        """Takes in a choice, if it is better, and a bound, if it is."""
        self.choice = _better(network, self.choice, choice)
        self.cost = math.inf if self.choice is None else elimination.evaluate(network, self.choice)
        self.bound = min(max(self.bound, bound), self.cost)


def _by_messages(network: Network, rows: Limits, search: _Search) -> _Best:
    """Solves exactly over the values within a margin of the bound; a choice that costs no more than this is the best.

    The margin is where there are few values for each variable, more after every success and fewer after a failure.
    """
    best, values, prices, before = _Best(messages=dual(network)), VALUES, np.zeros(len(rows)), -math.inf
    anchors = _lightest(network, rows, search)
    if anchors is None:
        best.bound = math.inf
        return best
    best.improve(network, integer.incumbent(network, rows, anchors), -math.inf)
    for _ in range(MOST):
        best.messages.ascend(ROUNDS)
        low, top = best.messages.bound, min(best.cost, search.ceiling)
        reach = min(low + _margin(best.messages.above, values), top)
        kept = _with(_within(best.messages, reach), [*anchors, best.choice])
        found = _small(elimination.restrict(network, kept), _restricted(rows, kept), reach >= top, search)
        values *= 0.7 if found is None else 1.5
        if found is not None:
            best.improve(network, _full(found[0], kept), min(reach, found[1]))
            prices = _reprice(best.messages, rows, prices, found[2])
        top, gain, before = min(best.cost, search.ceiling), low - before, low
        stalled = not rows and gain <= STALLED * (top - low if top < math.inf else abs(low))
        if _proven(top, best.bound, rows) or stalled or time.monotonic() > search.until:
            break
    best.messages.ascend(1)
    return best


def _lightest(network: Network, rows: Limits, search: _Search) -> list[list[int]] | None:
    """Choices that use least of each row and of all together; None if some row is out of reach."""
    found = []
    for some in [*((row,) for row in rows), rows] if len(rows) > 1 else [rows] * len(rows):
        free = priced(network, some, [1.0] * len(some), free=True)
        choice, bound, _ = _reduced(free, (), replace(search, ceiling=math.inf))
        least = bound if choice is None else min(bound, elimination.evaluate(free, choice))
        if least > sum(limit / unit(limit) for _, limit in some) + 1e-9:
            return None
        found += [] if choice is None else [choice]
    return found


def _small(
    network: Network, rows: Limits, exact: bool, search: _Search
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
        choice, bound, _ = _by_elimination(small.network, small.limits, plan, search.until)
    prices = np.zeros(len(rows))
    for row, (_, limit), price in zip(small.rows, small.limits, charged, strict=True):
        prices[row] = price / unit(limit)
    return None if choice is None else small.restore(choice), bound, prices


def _reprice(messages: Dual, rows: Limits, old: np.ndarray, new: np.ndarray | None) -> np.ndarray:
    """Puts new prices for a unit of usage into the costs, if there are any."""
    if new is None or np.array_equal(old, new):
        return old
    costs: dict[int, np.ndarray] = {}
    for (usage, _), more in zip(rows, new - old, strict=True):
        for v, vector in usage.items():
            costs[v] = costs.get(v, 0.0) + more * vector
    messages.add(costs, -sum(more * limit for (_, limit), more in zip(rows, new - old, strict=True)))
    return new


def _within(messages: Dual, ceiling: float) -> list[np.ndarray]:
    """The values with which a choice can be as cheap as the ceiling."""
    reach = ceiling - messages.bound + 1e-9 * abs(ceiling) if ceiling < math.inf else math.inf
    return [np.flatnonzero(above <= reach) for above in messages.above]


def _margin(above: Sequence[np.ndarray], values: float) -> float:
    """Up to where there are so many values for a variable."""
    everything = np.sort(np.concatenate(above))
    return float(everything[min(int(values * len(above)), len(everything) - 1)])


def _with(kept: Sequence[np.ndarray], choices: Sequence[list[int] | None]) -> list[np.ndarray]:
    """The values kept and those of some choices."""
    columns = np.array([choice for choice in choices if choice is not None], int).reshape(-1, len(kept)).T
    return [np.union1d(values, more) for values, more in zip(kept, columns, strict=True)]


def _full(choice: list[int] | None, kept: Sequence[np.ndarray]) -> list[int] | None:
    """A choice among kept values as one among all."""
    return None if choice is None else [int(values[x]) for values, x in zip(kept, choice, strict=True)]


def _restricted(rows: Limits, kept: Sequence[np.ndarray]) -> Limits:
    """The rows over the values `kept[v]` only."""
    return [({v: vector[kept[v]] for v, vector in usage.items()}, limit) for usage, limit in rows]


def _rest(network: Network, rows: Limits, search: _Search) -> Found:
    """By elimination, if the tables can be held at all and no row binds; else by the integer program."""
    small = reduction.reduced(network, rows)
    if small is None:
        return None, math.inf, "elimination"
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=search.table_limit)
    if not small.limits and not plan.left and plan.work <= LATE_WORK:
        choice, bound, method = _by_elimination(small.network, (), plan, search.until)
    else:
        start = integer.incumbent(small.network, small.limits, [[0] * len(small.nodes)])
        ceiling = min(search.ceiling, math.inf if start is None else elimination.evaluate(small.network, start))
        choice, bound = integer.program(small.network, small.limits, ceiling=ceiling, until=search.until)
        choice, method = _better(small.network, start, choice), "integer program"
    return (None if choice is None else small.restore(choice)), bound, method


def _by_elimination(network: Network, rows: Limits, plan: Order, until: float) -> Found:
    """Exact if the rows do not bind; else by prices, and the program over what their bound leaves open."""
    best, bound, prices = _lagrangian(network, rows, plan, until)
    cost = math.inf if best is None else elimination.evaluate(network, best)
    if _proven(cost, bound, rows):
        return best, bound, "lagrangian" if prices.any() else "elimination"
    kept = _open(priced(network, rows, prices), plan, cost + charge(rows, prices))
    search = _Search(table_limit=0, until=until, ceiling=cost)
    better, proven, method = _rest(elimination.restrict(network, kept), _restricted(rows, kept), search)
    return _better(network, best, _full(better, kept)), max(bound, proven), method


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


def _proven(cost: float, bound: float, rows: Limits) -> bool:
    """Whether a bound is so near a cost that nothing need be done; prices cannot close the gap wholly."""
    return bound >= cost or bound >= cost - ENOUGH * abs(cost) * bool(rows)


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
