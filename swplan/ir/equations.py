"""What the reader takes from JAX equations: shapes, literals, the parts of a scan, params to compare."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from swplan.ir.graph import Aval


def params_key(params: Any) -> Any:
    """Params as something hashable; objects without a value of their own count by identity."""
    return tuple([(name, _hashable(params[name])) for name in sorted(params)])


def _hashable(x: Any) -> Any:
    try:
        hash(x)
    except TypeError:
        return repr(x) if isinstance(x, (list, dict, np.ndarray)) else id(x)
    return (type(x).__name__, x)


def literal(atom: Any) -> Any:
    """The value of a literal, with the dtype that the jaxpr gives it (Python scalars carry none)."""
    dtype = atom.aval.dtype
    return np.asarray(atom.val, dtype) if isinstance(dtype, np.dtype) else atom.val


def scan_parts(params: Any) -> tuple[int, int]:
    """How many operands of a scan are constants and how many carries; jax 0.12 keeps them in a tree."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carries, _ = params["ft_in"].unpack()
    return len(consts), len(carries)


def aval_of(x: Any) -> Aval:
    """Shape and dtype of an array, scalar or abstract value."""
    if not hasattr(x, "dtype"):
        x = np.asarray(x)
    return _aval(tuple(x.shape), x.dtype)


@lru_cache(maxsize=65536)
def _aval(shape: tuple[int, ...], dtype: Any) -> Aval:
    """One and the same for equal shapes and dtypes: they are compared often."""
    name = str(dtype)
    return Aval(shape, "float0" if "float0" in name else name)
