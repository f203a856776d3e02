"""Names that are imported when first used, so that `import swplan` costs no import of JAX."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from swplan._collecting import seldom_collected


def lazy_names(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that finds names in other modules.

    Args:
      module: the module that offers the names.
      homes: name -> the module that defines it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value = getattr(_module(homes[name]), name)
        setattr(sys.modules[module], name, value)
        return value

    return find


def lazy_function(home: str, name: str) -> Callable[..., Any]:
    """A function that imports the module of the real one when it is first called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        real = getattr(_module(home), name)
        functools.update_wrapper(call, real)
        return real(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"See `{home}.{name}`."
    return call


@seldom_collected()
def _module(name: str) -> ModuleType:
    """A module; what it imports makes many objects and no garbage."""
    return importlib.import_module(name)
