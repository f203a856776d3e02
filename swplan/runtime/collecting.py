"""How often Python looks for garbage while a program is planned.

A traced program, its decisions and its device programs are millions of small objects that stay, in which there is
nothing to collect: at Python's own pace, walking them takes almost half of the time of planning. Not for the search,
whose arrays are freed when nothing refers to them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

BETWEEN = 100_000
"""New objects from one look for garbage to the next (Python's own choice: 700)."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Within it garbage is looked for seldom; not at all if that was so before."""
    often = gc.get_threshold()
    gc.set_threshold(max(often[0], BETWEEN) if often[0] else 0, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
