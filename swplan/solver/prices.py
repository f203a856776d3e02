"""Prices for what limits restrict: bounds on the minimum within them, and choices near it.

For bounds.py. A price on usage moves a limit into the costs; the best of all prices bounds what any choice within the
limits costs.

Sources: A. Geoffrion, Lagrangean relaxation for integer programming, Mathematical Programming Study 2 (1974),
doi:10.1007/BFb0120690; J. Kelley, The cutting-plane method for solving convex programs, J. SIAM 8 (1960),
doi:10.1137/0108053.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from swplan.solver.elimination import minimise
from swplan.solver.highs import Program, solved, values_of
from swplan.solver.layout import Steps
from swplan.solver.network import Limits, Network, evaluate, fits, used

EVALUATIONS = 80
BISECTIONS = 10
BOX = 1e4  # the highest price, in units of the range of costs met


def priced(network: Network, rows: Limits, prices: Sequence[float]) -> Network:
    """The network with usage at `prices[r]` seconds for a whole limit."""
    costs = network.costs
    for usage, unit, price in zip(rows.usage, rows.units, prices, strict=True):
        costs = costs + price / unit * usage
    return network._replace(costs=costs)


def free(network: Network) -> Network:
    """The network with no other costs than infinite ones."""
    costs, tables = (np.where(np.isfinite(some), 0.0, np.inf) for some in (network.costs, network.tables))
    return network._replace(costs=costs, tables=tables, base=0.0)


def charge(rows: Limits, prices: Sequence[float]) -> float:
    """What a choice pays in a priced network that uses every limit in full."""
    return sum((np.asarray(prices) * rows.limit / rows.units).tolist())


def best_prices(
    network: Network, rows: Limits, steps: Steps, choices: Sequence[list[int]], until: float
) -> tuple[list[list[int]], float, np.ndarray]:
    """All choices met, the best bound, its prices: Kelley's method on the concave dual, each step by elimination."""
    met, bound, best = list(choices), -math.inf, np.zeros(len(rows))
    points = [line(network, rows, choice) for choice in met]
    for _ in range(EVALUATIONS):
        prices, ceiling = highest(points)
        choice, least = minimise(priced(network, rows, prices), steps)
        value = least - charge(rows, prices)
        if value > bound:
            bound, best = value, prices
        if ceiling - bound <= 1e-9 * abs(ceiling) or choice in met or time.monotonic() > until:
            break
        met.append(choice)
        points.append(line(network, rows, choice))
    return met, bound, best


def dearer(network: Network, rows: Limits, steps: Steps, prices: np.ndarray) -> list[list[int]]:
    """Best choices at a little more than the given prices: by bisection, down to where a choice just fits."""
    low, high, found = 0.0, 1.0, []
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        choice, _ = minimise(priced(network, rows, (1 + middle) * prices), steps)
        low, high = (low, middle) if fits(network, rows, choice) else (middle, high)
        found.append(choice)
    return found


def line(network: Network, rows: Limits, choice: Sequence[int]) -> np.ndarray:
    """The cost of a choice, and for each row by how much it exceeds the limit, in units of the limit.

    At prices p of whole limits no bound is above cost + p @ excess.
    """
    excess = (used(network, rows, choice) - rows.limit) / rows.units
    return np.array([evaluate(network, choice), *excess])


def highest(points: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """The prices at which the least of the lines cost + prices @ excess is highest, and that height."""
    table = np.array(points)
    scale = float(np.ptp(table[:, 0])) or abs(float(table[0, 0])) or 1.0
    lines = np.hstack([-table[:, 1:], np.ones((len(table), 1))])
    heights = (table[:, 0] - table[0, 0]) / scale
    program = Program()
    columns = program.add_columns(np.append(np.zeros(table.shape[1] - 1), -1.0))
    for values, height in zip(lines, heights, strict=True):
        program.add_row(columns, values, -math.inf, height)
    box = [(0.0, BOX)] * (table.shape[1] - 1) + [(-math.inf, math.inf)]
    found = values_of(solved(program, within=box))
    return found[:-1] * scale, float(found[-1] * scale + table[0, 0])
