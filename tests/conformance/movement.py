"""Operations of random programs that move, pick or make elements: shapes, slices, gather, scatter, random numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .drafts import SIZES, Draft, Held, Unfit, checked, fit, moved, near, sure

ANY = ("float", "float", "int", "bool")


def transpose(draft: Draft) -> Held:
    held = draft.pick(*ANY, ranks=range(2, 5))
    return moved(held, jnp.transpose(held.array, draft.rng.sample(range(len(held.shape)), len(held.shape))))


def reshape(draft: Draft) -> Held:
    """Merges two dims, divides one, or both, which moves a border."""
    held = draft.pick(*ANY, ranks=range(1, 5))
    shape, axis = list(held.shape), draft.axis(held)
    if axis + 1 < len(shape) and draft.rng.random() < 0.6:
        shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
    parts = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0]
    if draft.rng.random() < 0.6:
        part = draft.rng.choice(parts)
        shape[axis : axis + 1] = [part, shape[axis] // part]
    return checked(moved(held, held.array.reshape(shape)))


def broadcast(draft: Draft) -> Held:
    held = draft.pick(*ANY, ranks=range(0, 4))
    axis = draft.rng.randint(0, len(held.shape))
    shape = [*held.shape[:axis], draft.rng.choice(SIZES), *held.shape[axis:]]
    return checked(moved(held, jnp.broadcast_to(jnp.expand_dims(held.array, axis), shape)))


def cut(draft: Draft) -> Held:
    held = draft.pick(*ANY, ranks=range(1, 5))
    axis = draft.axis(held)
    size = held.shape[axis]
    start = draft.rng.randrange(size)
    stop = draft.rng.randint(start + 1, size)
    return moved(held, lax.slice_in_dim(held.array, start, stop, draft.rng.choice((1, 1, 2)), axis))


def pad(draft: Draft) -> Held:
    held = draft.pick("float", "int", ranks=range(1, 5))
    padding = [(0, 0, 0)] * len(held.shape)
    padding[draft.axis(held)] = draft.rng.choice(((1, 2, 0), (0, 3, 1), (-1, 2, 0), (4, 4, 0)))
    value = jnp.asarray(draft.rng.choice((0, 1)), held.array.dtype)
    return checked(moved(held, lax.pad(held.array, value, padding)))


def join(draft: Draft) -> Held:
    held = draft.pick("float", "int", ranks=range(1, 5))
    other = draft.pick(held.kind)
    both = [held.array, fit(other, held.shape, held.array.dtype)]
    out = jnp.stack(both, draft.axis(held)) if draft.rng.random() < 0.3 else jnp.concatenate(both, draft.axis(held))
    return checked(sure(out) if held.kind == "int" else near(out, max(held.bound, other.bound)))


def turn(draft: Draft) -> Held:
    held = draft.pick(*ANY, ranks=range(1, 5))
    axis, way = draft.axis(held), draft.rng.choice(("flip", "roll", "tile", "repeat"))
    if way == "flip":
        return moved(held, jnp.flip(held.array, axis))
    if way == "roll":
        return moved(held, jnp.roll(held.array, draft.rng.randint(1, 4), axis))
    function = jnp.repeat if way == "repeat" else lambda x, n, axis: jnp.concatenate([x] * n, axis)
    return checked(moved(held, function(held.array, 2, axis=axis)))


def split(draft: Draft) -> list[Held]:
    held = draft.pick("float", ranks=range(1, 5))
    axis = draft.rng.choice([axis for axis, n in enumerate(held.shape) if n % 2 == 0] or [-1])
    if axis < 0:
        raise Unfit
    return [moved(held, part) for part in jnp.split(held.array, 2, axis)]


def dynamic_slice(draft: Draft) -> Held:
    """A slice whose start is known at run time and may lie outside."""
    held = draft.pick(*ANY, ranks=range(1, 5))
    axis = draft.axis(held)
    size = draft.rng.randint(1, held.shape[axis])
    return moved(held, lax.dynamic_slice_in_dim(held.array, draft.index(), size, axis))


def dynamic_update(draft: Draft) -> Held:
    held = draft.pick("float", "int", ranks=range(1, 5))
    axis, other = draft.axis(held), draft.pick(held.kind)
    shape = list(held.shape)
    shape[axis] = draft.rng.randint(1, shape[axis])
    update = fit(other, tuple(shape), held.array.dtype)
    out = lax.dynamic_update_slice_in_dim(held.array, update, draft.index(), axis)
    return sure(out) if held.kind == "int" else near(out, max(held.bound, other.bound))


def take(draft: Draft) -> Held:
    held = draft.pick(*ANY, ranks=range(1, 4))
    axis = draft.axis(held)
    shape = tuple(draft.rng.choice(SIZES) for _ in range(draft.rng.randint(0, 2)))
    way = draft.rng.choice(("inside", "clip", "wrap", "fill"))
    indices = draft.indices(shape, held.shape[axis])
    if way == "inside":
        return checked(moved(held, jnp.take(held.array, indices, axis)))
    indices = indices * 2 - 3
    filled = {"fill_value": draft.rng.choice((0, 1))} if way == "fill" else {}
    return checked(moved(held, jnp.take(held.array, indices, axis, mode=way, **filled)))


def take_along(draft: Draft) -> Held:
    held = draft.pick("float", "int", ranks=range(1, 5))
    axis = draft.axis(held)
    shape = list(held.shape)
    shape[axis] = draft.rng.choice(SIZES)
    indices = draft.indices(tuple(shape), held.shape[axis])
    return checked(moved(held, jnp.take_along_axis(held.array, indices, axis)))


def take_pairs(draft: Draft) -> Held:
    """`x[i, j]`, or the same for each element of a batch."""
    held = draft.pick("float", "int", ranks=(2, 3))
    count = draft.rng.choice(SIZES)
    if len(held.shape) == 2:
        i, j = (draft.indices((count,), held.shape[axis]) for axis in (0, 1))
        return moved(held, held.array[i, j])
    i = draft.indices((held.shape[0], count), held.shape[1])
    return checked(moved(held, jax.vmap(lambda x, k: x[k])(held.array, i)))


def put(draft: Draft) -> Held:
    """`x.at[i].add(y)` and its like; what is set has no index twice."""
    held = draft.pick("float", "int", ranks=range(1, 4))
    last, other = draft.rng.random() < 0.3, draft.pick(held.kind)
    axis = -1 if last else 0
    size, way = held.shape[axis], draft.rng.choice(("add", "add", "max", "min", "set"))
    if way in ("max", "min") and draft.smooth:
        raise Unfit
    count = draft.rng.choice(SIZES)
    if way == "set":
        count = min(count, size)
        indices: Any = np.array(draft.rng.sample(range(size), count), np.int32)
    else:
        indices = draft.indices((count,), size + 2) - 1
    shape = (*held.shape[:-1], count) if last else (count, *held.shape[1:])
    place = held.array.at[..., indices] if last else held.array.at[indices]
    mode = draft.rng.choice(("drop", "clip")) if way == "add" else "drop"
    out = getattr(place, way)(fit(other, shape, held.array.dtype), mode=mode)
    return sure(out) if held.kind == "int" else near(out, held.bound + other.bound * count)


def fresh(draft: Draft) -> Held:
    """A constant array, or one that counts."""
    shape = tuple(draft.rng.choice(SIZES) for _ in range(draft.rng.randint(1, 2)))
    way = draft.rng.choice(("array", "array", "integers", "count", "triangle"))
    numbers = np.random.default_rng(draft.rng.randrange(2**32))
    if way == "array":
        return Held(jnp.asarray(numbers.uniform(-2, 2, shape), draft.rng.choice(draft.floats)), True)
    if way == "integers":
        return sure(jnp.asarray(numbers.integers(-20, 20, shape), jnp.int32))
    if way == "count":
        return sure(lax.broadcasted_iota(draft.rng.choice(("int32", "uint32")), shape, len(shape) - 1))
    return sure(jnp.tri(shape[0], shape[-1], dtype=bool))


def draw(draft: Draft) -> Held:
    key = draft.pick("key", ranks=(0,)).array
    shape = tuple(draft.rng.choice(SIZES) for _ in range(draft.rng.randint(1, 2)))
    way = draft.rng.choice(("bits", "normal", "uniform", "bernoulli", "randint"))
    if way == "bits":
        return sure(jax.random.bits(key, shape))
    if way == "normal":
        return near(jax.random.normal(key, shape), 6.0)
    if way == "uniform":
        return Held(jax.random.uniform(key, shape), True, 1.0)
    drawn = jax.random.bernoulli(key, 0.4, shape) if way == "bernoulli" else jax.random.randint(key, shape, -9, 30)
    return sure(drawn)


def derive_key(draft: Draft) -> list[Held]:
    key = draft.pick("key", ranks=(0,)).array
    if draft.rng.random() < 0.5:
        return [sure(one) for one in jax.random.split(key, 2)]
    return [sure(jax.random.fold_in(key, draft.index()))]


def draw_each(draft: Draft) -> Held:
    """Numbers of several keys."""
    keys = jax.random.split(draft.pick("key", ranks=(0,)).array, draft.rng.choice(SIZES))
    size = draft.rng.choice(SIZES)
    return near(jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys), 6.0)


OPERATIONS: dict[Any, int] = {
    transpose: 3, reshape: 4, broadcast: 2, cut: 2, pad: 1, join: 2, turn: 2, split: 1, dynamic_slice: 2,
    dynamic_update: 2, take: 2, take_along: 1, take_pairs: 2, put: 4, fresh: 2, draw: 2, derive_key: 1, draw_each: 1,
}  # fmt: skip
