"""How often Python looks for garbage while what plans is imported, and while a program is planned.

A traced program, its decisions and its device programs are millions of small objects that refer to each other in one
direction: they go when nothing refers to them, and there is nothing to collect. At Python's own pace, walking them
takes almost half of the time of planning.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

PACE = (100_000, 10, 100)
"""New objects from one look at the youngest to the next, and how many looks make one at all that are older.

Python's own: 700, 10, 10."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Within it garbage is looked for seldom; not at all if that was so before."""
    before = gc.get_threshold()
    gc.set_threshold(*(map(max, before, PACE) if before[0] else before))
    try:
        yield
    finally:
        gc.set_threshold(*before)
