"""Runs a device program: binds its local ops and collectives one for one, inside `jax.shard_map`.

It decides nothing. What it binds is what was priced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import lax

from swplan.ir.device import Compute, DeviceProgram, DeviceRegion, Loop, Move
from swplan.ir.layout import Step
from swplan.ir.ops import Local, OpSpec, bind_local
from swplan.ir.strategy import result_layout
from swplan.passes.recompute import FENCE


def local_function(program: DeviceProgram, graph_avals: Sequence[Any], names: Sequence[str]) -> Callable[..., list]:
    """The step of one device: flat local inputs -> flat local outputs.

    Args:
      program: what to run.
      graph_avals: global shape and dtype of every global value (for specs of equations).
      names: names of the mesh axes, in the order of `program.sizes`.
    """
    return _Interpreter(program, graph_avals, tuple(names)).run


class _Interpreter:
    """Walks a device program once, while JAX traces it."""

    def __init__(self, program: DeviceProgram, graph_avals: Sequence[Any], names: tuple[str, ...]) -> None:
        self.program, self.avals, self.names = program, graph_avals, names

    def run(self, *inputs: Any) -> list[Any]:
        env = {
            v: array if self.program.values[v].aval.is_key else jnp.asarray(array)
            for v, array in self.program.constants.items()
        }
        return self.region(self.program.top, env, inputs)

    def region(self, region: DeviceRegion, outer: dict[int, Any], inputs: Sequence[Any]) -> list[Any]:
        env = dict(outer)
        env.update(zip(region.inputs, inputs, strict=True))
        for op in region.ops:
            operands = [env[v] for v in op.operands]
            if isinstance(op, Compute) and op.after is not None:
                operands = [fenced(operands[0], env[op.after])]
            env.update(zip(op.results, self.results(op, env, operands), strict=True))
        return [env[v] for v in region.outputs]

    def results(self, op: Any, env: dict[int, Any], operands: list[Any]) -> Sequence[Any]:
        if isinstance(op, Move):
            return [apply_move(op, operands[0], self.names, self.program.sizes)]
        if isinstance(op, Loop):
            return getattr(self, f"loop_{op.op.kind}")(op, env, operands)
        return self.compute(op, operands)

    def compute(self, op: Compute, operands: list[Any]) -> list[Any]:
        inner = op.op
        if inner.primitive == FENCE:
            return operands
        reads, writes = inner.whole or (
            tuple(self.avals[v] for v in inner.operands),
            tuple(self.avals[v] for v in inner.results),
        )
        spec = OpSpec(inner.primitive, inner.params, reads, writes)
        shapes = tuple(self.program.values[v].aval.shape for v in op.results)
        local = Local(
            operands=tuple(self.program.values[v].aval.shape for v in op.operands),
            results=shapes,
            offset=lambda result, dim: self._offset(op, result, dim, shapes),
            part=lambda factor: self._part(op, factor),
        )
        return bind_local(inner.handle, spec, local, operands)

    def _offset(self, op: Compute, result: int, dim: int, shapes: Sequence[tuple[int, ...]]) -> Any:
        layout = result_layout(op.op.rule, result, op.strategy)
        index = self._index([a for a, entry in enumerate(layout) if entry == dim])
        return index * shapes[result][dim]

    def _part(self, op: Compute, factor: str) -> Any:
        names = [f.name for f in op.op.rule.factors]
        return self._index([a for a, entry in enumerate(op.strategy) if entry >= 0 and names[entry] == factor])

    def _index(self, axes: Sequence[int]) -> Any:
        index: Any = 0
        for axis in axes:
            index = index * self.program.sizes[axis] + lax.axis_index(self.names[axis])
        return index

    def loop_scan(self, op: Loop, env: dict[int, Any], operands: list[Any]) -> Sequence[Any]:
        (body,), carries = op.regions, op.op.carries

        def step(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
            out = self.region(body, env, [*carry, *slices])
            return out[:carries], out[carries:]

        params = op.op.params
        carry, stacked = lax.scan(
            step, operands[:carries], operands[carries:], length=params["length"], reverse=params["reverse"]
        )
        return [*carry, *stacked]

    def loop_while(self, op: Loop, env: dict[int, Any], operands: list[Any]) -> Sequence[Any]:
        condition, body = op.regions
        return lax.while_loop(
            lambda carry: self.region(condition, env, carry)[0], lambda carry: self.region(body, env, carry), operands
        )

    def loop_cond(self, op: Loop, env: dict[int, Any], operands: list[Any]) -> Sequence[Any]:
        branches = [lambda body=body: self.region(body, env, []) for body in op.regions]
        return lax.switch(operands[0].astype(jnp.int32), branches)


def fenced(x: Any, after: Any) -> Any:
    """`x`, once `after` is there, such that no compiler finds it equal to `x`.

    XLA drops barriers before it merges equal instructions (in some versions), so this is a choice of which only we know
    how it ends: a count of at most one is less than two.
    """
    first = after.ravel()[0]
    count = (first != first).astype(jnp.int32)
    return jnp.where(count < 2, x, jnp.zeros_like(x))


def apply_move(move: Move, x: Any, names: Sequence[str], sizes: Sequence[int]) -> Any:
    """A move; one that is done again is done with one more dim, or XLA would find it equal to the first."""
    step = move.step
    if not (move.again and move.is_collective):
        return apply_step(step, x, names, sizes)
    if step.kind == "all_gather":
        parts = lax.all_gather(jnp.expand_dims(x, step.dim), _along(step, names), axis=step.dim, tiled=True)
        return lax.collapse(parts, step.dim, step.dim + 2)
    beside = replace(step, dim=step.dim + 1, source_dim=step.source_dim + 1)
    return jnp.squeeze(apply_step(beside, jnp.expand_dims(x, 0), names, sizes), 0)


def _along(step: Step, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[a] for a in step.axes)


def apply_step(step: Step, x: Any, names: Sequence[str], sizes: Sequence[int]) -> Any:
    """One step of a resharding on one device's part."""
    return _STEPS[step.kind](step, x, _along(step, names), [sizes[a] for a in step.axes])


def _slice(step: Step, x: Any, names: tuple[str, ...], sizes: list[int]) -> Any:
    """The own block.

    The barriers keep it apart from slices of the program: XLA merges two slices and forgets that each start is clamped
    (openxla/xla#49121).
    """
    extent = x.shape[step.dim] // sizes[0]
    start = lax.axis_index(names[0]) * extent
    return lax.optimization_barrier(lax.dynamic_slice_in_dim(lax.optimization_barrier(x), start, extent, step.dim))


def _mask(step: Step, x: Any, names: tuple[str, ...], sizes: list[int]) -> Any:
    return jnp.where(lax.axis_index(names[0]) == 0, x, jnp.zeros_like(x))


def _all_reduce(step: Step, x: Any, names: tuple[str, ...], sizes: list[int]) -> Any:
    return {"sum": lax.psum, "max": lax.pmax, "min": lax.pmin}[step.join](x, names)


def _all_gather(step: Step, x: Any, names: tuple[str, ...], sizes: list[int]) -> Any:
    return lax.all_gather(x, names, axis=step.dim, tiled=True)


def _reduce_scatter(step: Step, x: Any, names: tuple[str, ...], sizes: list[int]) -> Any:
    return lax.psum_scatter(x, names, scatter_dimension=step.dim, tiled=True)


def _all_to_all(step: Step, x: Any, names: tuple[str, ...], sizes: list[int]) -> Any:
    return lax.all_to_all(x, names[0], step.dim, step.source_dim, tiled=True)


_STEPS = {
    "slice": _slice,
    "mask": _mask,
    "all_reduce": _all_reduce,
    "all_gather": _all_gather,
    "reduce_scatter": _reduce_scatter,
    "all_to_all": _all_to_all,
}
