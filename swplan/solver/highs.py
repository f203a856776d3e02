"""Linear and integer programs for HiGHS: the one place that speaks its language.

`scipy.optimize` would do as well, and takes longer to import than to solve what is asked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import highspy
import numpy as np
from highspy._core import _Highs  # its public subclass prints a banner before output can be switched off

Solver = _Highs
TOLERANCE = 1e-9


@dataclass(slots=True)
class Program:
    """A program while it is being written: columns, and rows as lists of columns and coefficients."""

    cost: list[np.ndarray] = field(default_factory=list)
    columns: int = 0
    indices: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)

    def add_columns(self, cost: np.ndarray) -> np.ndarray:
        """Columns of these costs; a cost that is infinite forbids the column."""
        self.cost.append(cost)
        self.columns += len(cost)
        return np.arange(self.columns - len(cost), self.columns)

    def add_row(self, columns: np.ndarray, values: np.ndarray, lower: float, upper: float) -> None:
        """A row; no column twice."""
        self.indices.append(columns)
        self.values.append(values)
        self.lower.append(lower)
        self.upper.append(upper)


def solved(
    program: Program,
    *,
    integers: int = 0,
    within: Sequence[tuple[float, float]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Solver:
    """HiGHS after it has minimised a program.

    Args:
      program: the program.
      integers: so many of the first columns are whole.
      within: the least and the most of each column; 0 and 1 if absent.
      options: of HiGHS.
    """
    cost = np.concatenate(program.cost)
    bounds = np.array(within) if within is not None else np.tile([0.0, 1.0], (len(cost), 1))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = program.columns, len(program.lower)
    lp.col_cost_ = np.where(np.isfinite(cost), cost, 0.0)
    lp.col_lower_, lp.col_upper_ = bounds[:, 0], np.where(np.isfinite(cost), bounds[:, 1], 0.0)
    lp.row_lower_, lp.row_upper_ = np.array(program.lower), np.array(program.upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.cumsum([0, *map(len, program.indices)], dtype=np.int32)
    lp.a_matrix_.index_ = np.concatenate(program.indices).astype(np.int32)
    lp.a_matrix_.value_ = np.concatenate(program.values)
    if integers:
        kinds = highspy.HighsVarType
        lp.integrality_ = [kinds.kInteger] * integers + [kinds.kContinuous] * (program.columns - integers)
    solver = _Highs()
    for name, value in {"output_flag": False, "primal_feasibility_tolerance": TOLERANCE, **(options or {})}.items():
        solver.setOptionValue(name, value)
    solver.passModel(lp)
    solver.run()
    return solver


def values_of(solver: Solver) -> np.ndarray:
    """The value of each column; none if nothing was found."""
    return np.array(solver.getSolution().col_value)


def is_impossible(solver: Solver) -> bool:
    """Whether HiGHS proved that nothing satisfies the rows."""
    states = highspy.HighsModelStatus
    return solver.getModelStatus() in (states.kInfeasible, states.kUnboundedOrInfeasible)


def bound_of(solver: Solver) -> float:
    """What no solution of an integer program costs less than; and infinite where none was found."""
    return solver.getInfo().mip_dual_bound


def has_solution(solver: Solver) -> bool:
    """Whether a solution was found."""
    return math.isfinite(solver.getInfo().objective_function_value)
