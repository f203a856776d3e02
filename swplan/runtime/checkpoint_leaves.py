"""The leaves of a checkpointed state: what they are, whether they fit, and whether they are as written.

Used by `checkpoint` only. Any tree is saved as arrays by name plus an index of its leaves, so that typed keys and
Python numbers come back as what they were, and a state that does not fit is refused by the name of the leaf.
TensorStore does not notice altered array data (5 of 5 flipped bits came back as other numbers): the index holds a
checksum of every leaf, which does not depend on how the leaf is split.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from swplan.errors import CheckpointError

FORMAT = 1
SHOWN = 5
PYTHON = (bool, int, float, str)
ARRAYS = (jax.Array, np.ndarray, np.generic)


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """A saved leaf. `kind` is "array", "key" (of the PRNG `impl`) or "python" (then `value` is all there is)."""

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    impl: str = ""
    value: bool | int | float | str | None = None
    checksum: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether there is an array for it: not for Python values, nor where there are no elements."""
        return self.kind != "python" and math.prod(self.shape) > 0


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """All leaves of a saved state, in order; `checksum` is of their JSON."""

    format: int
    leaves: tuple[Leaf, ...]
    checksum: int


def named_leaves(state: Any) -> tuple[dict[str, Any], Any]:
    """The leaves of a tree by name, in order, and the tree."""
    pairs, tree = jax.tree_util.tree_flatten_with_path(state)
    named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in pairs}
    if len(named) != len(pairs):
        raise CheckpointError("two leaves of the state have the same name once keys are joined by '/': rename one")
    return named, tree


def describe(named: Mapping[str, Any]) -> tuple[dict, dict[str, Any]]:
    """The index of a state, as JSON, and the arrays to be stored, by name.

    Raises:
      CheckpointError: a leaf is neither array nor Python value.
    """
    for name, leaf in named.items():
        if not isinstance(leaf, PYTHON + ARRAYS):
            kind = type(leaf).__name__
            raise CheckpointError(f"the leaf {name!r} is of type {kind}: a checkpoint holds arrays and Python numbers")
    arrays = {name: _data(leaf) for name, leaf in named.items() if isinstance(leaf, ARRAYS)}
    sums = dict(zip(arrays, checksums(arrays.values()), strict=True))
    leaves = [_leaf(name, leaf, sums.get(name, 0)) for name, leaf in named.items()]
    stored = {leaf.name: arrays[leaf.name] for leaf in leaves if leaf.is_stored}
    rows = msgspec.to_builtins(leaves)
    # Orbax refuses an item without arrays.
    return {"format": FORMAT, "leaves": rows, "checksum": _crc(rows)}, stored or {"empty": np.zeros(1, np.uint8)}


def _leaf(name: str, leaf: Any, checksum: int) -> Leaf:
    if _is_python(leaf):
        return Leaf(name=name, kind="python", value=leaf)
    impl = str(jax.random.key_impl(leaf)) if _is_key(leaf) else ""
    kind = "key" if impl else "array"
    return Leaf(name=name, kind=kind, impl=impl, shape=tuple(leaf.shape), dtype=str(leaf.dtype), checksum=checksum)


def _is_python(leaf: Any) -> bool:
    """A Python value; a `numpy.float64` is a `float` too, but counts as an array."""
    return isinstance(leaf, PYTHON) and not isinstance(leaf, np.generic)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else np.asarray(leaf) if isinstance(leaf, np.generic) else leaf


def _crc(rows: list) -> int:
    return zlib.crc32(json.dumps(rows, sort_keys=True).encode())


def checksums(arrays: Iterable[Any]) -> list[int]:
    """For each array the sum of its elements' bits, modulo 2**32: it sees any one altered bit, and no sharding."""
    local = np.array([_local_sum(array) for array in arrays], np.uint32)
    if jax.process_count() > 1:
        local = multihost_utils.process_allgather(local).sum(axis=0, dtype=np.uint32)
    return local.tolist()


def _local_sum(array: Any) -> int:
    """What this process contributes: each part of an array counts in one process only."""
    if isinstance(array, jax.Array):
        blocks = [np.asarray(shard.data) for shard in array.addressable_shards if shard.replica_id == 0]
    else:
        blocks = [array] if jax.process_index() == 0 else []
    words = [np.ascontiguousarray(block).reshape(-1).view(f"u{min(block.itemsize, 4)}") for block in blocks]
    return sum(int(word.sum(dtype=np.uint32)) for word in words) % 2**32


def read_index(content: Any, where: str) -> tuple[Leaf, ...]:
    """The leaves in an index.

    Raises:
      CheckpointError: it is not an index, or not as written.
    """
    try:
        index = msgspec.convert(content, Index)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{where} is not one that swplan wrote, or it is damaged: {error}") from error
    if index.format != FORMAT:
        raise CheckpointError(f"{where} has format {index.format}; this swplan reads format {FORMAT}")
    if index.checksum != _crc(content["leaves"]):
        raise CheckpointError(f"{where} is damaged: its index is not as it was written. Restore another step.")
    return index.leaves


def check_fit(saved: Sequence[Leaf], named: Mapping[str, Any], where: str) -> None:
    """Checks that a checkpoint has the leaves that are wanted.

    Raises:
      CheckpointError: names the leaves, with what was saved and what is wanted.
    """
    names = {leaf.name for leaf in saved}
    lacking = [name for name in named if name not in names]
    unwanted = [leaf.name for leaf in saved if leaf.name not in named]
    pairs = [(leaf, named[leaf.name]) for leaf in saved if leaf.name in named]
    other = [
        f"{leaf.name}: saved {_text(leaf)}, wanted {_text(wanted)}"
        for leaf, wanted in pairs
        if not _agrees(leaf, wanted)
    ]
    found = {"not in the checkpoint": lacking, "only in the checkpoint": unwanted, "different": other}
    lines = [f"  {what}: {_shortened(rows)}" for what, rows in found.items() if rows]
    if lines:
        raise CheckpointError("\n".join([f"{where} does not fit the state that is wanted:", *lines]))


def _shortened(rows: Sequence[str]) -> str:
    more = f"; and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return "; ".join(rows[:SHOWN]) + more


def _agrees(leaf: Leaf, wanted: Any) -> bool:
    """Whether a saved leaf is what is wanted; a Python number and an array without dims stand for each other."""
    if _is_python(wanted):
        is_number = leaf.kind == "array" and not leaf.shape and not isinstance(wanted, str)
        return type(leaf.value) is type(wanted) or is_number
    if not hasattr(wanted, "dtype"):
        return False
    if leaf.kind == "python":
        return not wanted.shape and not _is_key(wanted) and not isinstance(leaf.value, str)
    return (leaf.shape, leaf.dtype) == (tuple(wanted.shape), str(wanted.dtype))


def _text(leaf: Any) -> str:
    if isinstance(leaf, Leaf) and leaf.kind == "python":
        leaf = leaf.value
    if not hasattr(leaf, "dtype"):
        return f"{type(leaf).__name__} {leaf!r}"
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"


def sharding_of(wanted: Any) -> Sharding | None:
    """Where a leaf is wanted; None where it does not matter."""
    return getattr(wanted, "sharding", None) if getattr(wanted, "committed", True) else None


def target(leaf: Leaf, wanted: Any, sharding: Sharding | None) -> Any:
    """What Orbax is to read a stored leaf into."""
    shape, dtype = leaf.shape, leaf.dtype
    if leaf.kind == "key":
        data = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(wanted.shape, wanted.dtype))
        shape, dtype = data.shape, data.dtype
    if sharding is None:
        return np.broadcast_to(np.zeros((), jnp.dtype(dtype)), shape)
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=sharding)


def check_data(saved: Sequence[Leaf], arrays: Mapping[str, Any], where: str) -> None:
    """Checks that arrays are as they were written.

    Raises:
      CheckpointError: names the leaves that are not.
    """
    stored = [leaf for leaf in saved if leaf.is_stored]
    found = checksums(arrays[leaf.name] for leaf in stored)
    damaged = [leaf.name for leaf, checksum in zip(stored, found, strict=True) if leaf.checksum != checksum]
    if damaged:
        raise CheckpointError(f"{where} is damaged: not as written are {_shortened(damaged)}. Restore another step.")


def finish(
    saved: Sequence[Leaf], arrays: Mapping[str, Any], named: Mapping[str, Any], shardings: Mapping[str, Sharding | None]
) -> list[Any]:
    """The restored leaves in the order of `named`."""
    by_name = {leaf.name: leaf for leaf in saved}
    return [_finished(by_name[name], arrays.get(name), named[name], shardings[name]) for name in named]


def _finished(leaf: Leaf, data: Any, wanted: Any, sharding: Sharding | None) -> Any:
    if _is_python(wanted):
        return leaf.value if leaf.kind == "python" else type(wanted)(data.item())
    if leaf.kind == "python":
        data = np.asarray(leaf.value, wanted.dtype)
    elif data is None:
        data = np.zeros(leaf.shape, jnp.dtype(leaf.dtype))
    if leaf.kind == "key":
        data = jax.random.wrap_key_data(jnp.asarray(data), impl=leaf.impl)
    if sharding is not None:
        return jax.device_put(data, sharding)
    return data if isinstance(wanted, (np.ndarray, np.generic)) else jnp.asarray(data)
