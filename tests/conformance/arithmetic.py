"""Operations of random programs that compute: elementwise, reductions, scans along a dim, contractions, sorts."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .drafts import Draft, Held, Unfit, cast, checked, fit, moved, near, sure

SMOOTH = {
    "tanh": (jnp.tanh, 1.0),
    "sin": (jnp.sin, 1.0),
    "logistic": (jax.nn.sigmoid, 1.0),
    "gentle exp": (lambda x: jnp.exp(x / 8), 8.0),
    "log": (lambda x: jnp.log1p(x * x), 6.0),
    "root": (lambda x: jnp.sqrt(1 + x * x), 16.0),
    "rsqrt": (lambda x: lax.rsqrt(1 + x * x), 1.0),
    "erf": (lax.erf, 1.0),
    "softplus": (jax.nn.softplus, 17.0),
}
ALONG = {"cumsum": lax.cumsum, "cummax": lax.cummax, "cummin": lax.cummin, "cumlogsumexp": lax.cumlogsumexp}
WHOLE = {"max": jnp.max, "min": jnp.min}
BITS = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "and": jnp.bitwise_and,
    "or": jnp.bitwise_or,
    "xor": jnp.bitwise_xor,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "shift": lambda a, b: a >> (b & 7),
    "rest": lambda a, b: a % 7 + b % 5,
}


def unary(draft: Draft) -> Held:
    function, bound = SMOOTH[draft.rng.choice(list(SMOOTH))]
    return near(function(draft.pick("float").array), bound)


def power(draft: Draft) -> Held:
    held, exponent = draft.pick("float"), draft.rng.choice((2, 3))
    return near(held.array**exponent, held.bound**exponent)


def kink(draft: Draft) -> Held:
    held = draft.kinked()
    function = draft.rng.choice((jnp.abs, jax.nn.relu, lambda x: jnp.clip(x, -0.7, 0.6), jax.nn.leaky_relu))
    return near(function(held.array), held.bound)


def scale(draft: Draft) -> Held:
    held, by = draft.pick("float"), draft.rng.choice((-1, 0.5, 3, -0.3))
    return near(held.array * by, held.bound * abs(by)) if draft.rng.random() < 0.7 else near(-held.array, held.bound)


def binary(draft: Draft) -> Held:
    left, right = draft.pick("float", ranks=range(1, 5)), draft.pick("float", "float", "int", "bool")
    a, b = left.array, fit(right, left.shape, left.array.dtype)
    other = right.bound if right.kind == "float" else 8.0
    which = draft.rng.choice(("add", "add", "subtract", "multiply", "multiply", "divide"))
    if which in ("add", "subtract"):
        return near(a + b if which == "add" else a - b, left.bound + other)
    return near(a * b, left.bound * other) if which == "multiply" else near(a / (1 + b * b), left.bound)


def larger(draft: Draft) -> Held:
    left, right = draft.kinked(), draft.kinked()
    function = draft.rng.choice((jnp.maximum, jnp.minimum))
    if draft.smooth and left.array is right.array:
        raise Unfit
    return near(function(left.array, fit(right, left.shape, left.array.dtype)), max(left.bound, right.bound))


def bits(draft: Draft) -> Held:
    left, right = draft.pick("int"), draft.pick("int", "bool")
    function = BITS[draft.rng.choice(list(BITS))]
    return sure(function(left.array, fit(right, left.shape, left.array.dtype)))


def compare(draft: Draft) -> Held:
    kind = draft.rng.choice(("int", "float"))
    left, right = draft.exact(kind), draft.exact(kind)
    function = draft.rng.choice((jnp.less, jnp.equal, jnp.greater_equal))
    if left.shape != right.shape and kind == "float":
        return sure(function(left.array, left.array.dtype.type(0.25)))
    return sure(function(left.array, fit(right, left.shape, left.array.dtype)))


def logic(draft: Draft) -> Held:
    left, right = draft.pick("bool"), draft.pick("bool")
    function = draft.rng.choice((jnp.logical_and, jnp.logical_or, jnp.logical_xor, lambda a, b: ~a))
    return sure(function(left.array, fit(right, left.shape, bool)))


def where(draft: Draft) -> Held:
    which, kind = draft.pick("bool"), draft.rng.choice(("float", "float", "int"))
    left, right = draft.pick(kind), draft.pick(kind)
    shape, dtype = left.shape, left.array.dtype
    chosen = jnp.where(fit(which, shape, bool), left.array, fit(right, shape, dtype))
    return sure(chosen) if kind == "int" else near(chosen, max(left.bound, right.bound))


def convert(draft: Draft) -> Held:
    target = draft.rng.choice(("float", "float", "int"))
    if target == "float":
        held, dtype = draft.pick("float", "int", "bool"), draft.rng.choice(draft.floats)
        return near(cast(held, dtype), held.bound if held.kind == "float" else 8.0)
    held = draft.exact("float", "bool")
    if draft.smooth and held.kind == "float":
        raise Unfit
    array = jnp.round(held.array * 3) if held.kind == "float" else held.array
    return sure(array.astype(draft.rng.choice(("int32", "int32", "uint32")) if held.kind == "bool" else "int32"))


def total(draft: Draft) -> Held:
    held = draft.pick("float", ranks=range(1, 5))
    axes = draft.axes(held)
    count = prod(held.shape[axis] for axis in axes)
    keep = draft.rng.random() < 0.3
    if draft.rng.random() < 0.5:
        return near(jnp.mean(held.array, axes, keepdims=keep), held.bound)
    return near(jnp.sum(held.array, axes, keepdims=keep) / sqrt(count), held.bound * sqrt(count))


def extreme(draft: Draft) -> Held:
    held, name = draft.kinked(range(1, 5)), draft.rng.choice(list(WHOLE))
    return moved(held, WHOLE[name](held.array, draft.axes(held)))


def counted(draft: Draft) -> Held:
    held = draft.pick("int", "bool", ranks=range(1, 5))
    functions = (jnp.any, jnp.all) if held.kind == "bool" else (jnp.sum, jnp.max, jnp.min, jnp.prod)
    return sure(draft.rng.choice(functions)(held.array, draft.axes(held)))


def along(draft: Draft) -> Held:
    name = draft.rng.choice(list(ALONG))
    held = draft.kinked(range(1, 5)) if name in ("cummax", "cummin") else draft.pick("float", ranks=range(1, 5))
    axis = draft.axis(held)
    bound = held.bound * (held.shape[axis] if name == "cumsum" else 1) + 3
    return near(ALONG[name](held.array, axis=axis, reverse=draft.rng.random() < 0.3), bound)


def softmax(draft: Draft) -> Held:
    held = draft.pick("float", ranks=range(1, 5))
    return near(jax.nn.softmax(held.array, axis=draft.axis(held)), 1.0)


def normalize(draft: Draft) -> Held:
    held = draft.pick("float", ranks=range(1, 5))
    axes = draft.axes(held)
    centred = held.array - jnp.mean(held.array, axes, keepdims=True)
    return near(centred * lax.rsqrt(jnp.var(held.array, axes, keepdims=True) + 0.5), 8.0)


def dot(draft: Draft) -> Held:
    kind = draft.rng.choice(("float", "float", "float", "int"))
    left = draft.pick(kind, ranks=range(1, 4))
    right = draft.pick(kind, ranks=range(1, 4), test=lambda held: bool(set(held.shape) & set(left.shape)))
    pairs = [(i, j) for i, m in enumerate(left.shape) for j, n in enumerate(right.shape) if m == n]
    draft.rng.shuffle(pairs)
    contracted, batch = pairs[0], [pair for pair in pairs[1:] if draft.rng.random() < 0.6]
    batch = [pair for pair in batch if pair[0] != contracted[0] and pair[1] != contracted[1]][:1]
    numbers = (((contracted[0],), (contracted[1],)), (tuple(i for i, _ in batch), tuple(j for _, j in batch)))
    free = prod(left.shape) * prod(right.shape) // left.shape[contracted[0]] ** 2
    if free > 2048:
        raise Unfit
    out = lax.dot_general(left.array, right.array.astype(left.array.dtype), numbers)
    depth = sqrt(left.shape[contracted[0]])
    held = near(out / depth, left.bound * right.bound * depth) if kind == "float" else sure(out)
    return checked(held)


def convolve(draft: Draft) -> Held:
    held = draft.pick("float", ranks=(3,), test=lambda held: held.shape[2] >= 3)
    window = draft.pick("float", ranks=range(1, 5))
    kernel = fit(window, (4, held.shape[1], 3), held.array.dtype)
    out = lax.conv_general_dilated(held.array, kernel, (1,), draft.rng.choice(("SAME", "VALID")))
    return checked(near(out / 4, held.bound * window.bound * held.shape[1]))


def best(draft: Draft) -> Held:
    held = draft.exact("float", "int", ranks=range(1, 5))
    return sure(draft.rng.choice((jnp.argmax, jnp.argmin))(held.array, axis=draft.axis(held)))


def order(draft: Draft) -> list[Held]:
    held = draft.exact("float", "int", ranks=range(1, 5))
    axis, way = draft.axis(held), draft.rng.choice(("sort", "argsort", "pair"))
    if way == "argsort":
        return [sure(jnp.argsort(held.array, axis))]
    if way == "sort":
        return [moved(held, jnp.sort(held.array, axis))]
    other = draft.pick("float", "int", ranks=(len(held.shape),), test=lambda one: one.shape == held.shape)
    keys, values = lax.sort((held.array, other.array), dimension=axis, num_keys=1)
    return [moved(held, keys), moved(other, values)]


def top(draft: Draft) -> list[Held]:
    held = draft.exact("float", "int", ranks=range(1, 5))
    values, places = lax.top_k(held.array, draft.rng.randint(1, min(4, held.shape[-1])))
    return [moved(held, values), sure(places)]


OPERATIONS: dict[Any, int] = {
    unary: 3, power: 1, kink: 2, scale: 1, binary: 6, larger: 1, bits: 2, compare: 2, logic: 1, where: 2, convert: 2,
    total: 4, extreme: 1, counted: 2, along: 2, softmax: 1, normalize: 1, dot: 7, convolve: 1, best: 1, order: 1,
    top: 1,
}  # fmt: skip
