"""Operations of random programs that hold programs: scan, while, fori, cond, jit, checkpoint, vmap, grad.

A body reads values of the program around it (a closure), some of its own, and is grown in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from . import arithmetic, movement
from .drafts import Draft, Held, Unfit, cast, fit, near, sure

DEEPEST = 2


def grow(draft: Draft, seeds: Sequence[int]) -> None:
    """Adds an operation for every seed; each makes its choices from its own seed, so that others can be left out."""
    for seed in seeds:
        draft.rng = Random(seed)
        grow_one(draft)


def grow_one(draft: Draft) -> None:
    """Adds the first operation that fits, of a few at random."""
    for _ in range(12):
        operation = draft.rng.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]
        try:
            made = operation(draft)
        except Unfit:
            continue
        draft.pool += made if isinstance(made, list) else [made]
        return


def unread(draft: Draft, most: int) -> list[Held]:
    """The latest values that nothing reads."""
    left = [held for at, held in enumerate(draft.pool) if at not in draft.used]
    return left[-most:]


def _seeds(draft: Draft) -> list[int]:
    return [draft.rng.randrange(2**32) for _ in range(draft.rng.randint(1, 4))]


def _guard(draft: Draft) -> None:
    if draft.depth >= DEEPEST:
        raise Unfit


def _run(draft: Draft, seeds: Sequence[int], own: Sequence[Held], smooth: bool = False) -> Draft:
    """Grows a body that has values of its own and those of the program around it."""
    below = draft.below(seeds[0], [*draft.pool, *own], smooth)
    below.used = set(range(len(draft.pool)))
    grow(below, seeds)
    return below


def _renewed(body: Draft, seed: int, carry: Held) -> Any:
    """The next value of a carry: some of the old one, some of what the body made."""
    body.rng = Random(seed)
    source = body.pick(carry.kind)
    array = fit(source, carry.shape, carry.array.dtype)
    if carry.kind == "int":
        return carry.array + array
    if carry.kind == "bool":
        return carry.array ^ array
    return jnp.tanh(carry.array * 0.5 + array * 0.7)


def _carried(held: Held, array: Any) -> Held:
    return sure(array) if held.kind != "float" else Held(array, False, max(held.bound, 1.0))


def _carries(draft: Draft) -> list[Held]:
    return [draft.pick("float"), *[draft.pick("float", "int", "bool") for _ in range(draft.rng.randint(0, 1))]]


def _results(held: Sequence[Held], arrays: Sequence[Any]) -> list[Held]:
    return [_carried(one, array) for one, array in zip(held, arrays, strict=True)]


def scan(draft: Draft) -> list[Held]:
    _guard(draft)
    scanned = [draft.pick("float", "int", ranks=range(1, 5), test=lambda held: held.shape[0] <= 8)]
    scanned += [held for held in draft.pool if held.shape[:1] == scanned[0].shape[:1] and held.kind != "key"][:1]
    carries, seeds = _carries(draft), _seeds(draft)
    makes: list[Held] = []

    def body(carry: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        own = _results(carries, carry)
        inner = _run(draft, seeds, [*own, *(Held(a, h.exact, h.bound) for a, h in zip(slices, scanned, strict=True))])
        made = [held for held in unread(inner, 2) if held.kind != "key"]
        makes[:] = made
        return [_renewed(inner, seed, one) for seed, one in zip(seeds * 2, own, strict=False)], [h.array for h in made]

    options = {"reverse": draft.rng.random() < 0.3, "unroll": draft.rng.choice((1, 1, 2))}
    after, stacked = lax.scan(body, [held.array for held in carries], [held.array for held in scanned], **options)
    return _results(carries, after) + [Held(a, h.exact, h.bound) for a, h in zip(stacked, makes, strict=True)]


def repeat(draft: Draft) -> list[Held]:
    """A fori loop of known length, or of a length that is known at run time."""
    _guard(draft)
    carries, seeds = _carries(draft), _seeds(draft)
    known = draft.smooth or draft.rng.random() < 0.5
    trips = draft.rng.randint(1, 3) if known else draft.index() % 4

    def body(i: Any, carry: list[Any]) -> list[Any]:
        own = _results(carries, carry)
        inner = _run(draft, seeds, [*own, sure(jnp.asarray(i, jnp.int32))])
        return [_renewed(inner, seed, one) for seed, one in zip(seeds * 2, own, strict=False)]

    return _results(carries, lax.fori_loop(0, trips, body, [held.array for held in carries]))


def search(draft: Draft) -> list[Held]:
    """A while loop whose condition reads an array."""
    _guard(draft)
    if draft.smooth:
        raise Unfit
    flags, carries, seeds = draft.pick("int", ranks=(1, 2)), _carries(draft), _seeds(draft)

    def condition(state: list[Any]) -> Any:
        return (state[0] < 4) & jnp.any(flags.array % 5 > state[0].astype(flags.array.dtype))

    def body(state: list[Any]) -> list[Any]:
        own = _results(carries, state[1:])
        inner = _run(draft, seeds, [*own, sure(state[0])])
        return [state[0] + 1, *(_renewed(inner, seed, one) for seed, one in zip(seeds * 2, own, strict=False))]

    after = lax.while_loop(condition, body, [jnp.int32(0), *(held.array for held in carries)])
    return [sure(after[0]), *_results(carries, after[1:])]


def choose(draft: Draft) -> list[Held]:
    """A cond, or a switch."""
    _guard(draft)
    carries, seeds = _carries(draft), _seeds(draft)
    flag = draft.pick("bool", "int", ranks=(0, 1, 2))
    count = 2 if flag.kind == "bool" else 3

    def branch(turn: int) -> Any:
        def run(*carry: Any) -> list[Any]:
            own, turned = _results(carries, carry), [seed + turn for seed in seeds]
            inner = _run(draft, turned[: 1 + turn], own)
            return [_renewed(inner, seed, one) for seed, one in zip(turned * 2, own, strict=False)]

        return run

    arrays = [held.array for held in carries]
    if count == 2:
        return _results(carries, lax.cond(jnp.any(flag.array), branch(0), branch(1), *arrays))
    which = jnp.max(flag.array).astype(jnp.int32) % 5 - 1
    return _results(carries, lax.switch(which, [branch(0), branch(1), branch(2)], *arrays))


def wrapped(draft: Draft) -> list[Held]:
    """A jitted or recomputed function of some values."""
    _guard(draft)
    wrap = draft.rng.choice((jax.jit, jax.checkpoint, jax.remat))
    given, seeds = [draft.pick("float") for _ in range(2)], _seeds(draft)
    makes: list[Held] = []

    def body(*arrays: Any) -> list[Any]:
        inner = _run(draft, seeds, [Held(a, h.exact, h.bound) for a, h in zip(arrays, given, strict=True)])
        makes[:] = unread(inner, 3)
        return [held.array for held in makes]

    out = wrap(body)(*(held.array for held in given))
    return [Held(array, held.exact, held.bound) for array, held in zip(out, makes, strict=True)]


def gradient(draft: Draft) -> list[Held]:
    """The derivative of a program in one or two of its values, maybe recomputed."""
    _guard(draft)
    targets = [draft.pick("float", ranks=range(1, 5)) for _ in range(draft.rng.randint(1, 2))]
    seeds, again = _seeds(draft), draft.rng.random() < 0.4

    def loss(*arrays: Any) -> Any:
        own = [Held(a, h.exact, h.bound) for a, h in zip(arrays, targets, strict=True)]
        inner = _run(draft, seeds, own, smooth=True)
        made = [held for held in unread(inner, 4) if held.kind == "float"]
        return sum((jnp.mean(jnp.sin(cast(held, jnp.float32))) for held in made), start=jnp.float32(0))

    function = jax.checkpoint(loss) if again else loss
    value, grads = jax.value_and_grad(function, tuple(range(len(targets))))(*(held.array for held in targets))
    size = [max(1, array.size) for array in grads]
    return [near(value, 4.0), *(near(jnp.tanh(g * n**0.5), 1.0) for g, n in zip(grads, size, strict=True))]


def mapped(draft: Draft) -> list[Held]:
    """A program for each element of a batch."""
    _guard(draft)
    held, seeds = draft.pick("float", ranks=range(1, 4)), _seeds(draft)
    makes: list[Held] = []

    def body(array: Any) -> list[Any]:
        inner = _run(draft, seeds, [Held(array, held.exact, held.bound)])
        makes[:] = [one for one in unread(inner, 2) if one.kind != "key" and len(one.shape) < 4]
        return [one.array for one in makes]

    out = jax.vmap(body)(held.array)
    return [Held(a, h.exact, h.bound) for a, h in zip(out, makes, strict=True)]


OPERATIONS: dict[Any, int] = {
    **arithmetic.OPERATIONS, **movement.OPERATIONS,
    scan: 3, repeat: 2, search: 2, choose: 3, wrapped: 2, gradient: 5, mapped: 2,
}  # fmt: skip
