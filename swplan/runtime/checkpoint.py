"""Checkpoints of a training state: written sharded as it is, restored straight onto another plan or mesh.

A checkpoint is an Orbax checkpoint of two items: `state`, the arrays by name, and `index`, which says what the leaves
of the state are (see `checkpoint_leaves`). Orbax makes a step visible only when all of it is written. Nothing in it is
a pickle.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.sharding import Sharding

from swplan.errors import CheckpointError, PlanMismatchError
from swplan.plan import Plan, Tensor
from swplan.runtime import checkpoint_leaves as leaves
from swplan.runtime.mesh import device_mesh
from swplan.runtime.shardings import named_shardings


class Checkpointer:
    """The checkpoints of a run in one directory, one for each saved step.

    Law: what `restore` returns equals what `save` was given, whatever the shardings on either side.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Nothing is read or written yet; `save` makes the directory."""
        self.directory = Path(directory).absolute()
        self._opened: ocp.CheckpointManager | None = None

    def save(self, step: int, state: Any) -> None:
        """Writes the state of a step, whole or not at all; returns when it is on disk.

        Args:
          step: its number, not negative.
          state: any tree of arrays (also typed keys) and Python numbers; arrays are written shard by shard as they are.

        Raises:
          CheckpointError: the step is there already, a leaf is neither array nor number, or it cannot be written.
        """
        number = operator.index(step)
        if number in self.steps():
            raise CheckpointError(
                f"{self.directory} already has a checkpoint of step {number}; none is ever overwritten: save "
                "another step, or use another directory"
            )
        index, arrays = leaves.describe(leaves.named_leaves(state)[0])
        items = ocp.args.Composite(state=ocp.args.StandardSave(arrays), index=ocp.args.JsonSave(index))
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._manager.save(number, args=items, force=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"step {number} cannot be written to {self.directory}: {error}") from error

    def restore(self, state_like: Any, *, plan: Plan | None = None, step: int | None = None) -> Any:
        """Reads a state, each leaf straight onto the devices where it is wanted.

        Args:
          state_like: the tree as saved, of arrays or `jax.ShapeDtypeStruct`s.
          plan: place the state as this plan's step takes it; otherwise as `state_like` is placed.
          step: which checkpoint; the latest if absent.

        Raises:
          CheckpointError: there is no such checkpoint, it is damaged, or has other leaves, shapes or dtypes.
          PlanMismatchError: the plan's step takes no such state, or needs more devices than there are.
        """
        number = self._existing(step)
        where = f"the checkpoint of step {number} in {self.directory}"
        named, tree = leaves.named_leaves(state_like)
        saved = leaves.read_index(self._read(number, where, index=ocp.args.JsonRestore())["index"], where)
        leaves.check_fit(saved, named, where)
        planned = plan_shardings(plan, named) if plan is not None else {}
        shardings = {name: planned.get(name) or leaves.sharding_of(leaf) for name, leaf in named.items()}
        targets = {s.name: leaves.target(s, named[s.name], shardings[s.name]) for s in saved if s.is_stored}
        arrays = self._read(number, where, state=ocp.args.StandardRestore(targets))["state"] if targets else {}
        leaves.check_data(saved, arrays, where)
        return jax.tree.unflatten(tree, leaves.finish(saved, arrays, named, shardings))

    def steps(self) -> tuple[int, ...]:
        """The steps of which there is a whole checkpoint, in order."""
        if not self.directory.is_dir():
            return ()
        self._manager.reload()
        return tuple(sorted(self._manager.all_steps()))

    @property
    def latest(self) -> int | None:
        """The last of `steps()`; None if there are none."""
        return max(self.steps(), default=None)

    def close(self) -> None:
        """Frees what Orbax holds; the checkpointer opens again when it is used again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()

    @property
    def _manager(self) -> ocp.CheckpointManager:
        if self._opened is None:
            options = ocp.CheckpointManagerOptions(create=False, enable_async_checkpointing=False)
            self._opened = ocp.CheckpointManager(self.directory, options=options)
        return self._opened

    def _existing(self, step: int | None) -> int:
        if not self.directory.is_dir():
            raise CheckpointError(f"there is no directory {self.directory}: no checkpoint was saved there")
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"{self.directory} has no whole checkpoint")
        number = steps[-1] if step is None else operator.index(step)
        if number not in steps:
            there = ", ".join(map(str, steps))
            raise CheckpointError(f"{self.directory} has no checkpoint of step {number}, but of these: {there}")
        return number

    def _read(self, number: int, where: str, **items: Any) -> Any:
        """Orbax and TensorStore raise whatever they meet in files that are not as they wrote them."""
        try:
            return self._manager.restore(number, args=ocp.args.Composite(**items))
        except Exception as error:
            raise CheckpointError(
                f"{where} cannot be read: it is damaged, or swplan did not write it ({type(error).__name__}).\n"
                "  Restore another step: see steps()."
            ) from error


def plan_shardings(plan: Plan, named: Mapping[str, Any]) -> dict[str, Sharding]:
    """The shardings, by leaf name, of the argument of a plan's step that has the leaves of a state.

    Of several such arguments, the one that the step gives back updated.

    Args:
      plan: of the step.
      named: leaves of the state by name.

    Raises:
      PlanMismatchError: no argument is like the state, or the plan needs more devices than there are.
    """
    shapes = {name: tuple(getattr(leaf, "shape", ())) for name, leaf in named.items()}
    count = len(shapes)
    starts = [i for i in range(len(plan.inputs)) if count and _fits(plan.inputs[i : i + count], shapes)]
    if not starts:
        arguments = ", ".join(dict.fromkeys(tensor.name.partition("/")[0] for tensor in plan.inputs))
        raise PlanMismatchError(
            f"no argument of the step '{plan.step}' ({arguments}) has the {count} leaves of this state, shaped alike: "
            "restore with a plan that was made for it"
        )
    replaced = {tensor.replaces for tensor in plan.outputs}
    start = next((i for i in starts if plan.inputs[i].name in replaced), starts[0])
    order = sorted(range(len(plan.axes)), key=lambda axis: plan.axes[axis].position)
    mesh = device_mesh([axis.size for axis in plan.axes], [axis.name for axis in plan.axes], order)
    found = named_shardings(plan, mesh).inputs
    flat = [found[tensor.name] for tensor in plan.inputs] if isinstance(found, dict) else jax.tree.leaves(found)
    return dict(zip(shapes, flat[start : start + count], strict=True))


def _fits(tensors: Sequence[Tensor], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether inputs of a step are the leaves of a state under one label: "state/params/w" is "params/w" of "state"."""
    if len(tensors) != len(shapes):
        return False
    first = next(iter(shapes))
    label = tensors[0].name.removesuffix(f"/{first}")
    wanted = [(f"{label}/{name}" if name else label, shape) for name, shape in shapes.items()]
    return wanted == [(tensor.name, tensor.shape) for tensor in tensors]
