"""Programs named on the command line: `models.moe:moda(model='1.93T', nodes=6000)` is imported and called.

The part in parentheses is parsed, never evaluated: keyword and positional literals only. Whatever goes wrong in the
user's module is reported with its message and its line, as a mistake of the command line.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swplan.errors import SwplanError, UsageError

FORM = "write MODULE:FUNCTION, or MODULE:FUNCTION(name=literal, ...), for example models.mlp:tiny(batch=32)"

_LIBRARIES = tuple({*sysconfig.get_paths().values(), str(Path(__file__).resolve().parents[1])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function that makes a step and its arguments, and what it is to be called with.

    Attributes:
      text: as it was written.
      function: returns (step, args).
      positional, named: its arguments.
    """

    text: str
    function: Callable[..., Any]
    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def takes(self, name: str) -> bool:
        """Whether the function has a keyword argument of this name, or takes any."""
        return name in self.keywords() or (self.is_open() and name.isidentifier())

    def keywords(self) -> tuple[str, ...]:
        """Names of its keyword arguments."""
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return tuple(p.name for p in _parameters(self.function) if p.kind in named)

    def is_open(self) -> bool:
        """Whether it takes keyword arguments that it does not name."""
        return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in _parameters(self.function))

    def make(self, changes: Mapping[str, Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The step and its arguments, with some keyword arguments changed.

        Raises:
          UsageError: the function fails, or returns something else.
        """
        named = {**self.named, **changes}
        try:
            inspect.signature(self.function).bind(*self.positional, **named)
        except TypeError as error:
            raise UsageError(f"{self.text}: {error}; it takes {', '.join(self.keywords()) or 'nothing'}") from None
        except ValueError:  # A builtin without a signature: calling it will tell.
            pass
        made = _guarded(lambda: self.function(*self.positional, **named), f"{self.text} failed")
        if not (isinstance(made, tuple) and len(made) == 2 and callable(made[0]) and isinstance(made[1], tuple | list)):
            raise UsageError(f"{self.text} must return (step, args), a function and a tuple; it returned {_kind(made)}")
        return made[0], tuple(made[1])


def load(text: str) -> Program:
    """Imports what the text names, from the current directory too, as `python -m` would.

    Raises:
      UsageError: the text has another form, there is no such module or function, or importing it fails.
    """
    module, colon, call = text.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"{text!r} names no program; {FORM}")
    name, positional, named = parse_call(call, text)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    loaded = _import(module)
    function = loaded
    for part in name.split("."):
        function = _member(function, part, f"{module}:{name}")
    if not callable(function):
        raise UsageError(f"{module}:{name} is {_kind(function)}, not a function that returns (step, args)")
    return Program(text=text, function=function, positional=positional, named=named)


def parse_call(call: str, text: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Name, positional and keyword literals of `name` or `name(...)`; nothing is evaluated.

    Raises:
      UsageError: it is neither, or an argument is no literal.
    """
    try:
        tree: ast.expr = ast.parse(call.strip(), mode="eval").body
        function = tree.func if isinstance(tree, ast.Call) else tree
        name = _dotted(function)
        positional = tuple(ast.literal_eval(arg) for arg in getattr(tree, "args", ()))
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in getattr(tree, "keywords", ())}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise UsageError(
            f"{text!r} cannot be read ({_first_line(error)}); arguments must be literals: {FORM}"
        ) from None
    if None in named:
        raise UsageError(f"{text!r} cannot be read (** is not a literal); {FORM}")
    return name, positional, named


def place_of(error: BaseException) -> str:
    """`file:line (function)` of the user's program where an exception arose; "" if in no file of theirs."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((*_LIBRARIES, "<")) and "site-packages" not in frame.filename:
            return f"{frame.filename}:{frame.lineno} ({frame.name})"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return ""


def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    try:
        return tuple(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    raise ValueError("no name of a function")


def _import(module: str) -> Any:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise UsageError(f"there is no module {module.partition('.')[0]!r}, neither installed nor in {os.getcwd()}")
    return _guarded(lambda: importlib.import_module(module), f"cannot import {module}")


def _guarded(call: Callable[[], Any], what: str) -> Any:
    """What the user's code returns; an exception of it becomes a UsageError, the cause kept."""
    try:
        return call()
    except SwplanError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what}: {type(error).__name__}: {error}") from error


def _member(owner: Any, name: str, where: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        public = [each for each in dir(owner) if not each.startswith("_") and callable(getattr(owner, each, None))]
        near = difflib.get_close_matches(name, public, 5, 0.4) or public[:8]
        raise UsageError(f"there is no {where}; near: {', '.join(near) or 'nothing'}") from None


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list) else "")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
