"""Ops of a few primitives for passes that add some: each traced once as JAX writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from msgspec import structs

from swplan.ir.graph import Aval, Op
from swplan.ir.ops import OpSpec, rule_of

SOURCE = "micro-batches"


class JaxMaker:
    """A `passes.microbatch.Maker`; equal ops share their rules."""

    def __init__(self) -> None:
        """Without any op yet."""
        self._known: dict[Any, Op] = {}

    def reshape(self, source: int, target: int, avals: Sequence[Aval]) -> Op:
        """Of one value into the shape of another."""
        shape = avals[target].shape
        return self._op("reshape", lambda x: lax.reshape(x, shape), (source,), target, avals)

    def transpose(self, source: int, target: int, avals: Sequence[Aval], permutation: tuple[int, ...]) -> Op:
        """Of dims."""
        return self._op(permutation, lambda x: lax.transpose(x, permutation), (source,), target, avals)

    def zero(self, dtype: str, avals: list[Aval], constants: dict[int, object]) -> int:
        """The constant of a dtype, added if it is not there."""
        for value, held in constants.items():
            if avals[value] == Aval((), dtype) and not held:
                return value
        avals.append(Aval((), dtype))
        constants[len(avals) - 1] = np.zeros((), jax.numpy.dtype(dtype))
        return len(avals) - 1

    def broadcast(self, source: int, target: int, avals: Sequence[Aval]) -> Op:
        """Of a scalar into the shape of another value."""
        shape = avals[target].shape
        return self._op("broadcast", lambda x: lax.broadcast_in_dim(x, shape, ()), (source,), target, avals)

    def add(self, left: int, right: int, target: int, avals: Sequence[Aval]) -> Op:
        """Of two values of one shape."""
        return self._op("add", lax.add, (left, right), target, avals)

    def cast(self, source: int, target: int, avals: Sequence[Aval]) -> Op:
        """Into the dtype of another value."""
        dtype = jax.numpy.dtype(avals[target].dtype)
        return self._op("cast", lambda x: lax.convert_element_type(x, dtype), (source,), target, avals)

    def _op(self, kind: Any, function: Callable, operands: tuple[int, ...], target: int, avals: Sequence[Aval]) -> Op:
        shapes = tuple(avals[v] for v in operands)
        key = (kind, shapes, avals[target])
        if key not in self._known:
            self._known[key] = _traced(function, shapes, avals[target])
        return structs.replace(self._known[key], operands=operands, results=(target,))


def _traced(function: Callable, operands: tuple[Aval, ...], result: Aval) -> Op:
    abstract = [jax.ShapeDtypeStruct(aval.shape, jax.numpy.dtype(aval.dtype)) for aval in operands]
    (eqn,) = jax.make_jaxpr(function)(*abstract).jaxpr.eqns
    rule = rule_of(OpSpec(eqn.primitive.name, eqn.params, operands, (result,)), SOURCE)
    return Op(eqn.primitive.name, (), (), eqn.params, eqn.primitive, rule, SOURCE)
