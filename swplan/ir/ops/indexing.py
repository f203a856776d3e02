"""Ops that read or write a part of a value: slices, gather, scatter.

A dim that is read or written over its full range is a parallel factor. A dim of which single elements are picked can
be split too: every device looks for them in its own block. Work: the traffic of what is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
from jax import lax

from swplan.ir.ops._definitions import Local, OpSpec, define
from swplan.ir.ops._dims import corresponding, dim_names, is_number, numeric
from swplan.ir.ops._picking import Numbers, inside, picking, to_block, widened
from swplan.ir.rule import WHOLE, Rule, WorkKind, make_rule

_PICK = WorkKind(per_point=0.0, traffic="result")


def _cut_dims(whole: Sequence[int], part: Sequence[int]) -> list[int]:
    return [dim for dim, (full, size) in enumerate(zip(whole, part, strict=True)) if full != size]


def _slice_params(spec: OpSpec, local: Local) -> dict[str, Any]:
    cut = _cut_dims(spec.operands[0].shape, spec.results[0].shape)
    limits = spec.params["limit_indices"]
    local_limits = [limits[dim] if dim in cut else size for dim, size in enumerate(local.operands[0])]
    return {**spec.params, "limit_indices": tuple(local_limits)}


@define("slice", localize=_slice_params)
def static_slice(spec: OpSpec) -> Rule:
    """Dims that are not cut are parallel."""
    cut = _cut_dims(spec.operands[0].shape, spec.results[0].shape)
    return corresponding(spec, whole=cut, linear=((0,),), work=_PICK)


def _dynamic_slice_params(spec: OpSpec, local: Local) -> dict[str, Any]:
    return {**spec.params, "slice_sizes": local.results[0]}


@define("dynamic_slice", localize=_dynamic_slice_params)
def dynamic_slice(spec: OpSpec) -> Rule:
    """Dims that are not cut are parallel: their start index is clamped to 0."""
    cut = _cut_dims(spec.operands[0].shape, spec.results[0].shape)
    return corresponding(spec, whole=cut, linear=((0,),), work=_PICK)


@define("dynamic_update_slice")
def dynamic_update_slice(spec: OpSpec) -> Rule:
    """Dims that the update covers are parallel."""
    cut = _cut_dims(spec.operands[0].shape, spec.operands[1].shape)
    return corresponding(spec, whole=cut, linear=((0, 1),), work=_PICK)


def _gather_numbers(spec: OpSpec) -> Numbers:
    numbers = spec.params["dimension_numbers"]
    return Numbers(
        window_dims=tuple(numbers.offset_dims),
        collapsed=tuple(numbers.collapsed_slice_dims),
        index_map=tuple(numbers.start_index_map),
        batching=tuple(numbers.operand_batching_dims),
        index_batching=tuple(numbers.start_indices_batching_dims),
    )


def _lower_gather(spec: OpSpec, local: Local, operands: Sequence[Any]) -> list[Any]:
    slices = tuple(
        block if size == full else size
        for size, full, block in zip(spec.params["slice_sizes"], spec.operands[0].shape, local.operands[0], strict=True)
    )
    params = {**spec.params, "slice_sizes": slices}
    if _picks_from_block(spec, local, _gather_numbers(spec), spec.params["slice_sizes"]):
        return [_gather_block(spec, local, operands, params)]
    return [lax.gather_p.bind(*operands, **params)]


def _picks_from_block(spec: OpSpec, local: Local, numbers: Numbers, spans: Sequence[int]) -> bool:
    """Whether this device holds only a block of a dim of which single elements are picked."""
    whole, block = spec.operands[0].shape, local.operands[0]
    return any(spans[dim] == 1 and whole[dim] != block[dim] for dim in numbers.index_map)


def _gather_block(spec: OpSpec, local: Local, operands: Sequence[Any], params: dict[str, Any]) -> Any:
    """What this device adds to a gather from an operand of which it holds a block: 0 for all that lies elsewhere.

    What the mode fills in for an invalid index is added by the first device.
    """
    numbers, indices = _gather_numbers(spec), widened(operands[1])
    limits = [spec.operands[0].shape[dim] - spec.params["slice_sizes"][dim] for dim in numbers.index_map]
    own_limits = [local.operands[0][dim] - params["slice_sizes"][dim] for dim in numbers.index_map]
    shifted = to_block(spec, local, indices, numbers.index_map, limits)
    clipped = params | {"mode": lax.GatherScatterMode.CLIP, "fill_value": None, "indices_are_sorted": False}
    found = lax.gather_p.bind(operands[0], shifted, **clipped)
    dims = [dim for dim in range(found.ndim) if dim not in numbers.window_dims]

    def choose(condition: Any, yes: Any, no: Any) -> Any:
        return lax.select(lax.broadcast_in_dim(condition, found.shape, dims), yes, no)

    own, absent = inside(shifted, own_limits), lax.full_like(found, 0)
    if spec.params["mode"] != lax.GatherScatterMode.FILL_OR_DROP:
        return choose(own, found, absent)
    valid = inside(indices, limits)
    is_first = jnp.asarray(sum(local.part(f"p{dim}") for dim in numbers.index_map) == 0)
    filled = lax.full_like(found, spec.params["fill_value"])
    filled = lax.select(lax.broadcast(is_first, found.shape), filled, absent)
    return choose(valid, choose(own, found, absent), filled)


@define("gather", lower=_lower_gather)
def gather(spec: OpSpec) -> Rule:
    """Batch and index dims are parallel, so are dims that the slices cover; a picked dim is a sum over its blocks."""
    dims = picking(spec, _gather_numbers(spec), spec.params["slice_sizes"], spec.results[0].shape)
    kinds = dict.fromkeys(dims.named("w"), WHOLE)
    kinds |= dict.fromkeys(dims.named("p"), "sum" if _can_shift(spec) else WHOLE)
    fills = spec.params["mode"] == lax.GatherScatterMode.FILL_OR_DROP and spec.params["fill_value"] != 0
    return make_rule(
        [dims.operand, dims.indices],
        [dims.window],
        dims.sizes,
        kinds=kinds,
        linear=() if fills else numeric(spec, ((0,),)),
        work=_PICK,
        fusible=True,
    )


def _can_shift(spec: OpSpec) -> bool:
    """Whether picks from blocks can be told apart and joined: numbers, and indices that may become negative."""
    return is_number(spec.operands[0]) and spec.operands[1].dtype not in ("uint32", "uint64")


def _scatter_numbers(spec: OpSpec) -> Numbers:
    numbers = spec.params["dimension_numbers"]
    return Numbers(
        window_dims=tuple(numbers.update_window_dims),
        collapsed=tuple(numbers.inserted_window_dims),
        index_map=tuple(numbers.scatter_dims_to_operand_dims),
        batching=tuple(numbers.operand_batching_dims),
        index_batching=tuple(numbers.scatter_indices_batching_dims),
    )


def _scatter_spans(spec: OpSpec, numbers: Numbers) -> tuple[int, ...]:
    """Size of an update window in every dim of the operand."""
    windows = iter(sorted(numbers.window_dims))
    hidden = (*numbers.collapsed, *numbers.batching)
    updates = spec.operands[2].shape
    return tuple(1 if dim in hidden else updates[next(windows)] for dim in range(len(spec.operands[0].shape)))


def _summed_indices(numbers: Numbers, names: Sequence[str]) -> tuple[str, ...]:
    """Index dims along which the windows are scattered into the same operand."""
    batching = {f"i{dim}" for dim in numbers.index_batching}
    return tuple(name for name in names if name not in batching)


def _lower_scatter(spec: OpSpec, local: Local, operands: Sequence[Any]) -> list[Any]:
    base, indices, updates = operands
    numbers = _scatter_numbers(spec)
    spans = _scatter_spans(spec, numbers)
    params = dict(spec.params)
    if _SCATTER_JOIN.get(spec.primitive) == "sum":
        base = _only_first(local, _summed_indices(numbers, dim_names("i", len(spec.operands[1].shape) - 1)), base)
    if _picks_from_block(spec, local, numbers, spans):
        limits = [spec.operands[0].shape[dim] - spans[dim] for dim in numbers.index_map]
        indices = to_block(spec, local, widened(indices), numbers.index_map, limits)
        params |= {"mode": lax.GatherScatterMode.FILL_OR_DROP, "indices_are_sorted": False}
    return [_SCATTERS[spec.primitive].bind(base, indices, updates, **params)]


def _only_first(local: Local, names: Sequence[str], base: Any) -> Any:
    """The operand on the first device along these factors, zeros on the others: it must be counted once."""
    place = sum(local.part(name) for name in names)
    if isinstance(place, int) and place == 0:
        return base
    return lax.select(lax.broadcast(jnp.asarray(place == 0), base.shape), base, lax.full_like(base, 0))


_SCATTERS = {
    "scatter": lax.scatter_p,
    "scatter-add": lax.scatter_add_p,
    "scatter-max": lax.scatter_max_p,
    "scatter-min": lax.scatter_min_p,
    "scatter-mul": lax.scatter_mul_p,
    "scatter-sub": lax.scatter_sub_p,
}
_SCATTER_JOIN = {"scatter-add": "sum", "scatter-sub": "sum", "scatter-max": "max", "scatter-min": "min"}


@define(*_SCATTERS, lower=_lower_scatter)
def scatter(spec: OpSpec) -> Rule:
    """Batch dims, and dims that the updates cover, are parallel.

    A picked dim is parallel too: every device applies the updates that fall into its block. Index dims are a
    reduction where the updates are joined by one.
    """
    numbers = _scatter_numbers(spec)
    spans = _scatter_spans(spec, numbers)
    dims = picking(spec, numbers, spans, spec.operands[2].shape)
    join = _SCATTER_JOIN.get(spec.primitive, WHOLE) if is_number(spec.operands[0]) else WHOLE
    kinds = dict.fromkeys(dims.named("w"), WHOLE) | dict.fromkeys(_summed_indices(numbers, dims.named("i")), join)
    kinds |= {} if _can_shift(spec) else dict.fromkeys(dims.named("p"), WHOLE)
    updates = prod(spec.operands[2].shape) / max(1, prod(dims.sizes.values()))
    return make_rule(
        [dims.operand, dims.indices, dims.window],
        [dims.operand],
        dims.sizes,
        kinds=kinds,
        linear=((0, 2),) if join == "sum" else (),
        work=WorkKind(per_point=updates),
    )
