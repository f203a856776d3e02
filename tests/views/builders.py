"""Short ways to write the values that plans are made of."""

from __future__ import annotations

from swplan.plan import Certificate, Collective, OpCost, Tensor


def tensor(name: str, shape: tuple[int, ...], spec: tuple, split: int, role: str = "parameter", **other) -> Tensor:
    """A float32 tensor of which a device holds one of `split` parts."""
    size = 4
    for extent in shape:
        size *= extent
    return Tensor(
        name=name, shape=shape, dtype="float32", role=role, spec=spec, bytes=size, device_bytes=size // split, **other
    )


def collective(kind: str, axes: tuple[str, ...], what: str, **other) -> Collective:
    """An exchange of the backward pass."""
    given = dict(
        group_size=4,
        dtype="float32",
        bytes=4 << 20,
        count=1,
        algorithm="ring",
        time_s=1.2e-3,
        stage="backward",
        source="/home/ada/models/mlp.py:31 (loss)",
        why="it is to be joined by sum over data; mul (optimizer) needs it whole",
    )
    return Collective(kind=kind, axes=axes, tensor=what, **(given | other))


def op(primitive: str, time_s: float, **other) -> OpCost:
    """An op of the forward pass."""
    given = dict(
        source="/home/ada/models/mlp.py:27 (loss)",
        stage="forward",
        split="m/data, n/model",
        count=1,
        flops=2.1e9,
        bytes=3.5e7,
        binding="compute fp32",
    )
    return OpCost(primitive=primitive, time_s=time_s, **(given | other))


def certificate(cost_s: float, bound_s: float, method: str, meshes: int, decisions: int, unfolded: int) -> Certificate:
    """How good a plan is."""
    return Certificate(
        cost_s=cost_s,
        bound_s=bound_s,
        method=method,
        meshes=meshes,
        decisions=decisions,
        decisions_unfolded=unfolded,
    )
