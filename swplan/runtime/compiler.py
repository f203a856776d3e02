"""Which XLA compiles here: the one place that asks for its version."""

from __future__ import annotations

import jaxlib

from swplan.passes.xla import XLA_0_10, XLA_0_12, Xla


def xla() -> Xla:
    """What the XLA of the installed jaxlib does."""
    return XLA_0_12 if jaxlib.version.__version_info__ >= (0, 12) else XLA_0_10
