"""Where in the user's program an equation comes from: file and line, layer, and forward, backward or optimizer."""

from __future__ import annotations

import re
import sysconfig
from functools import lru_cache
from typing import Any

_LIBRARY = tuple({sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], sysconfig.get_paths()["stdlib"]})


@lru_cache(maxsize=65536)
def _is_library(file_name: str) -> bool:
    outside = file_name.startswith(_LIBRARY) or file_name.startswith("<") or "/site-packages/" in file_name
    return outside or file_name.endswith("/swplan/runtime/pinning.py")


@lru_cache(maxsize=65536)
def _summarize(traceback: Any) -> str:
    for frame in traceback.frames:
        if not _is_library(frame.file_name):
            return f"{frame.file_name}:{frame.line_num} ({frame.function_name})"
    return ""


def source_line(eqn: Any) -> str:
    """`file:line (function)` of the innermost frame outside of installed libraries; "" if there is none."""
    traceback = eqn.source_info.traceback
    return _summarize(traceback) if traceback is not None else ""


@lru_cache(maxsize=65536)
def _text(name_stack: Any) -> str:
    """A stack of scopes and transforms in JAX's own words; equal ones are asked for often."""
    return str(name_stack)


def layer_of(eqn: Any, outer: str) -> str:
    """The module that an equation belongs to ("Llama/layer_0/mlp"), by its named scopes; in a loop or call of `outer`.

    Flax names the scopes of its modules; elsewhere they are those of `jax.named_scope`.
    """
    return _path(outer, _text(eqn.source_info.name_stack))


@lru_cache(maxsize=65536)
def _path(outer: str, name_stack: str) -> str:
    parts = outer.split("/") if outer else []
    for part in name_stack.split("/"):
        if part == _AGAIN and parts and parts[-1] == "checkpoint":
            parts.pop()
        parts.append(_TRANSFORM.sub("", part).strip("()"))
    return "/".join(_once([part for part in parts if part not in ("", _AGAIN) and not _EINSUM.fullmatch(part)]))


def _once(parts: list[str]) -> list[str]:
    """Without what comes twice in a row: JAX tells where a differentiated function is, and then once more."""
    for size in range(len(parts) // 2, 0, -1):
        for first in range(len(parts) - 2 * size + 1):
            if parts[first : first + size] == parts[first + size : first + 2 * size]:
                return _once(parts[:first] + parts[first + size :])
    return parts


_AGAIN = "rematted_computation"
_TRANSFORM = re.compile(r"\b(jvp|transpose|vmap|jit|pjit|shard_map|custom_jvp|custom_vjp)\(")
_EINSUM = re.compile(r"[A-Za-z.]*(,[A-Za-z.]*)*(->[A-Za-z.]*)|[A-Za-z.]*(,[A-Za-z.]*)+")


def stage_of(eqn: Any, follows_gradient: bool) -> str:
    """Backward for transposed equations, optimizer for what is computed from gradients, else forward."""
    if "transpose(" in _text(eqn.source_info.name_stack):
        return "backward"
    return "optimizer" if follows_gradient else "forward"


def is_recomputed(eqn: Any) -> bool:
    """Whether an equation of the backward pass computes a value of the forward pass once more."""
    name = _text(eqn.source_info.name_stack)
    return "rematted_computation" in name and "transpose(" not in name.rpartition("rematted_computation")[2]
