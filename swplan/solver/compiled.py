"""How a kernel is declared: a loop over arrays that numba compiles once and keeps on disk.

For the solver. Kernels (https://numba.readthedocs.io) release the interpreter's lock, so that two of them run at once,
and are loops with few calls of numpy: those take most of the time of compiling. Only this package imports numba.

What is kept is found by a digest of all sources of the package: numba itself looks at the file of a kernel only, and
would go on to use one that calls another that has changed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path

import numba
from numba import njit


def compiled(kernel: Callable) -> Callable:
    """The kernel, compiled for the types of its arguments when it is first called with them."""
    with _kept():
        return njit(cache=True, nogil=True, no_cfunc_wrapper=True)(kernel)


def inner(kernel: Callable) -> Callable:
    """The same for a kernel that only other kernels call: a way in from Python would take as long to compile again."""
    with _kept():
        return njit(cache=True, nogil=True, no_cfunc_wrapper=True, no_cpython_wrapper=True)(kernel)


@contextmanager
def _kept() -> Iterator[None]:
    """Has numba keep what it compiles in our folder, unless the user named one."""
    named = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = named or str(_folder())
    try:
        yield
    finally:
        numba.config.CACHE_DIR = named


@cache
def _folder() -> Path:
    """Beside the sources, or, where they are read-only, in the temporary folder of this user."""
    here = Path(__file__).parent
    sources = (path.read_bytes() for path in sorted(here.rglob("*.py")))
    name = f"kernels-{sha256(b''.join(sources)).hexdigest()[:16]}"
    if os.access(here, os.W_OK):
        return here / "__pycache__" / name
    return Path(tempfile.gettempdir()) / f"swplan-{os.getuid()}" / name
