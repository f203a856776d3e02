"""How a kernel is declared: a loop over arrays that numba compiles once and keeps on disk.

For the solver. Kernels (https://numba.readthedocs.io) release the interpreter's lock, so that two of them run at once,
and are loops without calls of numpy: those take most of the time of compiling. Only this package imports numba.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import njit

compiled = njit(cache=True, nogil=True)


def compiled_for(signature: object) -> Callable:
    """The same for these types only, compiled when the module is imported: one kernel for all orders in memory."""
    return njit(signature, cache=True, nogil=True)
