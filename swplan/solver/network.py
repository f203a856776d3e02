"""The problem as the solver works on it: a sum of tables of variables and of pairs of them, within limits.

For all of the package but `large`. Everything lies in flat arrays, which kernels (compiled.py) walk through; a network
with other costs or prices shares the tables of its pairs with the one that it was made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from swplan.solver.compiled import compiled
from swplan.solver.large.instance import starts


class Network(NamedTuple):
    """What each of n variables costs by its value, and each of m pairs of them by both, and a constant.

    Attributes:
      sizes: [n] how many values each variable has.
      first: [n + 1] where those of each start, in everything that has a number for each value.
      costs: [values].
      pairs: [m, 2] the variables of each pair, the lower one first; no pair twice.
      at: [m + 1] where the table of each pair starts: a row for each value of the first of its variables.
      tables: [entries].
      base: the constant.
    """

    sizes: np.ndarray
    first: np.ndarray
    costs: np.ndarray
    pairs: np.ndarray
    at: np.ndarray
    tables: np.ndarray
    base: float

    def of(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Of a number for each value, those of each variable."""
        return [numbers[low:high] for low, high in pairwise(self.first.tolist())]

    def edges(self) -> list[tuple[int, int, np.ndarray]]:
        """The pairs, each with its table."""
        sizes, between = self.sizes.tolist(), pairwise(self.at.tolist())
        return [
            (i, j, self.tables[low:high].reshape(sizes[i], sizes[j]))
            for (i, j), (low, high) in zip(self.pairs.tolist(), between, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What choices use of so many resources, and how much there is.

    Attributes:
      usage: [rows, values] what each value of each variable uses; zero where it uses nothing.
      limit: [rows].
    """

    usage: np.ndarray
    limit: np.ndarray

    def __len__(self) -> int:
        return len(self.limit)

    @property
    def units(self) -> np.ndarray:
        """What one is, in the units of each row."""
        return np.where(self.limit == 0.0, 1.0, np.abs(self.limit))

    def only(self, rows: Sequence[int]) -> Limits:
        """Some of them."""
        return Limits(usage=self.usage[list(rows)], limit=self.limit[list(rows)])


def flat(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Numbers of all parts, one after the other."""
    return np.concatenate([np.zeros(0), *(np.ravel(part) for part in parts)])


def network_of(costs: Sequence[np.ndarray], edges: Iterable[tuple[int, int, np.ndarray]]) -> Network:
    """A sum of costs and of matrices of pairs; those of one pair add up, a diagonal adds to the costs."""
    own, pairs = list(costs), {}
    for i, j, matrix in edges:
        if i == j:
            own[i] = own[i] + np.diagonal(matrix)
            continue
        key, table = ((i, j), matrix) if i < j else ((j, i), matrix.T)
        pairs[key] = pairs[key] + table if key in pairs else table
    sizes = np.array([len(cost) for cost in own], np.int64)
    return Network(
        sizes=sizes,
        first=starts(sizes),
        costs=flat(own),
        pairs=np.array(list(pairs), np.int64).reshape(-1, 2),
        at=starts([table.size for table in pairs.values()]),
        tables=flat(pairs.values()),
        base=0.0,
    )


def restrict(network: Network, rows: Limits, kept: Sequence[np.ndarray]) -> tuple[Network, Limits]:
    """The problem with only the values `kept[v]` of each variable, renumbered."""
    sizes = np.array([len(values) for values in kept], np.int64)
    first, values = starts(sizes), np.concatenate([np.zeros(0, np.int64), *kept])
    positions = values + np.repeat(network.first[:-1], sizes)
    at = starts(sizes[network.pairs].prod(axis=1))
    tables = np.empty(int(at[-1]))
    _some_of(network, first, values, at, tables)
    left = network._replace(sizes=sizes, first=first, costs=network.costs[positions], at=at, tables=tables)
    return left, Limits(usage=rows.usage[:, positions], limit=rows.limit)


@compiled
def _some_of(network, first, values, at, tables):
    """Fills in the tables of the pairs with some values only."""
    for pair in range(len(network.pairs)):
        i, j, to = network.pairs[pair, 0], network.pairs[pair, 1], at[pair]
        for x in values[first[i] : first[i + 1]]:
            row = network.at[pair] + x * network.sizes[j]
            for y in values[first[j] : first[j + 1]]:
                tables[to] = network.tables[row + y]
                to += 1


def evaluate(network: Network, choice: Sequence[int]) -> float:
    """What a choice costs, rows not looked at."""
    values = np.asarray(choice, np.int64)
    return math.fsum([network.base, *_costs_of(network, values).tolist(), *_pairs_of(network, values).tolist()])


def changes(network: Network, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how much the costs of every variable, and of every pair, rise from one choice to another."""
    costs = _costs_of(network, after) - _costs_of(network, before)
    return costs, _pairs_of(network, after) - _pairs_of(network, before)


def _costs_of(network: Network, choice: np.ndarray) -> np.ndarray:
    return network.costs[network.first[:-1] + choice]


def _pairs_of(network: Network, choice: np.ndarray) -> np.ndarray:
    rows, columns = network.pairs.T
    return network.tables[network.at[:-1] + choice[rows] * network.sizes[columns] + choice[columns]]


def used(network: Network, rows: Limits, choice: Sequence[int]) -> np.ndarray:
    """What a choice uses of each resource."""
    picked = rows.usage[:, network.first[:-1] + np.asarray(choice, np.int64)]
    return np.array([math.fsum(line) for line in picked.tolist()])


def fits(network: Network, rows: Limits, choice: Sequence[int]) -> bool:
    """Whether a choice stays within all limits."""
    return bool((used(network, rows, choice) <= rows.limit).all())
