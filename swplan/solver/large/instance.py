"""A large problem as flat arrays: strategies of nodes, pairwise costs, and memory that strategies hold over intervals.

The input of `swplan.solver.large`. Row i of an instance is a node: its strategies have costs and usages, its interval
says when it holds what it uses. Nothing here chooses; costs and peaks of choices are computed as they are defined,
which makes this the judge of what the search finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FORBIDDEN = 1e17
"""Costs above this stand for "never" (the convention of the IOPDDL contest, doi:10.1145/3676642.3736399)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """What to choose: one strategy for each of n nodes.

    Integers below 2**53 stay exact. Several edges of one pair add up.

    Attributes:
      first: [n + 1] where the strategies of each node start in `costs` and `usages`.
      costs: [strategies] cost of each, infinite if forbidden.
      usages: [strategies] bytes held during the interval of the node.
      intervals: [n, 2] start and end, the end excluded.
      pairs: [m, 2] the nodes of each edge, which differ.
      at: [m + 1] where the matrix of each edge starts in `table`.
      table: [entries] costs of pairs, row-major over strategies of the first node, then of the second.
      limit: most bytes held at any time, infinite if there is no limit.
    """

    first: np.ndarray
    costs: np.ndarray
    usages: np.ndarray
    intervals: np.ndarray
    pairs: np.ndarray
    at: np.ndarray
    table: np.ndarray
    limit: float

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.first) - 1

    def cost(self, choice: Sequence[int]) -> float:
        """Sum of the chosen costs of nodes and edges; memory is not looked at."""
        chosen = np.asarray(choice)
        u, v = self.pairs.T
        entry = self.at[:-1] + chosen[u] * np.diff(self.first)[v] + chosen[v]
        return float(self.costs[self.first[:-1] + chosen].sum() + self.table[entry].sum())

    def profile(self, choice: Sequence[int]) -> np.ndarray:
        """[times] bytes held at each time."""
        return held(self.intervals, self.usages[self.first[:-1] + np.asarray(choice)])

    def fits(self, choice: Sequence[int]) -> bool:
        """Whether a choice stays within the limit at all times."""
        return bool(self.profile(choice).max(initial=0.0) <= self.limit)

    def least(self) -> np.ndarray:
        """[times] bytes held where every node takes its least usage among what is not forbidden."""
        usable = np.where(np.isfinite(self.costs), self.usages, np.inf)
        least = np.minimum.reduceat(usable, self.first[:-1]) if self.nodes else usable
        return held(self.intervals, np.where(np.isfinite(least), least, 0.0))


def held(intervals: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """[times] the sum of the amounts of the intervals that cover each time; empty intervals hold nothing."""
    times = int(intervals.max(initial=0))
    change = np.zeros(times + 1)
    some = intervals[:, 1] > intervals[:, 0]
    np.add.at(change, intervals[some, 0], amounts[some])
    np.add.at(change, intervals[some, 1], -amounts[some])
    return np.cumsum(change)[:times]


def starts(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """[n + 1] where each of n runs of these lengths starts, and where the last ends."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def spread(begin: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The positions of runs that begin at `begin` and have these lengths, one run after the other."""
    return np.repeat(begin - starts(lengths)[:-1], lengths) + np.arange(int(lengths.sum()))
