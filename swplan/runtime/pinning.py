"""What a user writes in a step to hold the planner: `pin` says how a value lies on the devices, `keep` that it is kept.

Both are identities that survive tracing as primitives of their own, through derivatives (cotangents are free), vmap,
loops, jit and checkpoint. Without swplan they do nothing. The reader takes them out of the program (`ir/pins.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec

from swplan.errors import PinError
from swplan.ir.pin import Spec
from swplan.ir.pins import spec_of

_OPEN = PartitionSpec.UNCONSTRAINED


def pin(x: Any, spec: Any) -> Any:
    """`x` itself; a plan splits it as `spec` says.

    Args:
      x: an array, or a pytree of arrays.
      spec: for each dim the name of a mesh axis, a tuple of names, None (not split) or `...` (left open; also
        `PartitionSpec.UNCONSTRAINED`); dims at the end that are left out are not split. A `PartitionSpec` will do. For
        a pytree, a pytree of the same structure, or one spec for all its arrays. Names are yours: equal names mean
        the same mesh axes everywhere, different names different ones; the planner chooses which.

    Raises:
      PinError: the spec does not fit the array.
    """
    if jax.tree.structure(x) == jax.tree.structure(0) or _is_spec(spec):
        return jax.tree.map(lambda leaf: _PIN.bind(leaf, spec=checked_spec(spec, leaf)), x)
    return jax.tree.map(lambda leaf, one: _PIN.bind(leaf, spec=checked_spec(one, leaf)), x, _flattened(x, spec))


def keep(x: Any) -> Any:
    """`x` itself; a plan keeps it for the backward pass and never computes it again.

    Args:
      x: an array, or a pytree of arrays.
    """
    return jax.tree.map(_KEEP.bind, x)


def checked_spec(spec: Any, leaf: Any, label: str = "swplan.pin") -> Spec:
    """A spec with an entry for every dim of an array.

    Raises:
      PinError: it is none, has more entries than the array has dims, or uses a name twice.
    """
    shape = getattr(leaf, "shape", ())
    if not _is_spec(spec):
        raise PinError(f"{label}: {spec!r} is no spec: give one entry for each dim of {tuple(shape)}, {_ENTRIES}")
    if len(spec) > len(shape):
        raise PinError(f"{label}: the spec {spec!r} has {len(spec)} entries, the array has the shape {tuple(shape)}")
    whole = spec_of(spec, len(shape), _OPEN)
    names = [name for entry in whole if entry for name in entry]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PinError(f"{label}: the spec {spec!r} names {twice[0]!r} twice: a mesh axis splits one dim of a value")
    return whole


_ENTRIES = "each the name of an axis, a tuple of names, None (not split) or ... (left open)"


def _is_spec(x: Any) -> bool:
    return isinstance(x, (tuple, PartitionSpec)) and all(map(_is_entry, x))


def _is_entry(x: Any) -> bool:
    several = isinstance(x, tuple) and bool(x) and all(isinstance(name, str) for name in x)
    return x is None or x is ... or x is _OPEN or isinstance(x, str) or several


def _flattened(x: Any, spec: Any) -> Any:
    """Specs in the structure of the arrays that they are for."""
    try:
        found = jax.tree.leaves(spec, is_leaf=_is_spec)
        return jax.tree.unflatten(jax.tree.structure(x), found)
    except ValueError as error:
        raise PinError(f"swplan.pin: {len(found)} specs for a tree of {len(jax.tree.leaves(x))} arrays") from error


def _identity(name: str) -> Primitive:
    """A primitive that returns its operand; its cotangent is that of its result."""
    primitive = Primitive(name)
    primitive.def_impl(lambda x, **params: x)
    primitive.def_abstract_eval(lambda x, **params: x)
    ad.primitive_jvps[primitive] = lambda primals, tangents, **params: (primitive.bind(*primals, **params), tangents[0])
    ad.primitive_transposes[primitive] = lambda cotangent, x, **params: [cotangent]
    mlir.register_lowering(primitive, lambda ctx, x, **params: [x])
    return primitive


def _batched_pin(args: Sequence[Any], dims: Sequence[int], *, spec: Spec) -> tuple[Any, int]:
    """A pin under vmap leaves the new dim open."""
    (x,), (dim,) = args, dims
    return _PIN.bind(x, spec=(*spec[:dim], None, *spec[dim:])), dim


def _batched_keep(args: Sequence[Any], dims: Sequence[int], **params: Mapping) -> tuple[Any, int]:
    return _KEEP.bind(*args), dims[0]


_PIN, _KEEP = _identity("swplan_pin"), _identity("swplan_keep")
batching.primitive_batchers[_PIN] = _batched_pin
batching.primitive_batchers[_KEEP] = _batched_keep
