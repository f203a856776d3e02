"""Builds the runnable step: a device program under `jax.shard_map` and `jax.jit`, its state donated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from swplan.ir.device import DeviceProgram
from swplan.ir.graph import Graph
from swplan.runtime.execute import local_function
from swplan.runtime.mesh import named_sharding

COMPILER_OPTIONS = {"xla_allow_excess_precision": False}
"""XLA may otherwise leave out a cast to a low precision and back, and run another precision than was planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Executable:
    """A step on flat arguments.

    Attributes:
      run: flat global inputs -> flat global outputs (a jitted function).
      mapped: the same before `jax.jit`.
      mesh: the devices it runs on.
      in_shardings: of the flat inputs.
      out_shardings: of the flat outputs.
    """

    run: Callable[..., list]
    mapped: Callable[..., list]
    mesh: Mesh
    in_shardings: tuple[NamedSharding, ...]
    out_shardings: tuple[NamedSharding, ...]


def build(program: DeviceProgram, graph: Graph, mesh: Mesh, *, donate: bool = True) -> Executable:
    """The jitted global step of a device program on a mesh."""
    place = lambda v: named_sharding(mesh, program.values[v].layout, len(program.values[v].aval.shape))  # noqa: E731
    in_shardings = tuple(place(v) for v in program.top.inputs)
    out_shardings = tuple(place(v) for v in program.top.outputs)
    local = local_function(program, graph.avals, mesh.axis_names)
    mapped = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=tuple(s.spec for s in in_shardings),
        out_specs=[s.spec for s in out_shardings],
        check_vma=False,
    )
    donated = tuple(sorted(set(program.aliases.values()))) if donate else ()
    run = jax.jit(mapped, donate_argnums=donated, keep_unused=True, compiler_options=COMPILER_OPTIONS)
    return Executable(run=run, mapped=mapped, mesh=mesh, in_shardings=in_shardings, out_shardings=out_shardings)


def place(executable: Executable, flat: list[Any]) -> list[Any]:
    """Puts flat inputs where the step expects them; what is there already stays."""
    return [
        x if getattr(x, "sharding", None) == sharding else jax.device_put(x, sharding)
        for x, sharding in zip(flat, executable.in_shardings, strict=True)
    ]
