"""The best choice of one strategy per decision, with a proof of how good it is.

For the search, which prices strategies and reshardings; nothing here knows what a strategy is. A problem is a graph:
every node has a finite domain with costs, every edge a matrix of costs of the pairs, and rows limit what the chosen
strategies use together (memory). Without rows it is solved by elimination; with rows that bind, by multipliers, then by
an integer program over what the multipliers leave open; by that alone where tables grow too large.

Sources: A. Geoffrion, Lagrangean relaxation for integer programming, Mathematical Programming Study 2 (1974),
doi:10.1007/BFb0120690; J. Kelley, The cutting-plane method for solving convex programs, J. SIAM 8 (1960),
doi:10.1137/0108053.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from swplan.search import elimination, integer, reduction
from swplan.search.dual import Dual, dual
from swplan.search.elimination import Network, Order

RAW_WORK = 10_000_000  # entries added without reductions first
CHEAP_WORK = 40_000_000  # entries added: about a tenth of a second; above, strategies are first thinned out
MARGINAL_ENTRIES = 20_000_000  # the largest sum that marginals may hold at once: 160 MB
VALUES, ROUNDS, STALLED = 2.0, 10, 1e-3
SMALL_WORK, SMALL_TABLE = 20_000_000, 1_000_000
EVALUATIONS = 80
BISECTIONS = 10
BOX = 1e4  # the largest multiplier, in units of the range of costs met
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


Found = tuple[list[int] | None, float, str]  # choice, bound (at or above the cost of the choice: it is best), method


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
    network, rows = _network(problem), tuple(row for row in problem.rows if row.usage and row.limit < math.inf)
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


def _reduced(network: Network, rows: Sequence[Row], search: _Search) -> Found:
    """What remains after reductions: by elimination if the tables are small, else by bounds."""
    small = reduction.reduced(network, _limits(rows))
    if small is None:
        return None, math.inf, "elimination"
    left = [Row(usage=used, limit=limit) for used, limit in small.limits]
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=search.table_limit)
    if plan.left or plan.work > CHEAP_WORK:
        choice, bound, method = _by_bounds(small.network, left, search)
    else:
        choice, bound, method = _by_elimination(small.network, left, plan, search.until)
    return (None if choice is None else small.restore(choice)), bound, method


def _by_bounds(network: Network, rows: Sequence[Row], search: _Search) -> Found:
    """Without rows first: by messages, and by the integer program over the values that they leave open."""
    guess = _guess(network, search)
    if rows and (guess.choice is None or not integer.fits(_limits(rows), guess.choice)):
        return _core(network, rows, search)
    top = min(guess.cost, search.ceiling)
    if guess.bound >= top:
        return guess.choice, guess.bound, "bounds"
    kept = _within(guess.messages, (top - guess.messages.bound) * (1 + 1e-9))
    choice, bound, method = _core(elimination.restrict(network, kept), _restricted(rows, kept), search)
    choice = _better(network, guess.choice, _full(choice, kept))
    return choice, max(guess.bound, min(bound, top)), method


@dataclass(frozen=True, slots=True, kw_only=True)
class _Guess:
    """What guessing the gap led to: a choice, a bound on all, and the messages."""

    choice: list[int] | None
    cost: float
    bound: float
    messages: Dual


def _guess(network: Network, search: _Search) -> _Guess:
    """Solves exactly over the values within a margin of the bound; a choice that costs no more than this is the best.

    The margin is where there are few values for each variable, more after every success and fewer after a failure.
    """
    messages, values = dual(network), VALUES
    choice, cost, bound, before = None, math.inf, -math.inf, -math.inf
    while True:
        messages.ascend(ROUNDS)
        top = min(cost, search.ceiling)
        margin = min(_margin(messages.above, values), (top - messages.bound) * (1 + 1e-9))
        kept = _within(messages, margin)
        solved, found = _small(elimination.restrict(network, kept))
        values *= 1.5 if solved else 0.7
        choice = _better(network, choice, _full(found, kept))
        cost = math.inf if choice is None else elimination.evaluate(network, choice)
        bound = max(bound, messages.bound + (margin if solved else 0.0))
        top, gain, before = min(cost, search.ceiling), messages.bound - before, messages.bound
        stalled = gain <= STALLED * (top - before if top < math.inf else abs(before))
        if bound >= top or stalled or time.monotonic() > search.until:
            return _Guess(choice=choice, cost=cost, bound=min(bound, cost), messages=messages)


def _within(messages: Dual, margin: float) -> list[np.ndarray]:
    """The values that are within a margin of the bound."""
    return [np.flatnonzero(above <= margin) for above in messages.above]


def _full(choice: list[int] | None, kept: Sequence[np.ndarray]) -> list[int] | None:
    """A choice among kept values as one among all."""
    return None if choice is None else [int(values[x]) for values, x in zip(kept, choice, strict=True)]


def _margin(above: Sequence[np.ndarray], values: float) -> float:
    """Up to where there are so many values for a variable."""
    everything = np.sort(np.concatenate(above))
    return float(everything[min(int(values * len(above)), len(everything) - 1)])


def _small(network: Network) -> tuple[bool, list[int] | None]:
    """Whether a network could be solved with little work, and its best choice."""
    small = reduction.reduced(network)
    if small is None:
        return True, None
    plan = elimination.order(small.network.sizes, small.network.scopes, table_limit=SMALL_TABLE)
    if plan.left or plan.work > SMALL_WORK:
        return False, None
    choice, _ = elimination.minimise(small.network, plan)
    return True, None if choice is None else small.restore(choice)


def _core(network: Network, rows: Sequence[Row], search: _Search) -> Found:
    """By the integer program."""
    start = integer.incumbent(network, _limits(rows), [[0] * len(network.sizes)])
    ceiling = math.inf if start is None else elimination.evaluate(network, start)
    choice, bound, method = _by_program(network, rows, ceiling=ceiling, until=search.until)
    return _better(network, start, choice), bound, method


def _restricted(rows: Sequence[Row], kept: Sequence[np.ndarray]) -> list[Row]:
    """The rows over the strategies `kept[node]` only."""
    return [replace(row, usage={v: vector[kept[v]] for v, vector in row.usage.items()}) for row in rows]


def _rest(network: Network, rows: Sequence[Row], ceiling: float, until: float) -> Found:
    """By the integer program, after reductions."""
    small = reduction.reduced(network, _limits(rows))
    if small is None:
        return None, math.inf, "elimination"
    left = [Row(usage=used, limit=limit) for used, limit in small.limits]
    choice, bound, method = _by_program(small.network, left, ceiling=ceiling, until=until)
    return (None if choice is None else small.restore(choice)), bound, method


def _by_program(network: Network, rows: Sequence[Row], *, ceiling: float, until: float) -> Found:
    """By HiGHS; if it exceeds a limit within its tolerance, once more with less, under the bound of the first."""
    limits = _limits(rows)
    choice, bound = integer.integer_program(network, limits, ceiling=ceiling, until=until)
    if choice is not None and not integer.fits(limits, choice):
        tighter = [(used, limit - 1e-7 * abs(limit)) for used, limit in limits]
        choice, _ = integer.integer_program(network, tighter, ceiling=ceiling, until=until)
    return choice, bound, "integer program"


def _limits(rows: Sequence[Row]) -> list[tuple[Mapping[int, np.ndarray], float]]:
    return [(row.usage, row.limit) for row in rows]


def _by_elimination(network: Network, rows: Sequence[Row], plan: Order, until: float) -> Found:
    """Exact if the rows do not bind; else multipliers, and the program over what their bound leaves open."""
    first, _ = elimination.minimise(network, plan)
    if first is None or integer.fits(_limits(rows), first):
        return first, math.inf, "elimination"
    lightest = [elimination.minimise(_priced(network, [row], [_unit(row)], free=True), plan)[0] for row in rows]
    if not all(integer.fits(_limits([row]), choice) for row, choice in zip(rows, lightest, strict=True)):
        return None, math.inf, "elimination"
    choices, bound, multipliers = _multipliers(network, rows, plan, [first, *lightest], until)
    choices += _dearer(network, rows, plan, multipliers) if len(rows) > 1 else []
    best = integer.incumbent(network, _limits(rows), choices)
    cost = math.inf if best is None else elimination.evaluate(network, best)
    if best is not None and cost - bound <= ENOUGH * abs(cost):
        return best, bound, "lagrangian"
    kept = _open(_priced(network, rows, multipliers), plan, cost + _charge(rows, multipliers))
    better, proven, method = _rest(elimination.restrict(network, kept), _restricted(rows, kept), cost, until)
    return _better(network, best, _full(better, kept)), max(bound, proven), method


def _better(network: Network, *choices: list[int] | None) -> list[int] | None:
    """The cheapest, the first of equals, or None if all are."""
    found = [choice for choice in choices if choice is not None]
    return min(found, key=lambda choice: elimination.evaluate(network, choice), default=None)


def _priced(network: Network, rows: Sequence[Row], multipliers: Sequence[float], free: bool = False) -> Network:
    """The network with usage at a price: `multipliers[r]` seconds for a whole limit; `free`: no other cost."""
    tables = [np.where(np.isfinite(table), 0.0, np.inf) for table in network.tables] if free else list(network.tables)
    slot = {scope[0]: position for position, scope in enumerate(network.scopes) if len(scope) == 1}
    for row, multiplier in zip(rows, multipliers, strict=True):
        price = multiplier / _unit(row)
        for node, vector in row.usage.items():
            tables[slot[node]] = tables[slot[node]] + price * vector
    return replace(network, tables=tuple(tables))


def _unit(row: Row) -> float:
    return abs(row.limit) or 1.0


def _charge(rows: Sequence[Row], multipliers: Sequence[float]) -> float:
    """What a choice pays in a priced network that uses every limit in full."""
    return sum(float(price) * row.limit / _unit(row) for row, price in zip(rows, multipliers, strict=True))


def _multipliers(
    network: Network, rows: Sequence[Row], plan: Order, choices: Sequence[list[int]], until: float
) -> tuple[list[list[int]], float, np.ndarray]:
    """All choices met, the best bound, its multipliers: Kelley's method on the concave dual."""
    met, bound, best = list(choices), -math.inf, np.zeros(len(rows))
    points = [_point(network, rows, choice) for choice in met]
    for _ in range(EVALUATIONS):
        multipliers, ceiling = _highest(points)
        choice, least = elimination.minimise(_priced(network, rows, multipliers), plan)
        value = least - _charge(rows, multipliers)
        if value > bound:
            bound, best = value, multipliers
        if ceiling - bound <= 1e-9 * abs(ceiling) or choice in met or time.monotonic() > until:
            break
        met.append(choice)
        points.append(_point(network, rows, choice))
    return met, bound, best


def _dearer(network: Network, rows: Sequence[Row], plan: Order, multipliers: np.ndarray) -> list[list[int]]:
    """Best choices at a little more than the given multipliers: by bisection, down to where a choice just fits."""
    low, high, found = 0.0, 1.0, []
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        choice, _ = elimination.minimise(_priced(network, rows, (1 + middle) * multipliers), plan)
        low, high = (low, middle) if integer.fits(_limits(rows), choice) else (middle, high)
        found.append(choice)
    return found


def _point(network: Network, rows: Sequence[Row], choice: Sequence[int]) -> np.ndarray:
    """The cost of a choice, and for each row by how much it exceeds the limit, in units of the limit."""
    excess = [(usage(row, choice) - row.limit) / _unit(row) for row in rows]
    return np.array([elimination.evaluate(network, choice), *excess])


def _highest(points: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The multipliers at which the least of the lines cost + multipliers @ excess is highest, and that height."""
    table = np.array(points)
    scale = float(np.ptp(table[:, 0])) or abs(float(table[0, 0])) or 1.0
    lines = np.hstack([-table[:, 1:], np.ones((len(table), 1))])
    heights = (table[:, 0] - table[0, 0]) / scale
    aim = np.append(np.zeros(table.shape[1] - 1), -1.0)
    box = [(0.0, BOX)] * (table.shape[1] - 1) + [(None, None)]
    found = linprog(aim, A_ub=lines, b_ub=heights, bounds=box).x
    return found[:-1] * scale, float(found[-1] * scale + table[0, 0])


def _open(priced: Network, plan: Order, ceiling: float) -> list[np.ndarray]:
    """The strategies with which the priced network can stay at or below `ceiling`: no other is in a better choice."""
    largest = max((math.prod(step.shape) * priced.sizes[step.variable] for step in plan.steps), default=0)
    if not math.isfinite(ceiling) or largest > MARGINAL_ENTRIES:
        return [np.arange(size) for size in priced.sizes]
    margin = ceiling + 1e-9 * abs(ceiling)
    return [np.flatnonzero(least <= margin) for least in elimination.marginals(priced, plan)]
