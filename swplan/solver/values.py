"""Choices over some of the values of each variable: `kept[v]` are the values of variable v that remain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def joined(kept: Sequence[np.ndarray], choices: Sequence[list[int] | None]) -> list[np.ndarray]:
    """The values kept and those of some choices."""
    columns = np.array([choice for choice in choices if choice is not None], int).reshape(-1, len(kept)).T
    return [np.union1d(values, more) for values, more in zip(kept, columns, strict=True)]


def full(choice: list[int] | None, kept: Sequence[np.ndarray]) -> list[int] | None:
    """A choice among kept values as one among all."""
    return None if choice is None else [int(values[x]) for values, x in zip(kept, choice, strict=True)]
