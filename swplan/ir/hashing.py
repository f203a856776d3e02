"""Params of an equation as something hashable, so that equal equations are found equal."""

from __future__ import annotations

from typing import Any

import numpy as np


def params_key(params: Any) -> Any:
    """Params as something hashable; objects without a value of their own count by identity."""
    return tuple((name, _hashable(params[name])) for name in sorted(params))


def _hashable(x: Any) -> Any:
    try:
        hash(x)
    except TypeError:
        return repr(x) if isinstance(x, (list, dict, np.ndarray)) else id(x)
    return (type(x).__name__, x)
