"""swplan: plans how an ordinary JAX training step runs on many devices, prices it, shows why, and runs it."""

from swplan import errors
from swplan._lazy import lazy_function, lazy_names
from swplan.estimate.result import Estimate
from swplan.plan import Plan

__version__ = "0.1.0"

_HOME = {
    "auto": "swplan.api",
    "verify": "swplan.api",
    "explain": "swplan.runtime.explaining",
    "AutoStep": "swplan.api",
    "Cluster": "swplan.costmodel",
    "Strategy": "swplan.estimate.strategy",
    "Checkpointer": "swplan.runtime.checkpoint",
    "Conformance": "swplan.runtime.conformance",
    "keep": "swplan.runtime.pinning",
    "pin": "swplan.runtime.pinning",
    "value_and_grad": "swplan.runtime.loss_scaling",
    "register_rule": "swplan.ir.ops",
    "Rule": "swplan.ir.rule",
    "make_rule": "swplan.ir.rule",
    "whole_rule": "swplan.ir.rule",
}

# The modules `swplan.plan` and `swplan.estimate` hold values, the names are verbs: so the modules are imported first.
plan = lazy_function("swplan.api", "plan")
estimate = lazy_function("swplan.runtime.estimating", "estimate")
__getattr__ = lazy_names(__name__, _HOME)
__all__ = ["Estimate", "Plan", "errors", "estimate", "plan", *sorted(_HOME)]


def __dir__() -> list[str]:
    return __all__
