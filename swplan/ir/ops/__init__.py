"""One rule for every primitive, a family a file; importing this package fills `DEFINITIONS`."""

from swplan.ir.ops import (
    contractions,
    elementwise,
    indexing,
    linalg,
    random,
    reductions,
    shapes,
    sorting,
    windows,
)
from swplan.ir.ops._definitions import (
    DEFINITIONS,
    Definition,
    Local,
    OpSpec,
    bind_local,
    define,
    register_rule,
    rule_of,
)

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Local",
    "OpSpec",
    "bind_local",
    "contractions",
    "define",
    "elementwise",
    "indexing",
    "linalg",
    "random",
    "reductions",
    "register_rule",
    "rule_of",
    "shapes",
    "sorting",
    "windows",
]
