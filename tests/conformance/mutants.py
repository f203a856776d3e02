"""Wrong rewrites, planted one at a time: what the comparison with the unplanned program must notice.

Each replaces one name of swplan by something that a hurried change could have made of it, and that runs without an
error: the shapes stay right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax

from swplan.ir import reader
from swplan.ir.layout import REPLICATED, SUM, local_shape
from swplan.passes import partition
from swplan.runtime import execute

STEPS = dict(execute._STEPS)
FETCH = partition._Partitioner.fetch
OP_LAYOUTS = partition.op_layouts
INTERPRETER = execute._Interpreter


@dataclass(frozen=True, slots=True)
class Mutant:
    """`replacement` in place of `owner.name`, or of the entry `name` of the dict `owner`."""

    label: str
    owner: Any
    name: str
    replacement: Any

    def plant(self, monkeypatch: Any) -> None:
        """Puts it in for one test."""
        put = monkeypatch.setitem if isinstance(self.owner, dict) else monkeypatch.setattr
        put(self.owner, self.name, self.replacement)


MUTANTS: list[Mutant] = []


def mutant(label: str, owner: Any, name: str) -> Callable[[Any], Any]:
    """Registers the decorated replacement."""

    def register(replacement: Any) -> Any:
        MUTANTS.append(Mutant(label, owner, name, replacement))
        return replacement

    return register


@mutant("a sum is left out", execute._STEPS, "all_reduce")
def _no_sum(step, x, names, sizes):
    return x


@mutant("a maximum instead of a sum", execute._STEPS, "all_reduce")
def _maximum(step, x, names, sizes):
    return lax.pmax(x, names)


@mutant("a sum over the last axis only", execute._STEPS, "all_reduce")
def _fewer_axes(step, x, names, sizes):
    return STEPS["all_reduce"](step, x, names[-1:], sizes[-1:])


@mutant("two axes gathered in the wrong order", execute._STEPS, "all_gather")
def _swapped_axes(step, x, names, sizes):
    return lax.all_gather(x, names[::-1], axis=step.dim, tiled=True)


@mutant("gathered blocks begin with the second", execute._STEPS, "all_gather")
def _rolled(step, x, names, sizes):
    return jnp.roll(STEPS["all_gather"](step, x, names, sizes), -x.shape[step.dim], step.dim)


@mutant("gathered element by element instead of block by block", execute._STEPS, "all_gather")
def _interleaved(step, x, names, sizes):
    whole = STEPS["all_gather"](step, x, names, sizes)
    return lax.all_gather(x, names, axis=step.dim + 1).reshape(whole.shape)


@mutant("a slice off by one", execute._STEPS, "slice")
def _off_by_one(step, x, names, sizes):
    extent = x.shape[step.dim] // sizes[0]
    return lax.dynamic_slice_in_dim(x, lax.axis_index(names[0]) * extent + 1, extent, step.dim)


@mutant("a reduce-scatter on another dim", execute._STEPS, "reduce_scatter")
def _other_dim(step, x, names, sizes):
    right = STEPS["reduce_scatter"](step, x, names, sizes)
    other = next((d for d in range(x.ndim) if d != step.dim and x.shape[d] % sizes[0] == 0), step.dim)
    return lax.psum_scatter(x, names, scatter_dimension=other, tiled=True).reshape(right.shape)


@mutant("an all-to-all with its dims swapped", execute._STEPS, "all_to_all")
def _swapped_dims(step, x, names, sizes):
    right = STEPS["all_to_all"](step, x, names, sizes)
    if x.shape[step.source_dim] % sizes[0]:
        return right
    return lax.all_to_all(x, names[0], step.source_dim, step.dim, tiled=True).reshape(right.shape)


@mutant("a value that waits for its sum is there on every device", execute._STEPS, "mask")
def _no_mask(step, x, names, sizes):
    return x


@mutant("counting and random numbers start anew on every device", INTERPRETER, "_offset")
def _no_offset(self, op, result, dim, shapes):
    return 0


@mutant("every device takes its block for the first one", INTERPRETER, "_part")
def _no_part(self, op, factor):
    return 0


@mutant("the minor axis of two counts as the major one", INTERPRETER, "_index")
def _minor_first(self, axes):
    index = 0
    for axis in reversed(axes):
        index = index * self.program.sizes[axis] + lax.axis_index(self.names[axis])
    return index


@mutant("another version of a value, of the same local shape", partition._Partitioner, "fetch")
def _other_version(self, value, layout, reader=None):
    shape = local_shape(self.graph.avals[value].shape, layout, self.sizes)
    versions = self.homes[value].versions
    fits = [local for other, local in versions.items() if other != layout and self.values[local].aval.shape == shape]
    return fits[0] if fits else FETCH(self, value, layout, reader)


@mutant("a carry is not summed before the next trip", partition._Partitioner, "fetch")
def _unreduced_carry(self, value, layout, reader=None):
    home = self.homes[value]
    waits = reader is not None and reader.kind in ("scan", "while") and SUM in home.base and SUM not in layout
    same = waits and tuple(REPLICATED if entry == SUM else entry for entry in home.base) == layout
    return home.versions[home.base] if same else FETCH(self, value, layout, reader)


@mutant("a sum over blocks counts as complete", partition, "op_layouts")
def _complete(rule, strategy):
    needed, left = OP_LAYOUTS(rule, strategy)
    return needed, tuple(map(_without_sums, left))


@mutant("what is added to a waiting value is added on every device", partition, "op_layouts")
def _added_everywhere(rule, strategy):
    needed, left = OP_LAYOUTS(rule, strategy)
    return (*needed[:1], *map(_without_sums, needed[1:])), left


def _without_sums(layout):
    return tuple(REPLICATED if entry == SUM else entry for entry in layout)


@mutant("equations that differ in their params alone become one", reader, "params_key")
def _params_ignored(params):
    return ()


@mutant("a reversed scan runs forward", INTERPRETER, "loop_scan")
def _forward(self, op, env, operands):
    (body,), carries = op.regions, op.op.carries

    def step(carry, slices):
        out = self.region(body, env, [*carry, *slices])
        return out[:carries], out[carries:]

    after, stacked = lax.scan(step, operands[:carries], operands[carries:], length=op.op.params["length"])
    return [*after, *stacked]
