"""Reshardings, carried out on arrays by hand: the parts are always those of the same value."""

import itertools

import numpy as np
import pytest

from swplan.ir.layout import MAX, REPLICATED, SUM, degree, divides, local_shape, reshard, shift, spec

SHAPE = (8, 16)
MESHES = ((4,), (2, 4), (2, 2, 2))


def block(value, layout, sizes, coordinate):
    """The part of a value that the device at a mesh coordinate holds (pending entries aside)."""
    for dim in range(value.ndim):
        for axis, entry in enumerate(layout):
            if entry == dim:
                value = np.split(value, sizes[axis], axis=dim)[coordinate[axis]]
    return value


def scatter(value, layout, sizes, rng):
    """What every device holds: its block, and random summands along axes that wait for their sum."""
    devices = list(itertools.product(*map(range, sizes)))
    parts = {d: block(value, layout, sizes, d).astype(float) for d in devices}
    for axis in (a for a, entry in enumerate(layout) if entry == SUM):
        for group in groups_of(devices, (axis,)):
            summands = [rng.integers(-9, 9, parts[group[0]].shape).astype(float) for _ in group[1:]]
            total = parts[group[0]]
            parts[group[0]] = total - sum(summands)
            parts.update(zip(group[1:], summands, strict=True))
    return parts


def groups_of(devices, axes):
    """Devices that differ in these axes only, in the order of their rank."""
    key = lambda d: tuple(c for a, c in enumerate(d) if a not in axes)  # noqa: E731
    return [list(group) for _, group in itertools.groupby(sorted(devices, key=lambda d: (key(d), d)), key=key)]


def apply(step, parts, sizes):
    """One step on all devices."""
    return {
        device: EXECUTE[step.kind](step, [parts[d] for d in group], rank)
        for group in groups_of(list(parts), step.axes)
        for rank, device in enumerate(group)
    }


EXECUTE = {
    "slice": lambda step, held, rank: np.split(held[rank], len(held), axis=step.dim)[rank],
    "mask": lambda step, held, rank: held[rank] * (rank == 0),
    "all_reduce": lambda step, held, rank: sum(held),
    "reduce_scatter": lambda step, held, rank: np.split(sum(held), len(held), axis=step.dim)[rank],
    "all_gather": lambda step, held, rank: np.concatenate(held, axis=step.dim),
    "all_to_all": lambda step, held, rank: np.concatenate(
        [np.split(part, len(held), axis=step.dim)[rank] for part in held], axis=step.source_dim
    ),
}


def layouts(sizes):
    """Every layout of the value, pending sums included."""
    entries = itertools.product((REPLICATED, SUM, 0, 1), repeat=len(sizes))
    return [layout for layout in entries if divides(SHAPE, layout, sizes)]


def total(parts, layout, sizes):
    """Parts with their pending sums carried out."""
    pending = tuple(a for a, entry in enumerate(layout) if entry == SUM)
    return {d: sum(parts[g] for g in group) for group in groups_of(list(parts), pending) for d in group}


@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_every_resharding_keeps_the_value(sizes):
    """All pairs of layouts on meshes of one, two and three axes."""
    rng = np.random.default_rng(0)
    value = rng.integers(-9, 9, SHAPE)
    for source, target in itertools.product(layouts(sizes), repeat=2):
        parts = scatter(value, source, sizes, rng)
        for step in reshard(source, target):
            parts = apply(step, parts, sizes)
        for device, part in total(parts, target, sizes).items():
            np.testing.assert_array_equal(part, block(value, target, sizes, device), err_msg=f"{source} -> {target}")


def test_a_step_leads_from_layout_to_layout():
    """Each step starts where the one before ended."""
    for source, target in itertools.product(layouts((2, 2, 2)), repeat=2):
        steps = reshard(source, target)
        ends = [source, *(step.after for step in steps)]
        assert ends[-1] == target
        assert all(step.before == end for step, end in zip(steps, ends, strict=False))


def test_what_should_be_one_collective_is_one():
    """The familiar cases."""
    assert [s.kind for s in reshard((SUM, SUM), (REPLICATED, REPLICATED))] == ["all_reduce"]
    assert [s.kind for s in reshard((SUM,), (0,))] == ["reduce_scatter"]
    assert [s.kind for s in reshard((0,), (1,))] == ["all_to_all"]
    assert [s.kind for s in reshard((0, 0), (REPLICATED, REPLICATED))] == ["all_gather"]
    assert [s.kind for s in reshard((REPLICATED,), (0,))] == ["slice"]
    assert [(s.kind, s.join) for s in reshard((MAX,), (REPLICATED,))] == [("all_reduce", "max")]
    assert reshard((0, 1), (0, 1)) == ()


def test_local_shapes_and_specs():
    """Shapes, degrees, shifts and names agree."""
    assert local_shape((8, 16), (0, 0), (2, 4)) == (1, 16)
    assert degree((0, SUM, 1), (2, 3, 4)) == 8
    assert shift((0, REPLICATED, SUM), 1) == (1, REPLICATED, SUM)
    assert spec((1, 1, 0), 2, ("a", "b", "c")) == (("c",), ("a", "b"))
    assert not divides((6,), (0,), (4,))
