"""How gather and scatter relate an operand, index vectors and windows; and how indices are shifted into a block.

A *window* is the slice of gather's result, or of scatter's updates, that one index vector places in the operand. For
indexing.py only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from swplan.ir.ops._definitions import Local, OpSpec

Names = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The dimension numbers of a gather or a scatter, under one set of names.

    Attributes:
      window_dims: dims of the result or updates that run within a window.
      collapsed: operand dims of which a window holds one element and has no dim.
      index_map: operand dim that each component of an index vector points into.
      batching: operand dims that go along with `index_batching`, dims of the indices.
    """

    window_dims: tuple[int, ...]
    collapsed: tuple[int, ...]
    index_map: tuple[int, ...]
    batching: tuple[int, ...]
    index_batching: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picking:
    """The dims of a gather or scatter by factor name.

    `i*` are index dims, `o*` operand dims that a window covers, `p*` operand dims of which it picks one element, `w*`
    dims of a window that covers a part (the operand's dim is None then).

    Attributes:
      operand: name of every operand dim.
      indices: name of every dim of the indices; the index vector is None.
      window: name of every dim of the result of a gather or the updates of a scatter.
      sizes: of every factor.
      picked: operand dims named `p*`.
    """

    operand: Names
    indices: Names
    window: Names
    sizes: dict[str, int]
    picked: tuple[int, ...]

    def named(self, prefix: str) -> tuple[str, ...]:
        """The factors with this prefix."""
        return tuple(name for name in self.sizes if name.startswith(prefix))


def picking(spec: OpSpec, numbers: Numbers, spans: Sequence[int], window: Sequence[int]) -> Picking:
    """Names the dims; `spans` is the size of a window in every operand dim, `window` the shape of all windows."""
    shape, index_shape = spec.operands[0].shape, spec.operands[1].shape
    index_names = [f"i{dim}" for dim in range(len(index_shape) - 1)]
    shown = [dim for dim in range(len(shape)) if dim not in (*numbers.collapsed, *numbers.batching)]
    window_names = dict(
        zip(sorted(numbers.window_dims), (_window_name(dim, shape, spans) for dim in shown), strict=True)
    )
    others = [dim for dim in range(len(window)) if dim not in window_names]
    window_names |= zip(others, index_names, strict=True)
    picked = tuple(dim for dim in numbers.index_map if spans[dim] == 1 < shape[dim])
    operand_names: dict[int, str] = {dim: f"o{dim}" for dim in shown if spans[dim] == shape[dim]}
    operand_names |= {dim: f"p{dim}" for dim in picked}
    operand_names |= {
        dim: index_names[index_dim] for dim, index_dim in zip(numbers.batching, numbers.index_batching, strict=True)
    }
    sizes = {window_names[dim]: size for dim, size in enumerate(window)}
    sizes |= {name: shape[dim] for dim, name in operand_names.items()}
    return Picking(
        operand=tuple(operand_names.get(dim) for dim in range(len(shape))),
        indices=(*index_names, None),
        window=tuple(window_names[dim] for dim in range(len(window))),
        sizes=sizes,
        picked=picked,
    )


def _window_name(dim: int, shape: Sequence[int], spans: Sequence[int]) -> str:
    return f"o{dim}" if spans[dim] == shape[dim] else f"w{dim}"


def vector(values: Sequence[Any], indices: Any) -> Any:
    """One value for each component, broadcast over all index vectors."""
    row = jnp.stack([jnp.asarray(value, indices.dtype) for value in values])
    return lax.broadcast_in_dim(row, indices.shape, (indices.ndim - 1,))


def inside(indices: Any, limits: Sequence[int]) -> Any:
    """For each index vector, whether 0 <= index <= limit in all components."""
    return jnp.all((indices >= 0) & (indices <= vector(limits, indices)), axis=-1)


def to_block(spec: OpSpec, local: Local, indices: Any, index_map: Sequence[int], limits: Sequence[int]) -> Any:
    """Index vectors counted from the start of this device's block of the operand.

    Where the mode is to clip they are clipped to `limits`, of the whole operand, first.
    """
    if spec.params["mode"] == lax.GatherScatterMode.CLIP:
        indices = lax.clamp(vector([0] * len(limits), indices), indices, vector(limits, indices))
    whole, block = spec.operands[0].shape, local.operands[0]
    starts = [local.part(f"p{dim}") * block[dim] if whole[dim] != block[dim] else 0 for dim in index_map]
    return indices - vector(starts, indices)


def widened(indices: Any) -> Any:
    """Indices in a dtype that holds every index of a dim, negative ones too."""
    return indices if indices.dtype.itemsize >= 4 else lax.convert_element_type(indices, "int32")
