"""Device meshes: a mesh of named axes over the devices at hand, laid on them in the plan's order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from swplan.errors import PlanMismatchError
from swplan.ir.layout import Layout, spec


def device_mesh(
    sizes: Sequence[int], names: Sequence[str], order: Sequence[int], devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh over the first devices at hand.

    Args:
      sizes: of the axes.
      names: of the axes.
      order: axis positions, innermost first: the first one runs over neighbouring devices.
      devices: the devices to use; all of `jax.devices()` if absent.

    Raises:
      PlanMismatchError: there are fewer devices than the mesh has.
    """
    available = list(devices) if devices is not None else jax.devices()
    needed = prod(sizes)
    if len(available) < needed:
        raise PlanMismatchError(
            f"the plan needs {needed} devices ({' x '.join(map(str, sizes))}) and {len(available)} are at hand.\n"
            "  Emulate more: jax.config.update('jax_num_cpu_devices', n) before the first use of JAX; or plan for the\n"
            "  devices at hand; or use rehearse() to run the plan's decisions on fewer devices."
        )
    outermost_first = list(reversed(order))
    grid = np.array(available[:needed], dtype=object).reshape([sizes[axis] for axis in outermost_first])
    grid = grid.transpose([outermost_first.index(axis) for axis in range(len(sizes))])
    return Mesh(grid, tuple(names), axis_types=(AxisType.Auto,) * len(sizes))


def partition_spec(layout: Layout, rank: int, names: Sequence[str]) -> PartitionSpec:
    """The PartitionSpec of a layout without pending reductions."""
    parts = spec(layout, rank, names)
    entries = [part[0] if len(part) == 1 else part or None for part in parts]
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def named_sharding(mesh: Mesh, layout: Layout, rank: int) -> NamedSharding:
    """The NamedSharding of a layout on a mesh whose axes are in the layout's order."""
    return NamedSharding(mesh, partition_spec(layout, rank, mesh.axis_names))
