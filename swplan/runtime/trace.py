"""Traces a step and makes a Program of it: a Graph, with the trees of its arguments and results.

Nothing is allocated: arguments may be arrays or `jax.ShapeDtypeStruct`s. Roles and in-place outputs are found here,
from what the step returns in place of what it took.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from swplan.errors import SwplanError, TraceError
from swplan.ir.equations import aval_of
from swplan.ir.graph import Graph, Region
from swplan.ir.reader import Reader
from swplan.passes.dce import eliminate_dead
from swplan.passes.roles import assign_roles, settle_stages, state_positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Statics:
    """Which arguments of a step are static (hashable Python values), as for `jax.jit`."""

    argnums: tuple[int, ...] = ()
    argnames: tuple[str, ...] = ()

    def split(self, step: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple, dict, tuple]:
        """Dynamic positional arguments, dynamic keyword arguments, and the static rest (hashable)."""
        static_positions = self._positions(step, len(args))
        dynamic = tuple(a for i, a in enumerate(args) if i not in static_positions)
        named = {k: v for k, v in kwargs.items() if k not in self._names(step)}
        rest = tuple((i, args[i]) for i in sorted(static_positions)) + tuple(
            (k, v) for k, v in sorted(kwargs.items()) if k not in named
        )
        return dynamic, named, rest

    def _positions(self, step: Callable, count: int) -> set[int]:
        names = _parameter_names(step)
        listed = {i % count if i < 0 else i for i in self.argnums} if count else set()
        return {i for i in listed | {names.index(n) for n in self.argnames if n in names} if i < count}

    def _names(self, step: Callable) -> set[str]:
        names = _parameter_names(step)
        return set(self.argnames) | {names[i] for i in self.argnums if i < len(names)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A traced step.

    Attributes:
      graph: its Graph.
      in_tree: tree of (dynamic args, dynamic kwargs).
      out_tree: tree of what it returns.
      in_avals: shape and dtype of every flat input, as ShapeDtypeStructs.
      signature: a hashable description of shapes, dtypes and trees: equal signatures have equal plans.
    """

    graph: Graph
    in_tree: Any
    out_tree: Any
    in_avals: tuple[Any, ...]
    signature: Any


def signature_of(args: Any, kwargs: Any, statics: tuple) -> Any:
    """Trees, shapes and dtypes of arguments, and the static values, as one hashable value."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    return tree, tuple((getattr(x, "shape", ()), getattr(x, "dtype", type(x))) for x in leaves), statics


def trace(
    step: Callable,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    statics: Statics | None = None,
    donate: bool | None = None,
    aliases: Mapping[int, int] | None = None,
) -> Program:
    """Traces `step` on arrays or ShapeDtypeStructs.

    Args:
      step: the function to trace.
      args: its positional arguments.
      kwargs: its keyword arguments.
      statics: which arguments are static.
      donate: whether the argument that is returned updated is given up; None finds it out.
      aliases: flat output -> flat input that it replaces, where that is known already.

    Raises:
      TraceError: the step cannot be traced; the cause is kept.
      UnsupportedOpError: it uses a primitive without a rule.
    """
    statics = statics or Statics()
    dynamic, named, rest = statics.split(step, args, kwargs)
    closed, out_shapes = _jaxpr(step, args, kwargs, statics)
    reader = Reader()
    inputs = [reader.value(aval_of(var.aval)) for var in closed.jaxpr.invars]
    outputs = reader.read(closed.jaxpr, [reader.constant(c) for c in closed.consts], inputs)
    out_tree = jax.tree.structure(out_shapes)
    graph = Graph(
        avals=tuple(reader.avals),
        roles=dict.fromkeys(reader.recomputed, "activation"),
        top=Region(tuple(inputs), tuple(outputs), tuple(reader.scope.ops)),
        constants=reader.constants,
        aliases={},
        names=_input_names(step, dynamic, named, statics, len(args)),
        output_names=_paths("out", out_shapes),
        pins=tuple(reader.pins),
        kept=frozenset(reader.kept),
    )
    _check_count(step, len(jax.tree.leaves((dynamic, named))), len(inputs))
    graph = settle_stages(eliminate_dead(graph))
    found = _aliases(graph, (*dynamic, *named.values()), out_shapes, donate) if aliases is None else aliases
    graph = replace(graph, aliases=dict(found))
    in_tree = jax.tree.structure((dynamic, named))
    return Program(
        graph=assign_roles(graph),
        in_tree=in_tree,
        out_tree=out_tree,
        in_avals=tuple(jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in closed.jaxpr.invars),
        signature=signature_of(dynamic, named, rest),
    )


def _jaxpr(step: Callable, args: Sequence[Any], kwargs: Mapping[str, Any], statics: Statics) -> tuple[Any, Any]:
    jitted = step if hasattr(step, "trace") and statics == Statics() else None
    if jitted is None:
        jitted = jax.jit(_fresh(step), static_argnums=statics.argnums or None, static_argnames=statics.argnames or None)
    args, kwargs = jax.tree.map(_without_place, (tuple(args), dict(kwargs)))
    try:
        traced = jitted.trace(*args, **kwargs)
    except SwplanError:
        raise
    except Exception as error:
        raise TraceError(
            f"the step '{getattr(step, '__name__', step)}' could not be traced: {type(error).__name__}: {error}\n"
            "  A step must be traceable by jax.jit on these arguments; mark Python values with static_argnums or\n"
            "  static_argnames."
        ) from error
    return traced.jaxpr, traced.out_info


def _check_count(step: Callable, given: int, traced: int) -> None:
    if given != traced:
        raise TraceError(
            f"the step '{getattr(step, '__name__', step)}' was given {given} arrays and traced with {traced}:\n"
            "  a jitted function with static arguments needs them named here too: static_argnums or static_argnames"
        )


def _without_place(leaf: Any) -> Any:
    """Shape and dtype of an array, not where it lies, which JAX would otherwise make a part of the program."""
    if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=getattr(leaf, "weak_type", False))


def _fresh(step: Callable) -> Callable:
    """The same step as a new function: JAX would otherwise answer from its cache and not run it."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    try:
        return functools.update_wrapper(run, step, updated=())
    except TypeError:
        return run


def _parameter_names(step: Callable) -> list[str]:
    try:
        return list(inspect.signature(step).parameters)
    except (TypeError, ValueError):
        return []


def _input_names(step: Callable, args: tuple, kwargs: dict, statics: Statics, count: int) -> tuple[str, ...]:
    positions = [i for i in range(count) if i not in statics._positions(step, count)]
    names = _parameter_names(step)
    labels = [names[i] if i < len(names) else f"arg{i}" for i in positions]
    parts = [_paths(label, arg) for label, arg in zip(labels, args, strict=True)]
    parts += [_paths(label, kwargs[label]) for label in sorted(kwargs)]
    return tuple(name for part in parts for name in part)


def _paths(label: str, tree: Any) -> tuple[str, ...]:
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    keys = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in pairs)
    return tuple(f"{label}/{key}" if key else label for key in keys)


def _aliases(graph: Graph, arguments: Sequence[Any], out_shapes: Any, donate: bool | None) -> dict[int, int]:
    """Output position -> input position, for every argument that is returned updated in its own place.

    If it is said that one is given up, the first that can be is that, whatever is done to it.
    """
    found: dict[int, int] = {}
    for in_start, out_start, count in _matching_trees(arguments, out_shapes) if donate is not False else ():
        pairs = {out_start + i: in_start + i for i in range(count)}
        is_free = found.keys().isdisjoint(pairs) and set(found.values()).isdisjoint(pairs.values())
        if is_free and ((donate and not found) or state_positions(graph, pairs)):
            found |= pairs
    return found


def _matching_trees(arguments: Sequence[Any], out_shapes: Any) -> list[tuple[int, int, int]]:
    """(first input leaf, first output leaf, leaves) of every argument that has the tree and shapes of a result."""
    results = [out_shapes]
    if isinstance(out_shapes, (tuple, list)):
        results += list(out_shapes)
    found, in_start = [], 0
    for argument in arguments:
        out_start = 0
        for position, result in enumerate(results):
            if position == 1:
                out_start = 0
            if _same_shapes(argument, result):
                found.append((in_start, out_start, len(jax.tree.leaves(result))))
            out_start += len(jax.tree.leaves(result))
        in_start += len(jax.tree.leaves(argument))
    return found


def _same_shapes(a: Any, b: Any) -> bool:
    (left, left_tree), (right, right_tree) = jax.tree.flatten(a), jax.tree.flatten(b)
    return (
        bool(left)
        and left_tree == right_tree
        and all(aval_of(x) == aval_of(y) for x, y in zip(left, right, strict=True))
    )
