"""Which XLA compiles here: the one place that asks for its version."""

from __future__ import annotations

import jaxlib

from swplan.passes.xla import XLA_0_10, XLA_0_11, Xla

_BARRIERS_HOLD = (0, 11, 1)  # seen in 0.11.1, 0.11.2 and 0.12.0.1, not in 0.10.2 and 0.11.0


def xla() -> Xla:
    """What the XLA of the installed jaxlib does."""
    return XLA_0_11 if jaxlib.version.__version_info__ >= _BARRIERS_HOLD else XLA_0_10
