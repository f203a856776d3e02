"""The program of one device: local ops, and every exchange with other devices explicit.

This is what runs under `jax.shard_map`, what prices, memory and the list of collectives are read from, and what the
compiled program is compared with. It is made by `passes/partition.py` from a Graph and decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from msgspec import Struct

from swplan.ir.graph import Aval, Op
from swplan.ir.layout import Layout, Step
from swplan.ir.strategy import Strategy

COLLECTIVES = ("all_reduce", "reduce_scatter", "all_gather", "all_to_all")


class DeviceValue(Struct, frozen=True, gc=False):
    """What one device holds of a value: local `aval`, the `layout` it is in, and the global value it is part of."""

    aval: Aval
    layout: Layout
    origin: int
    role: str


class Compute(Struct, frozen=True, gc=False):
    """An op on local operands; `after` is a local value that must be there before it runs."""

    op: Op
    strategy: Strategy
    operands: tuple[int, ...]
    results: tuple[int, ...]
    after: int | None = None


class Move(Struct, frozen=True, gc=False):
    """A step of a resharding: a collective, or a local slice or mask. `reader` is the op for which it is done.

    `again`: the backward pass repeats what the forward pass did, so that nothing is held between them.
    """

    step: Step
    operands: tuple[int, ...]
    results: tuple[int, ...]
    reader: str
    source: str
    stage: str
    again: bool = False

    @property
    def is_collective(self) -> bool:
        """Whether devices exchange anything."""
        return self.step.kind in COLLECTIVES


@dataclass(frozen=True, slots=True)
class DeviceRegion:
    """A straight line of device ops; it may read values of enclosing regions."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ops: tuple[DeviceOp, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A scan, while or cond with local bodies; operands and regions are as in `graph.Op`."""

    op: Op
    operands: tuple[int, ...]
    results: tuple[int, ...]
    regions: tuple[DeviceRegion, ...]


DeviceOp = Compute | Move | Loop


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProgram:
    """The program of one device.

    Attributes:
      values: every local value, by number.
      top: the whole step.
      constants: local value -> the concrete array it holds (whole).
      sizes: sizes of the mesh axes.
      aliases: output position -> input position in whose buffer it is returned.
    """

    values: tuple[DeviceValue, ...]
    top: DeviceRegion
    constants: Mapping[int, Any]
    sizes: tuple[int, ...]
    aliases: Mapping[int, int]

    def buffer_bytes(self, move: Move) -> int:
        """Bytes of the larger of a move's local input and output."""
        return max(self.values[v].aval.bytes for v in (*move.operands, *move.results))

    def degree(self, axes: tuple[int, ...]) -> int:
        """How many devices take part in an exchange over these axes."""
        return prod(self.sizes[axis] for axis in axes)


def walk_device(region: DeviceRegion, trips: int = 1) -> Iterator[tuple[DeviceOp, int]]:
    """Every op of a device region and of the regions inside it, with how often it runs."""
    for op in region.ops:
        yield op, trips
        if isinstance(op, Loop):
            for body in op.regions:
                yield from walk_device(body, trips * (op.op.trips or 1))
