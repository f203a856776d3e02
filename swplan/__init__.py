"""swplan: plans how an ordinary JAX training step runs on many devices, prices it, shows why, and runs it."""

from swplan import errors
from swplan._lazy import lazy_function, lazy_names
from swplan.plan import Plan

__version__ = "0.1.0"

_HOME = {
    "auto": "swplan.api",
    "verify": "swplan.api",
    "AutoStep": "swplan.api",
    "Cluster": "swplan.costmodel",
    "Checkpointer": "swplan.runtime.checkpoint",
    "Conformance": "swplan.runtime.conformance",
    "value_and_grad": "swplan.runtime.loss_scaling",
    "register_rule": "swplan.ir.ops",
    "Rule": "swplan.ir.rule",
    "make_rule": "swplan.ir.rule",
    "whole_rule": "swplan.ir.rule",
}

# The module `swplan.plan` holds the value, the name `swplan.plan` is the verb: so the module is imported first.
plan = lazy_function("swplan.api", "plan")
__getattr__ = lazy_names(__name__, _HOME)
__all__ = ["Plan", "errors", "plan", *sorted(_HOME)]


def __dir__() -> list[str]:
    return __all__
