"""Times small programs on all devices at once: what `calibrate` measures with.

Emulated devices share the cores of one machine, so one device alone would look faster than it is when all work. Every
program therefore runs on all devices, under `jax.shard_map`, in a loop whose trip count is an argument: compiled once,
it runs for as long as it takes to drown the cost of starting it. The least of a few runs counts, also when it is
decided how many trips that takes: whatever else the machine does only adds to them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "devices"
STEP_BYTES, COPIES = 4 << 20, 64
"""What a device works on between two exchanges; and so many ops at most."""
MET = 64
"""Numbers that are summed where devices meet."""
Body = Callable[..., tuple]
"""One trip: takes what it returned the trip before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The least that a run should take, how many a round has (3 or more), the most trips of one, and the rounds."""

    run_s: float = 0.02
    repeats: int = 4
    trips: int = 20_000
    rounds: int = 3


def all_devices() -> Mesh:
    """All devices along one axis."""
    return Mesh(np.array(jax.devices()), (AXIS,), axis_types=(AxisType.Auto,))


class Timer:
    """Times one program, a few runs at a time: the machine may be slow for seconds, and the least of all runs counts.

    Args:
      body: one trip, on one device.
      start: what each device begins with.
      mesh: the devices, along `AXIS`; all do the same.
      effort: how much to measure at a time.
    """

    def __init__(self, body: Body, start: Sequence[jax.Array], mesh: Mesh, effort: Effort) -> None:
        self._run, self._start, self._effort = _loop(body, len(start), mesh), start, effort
        self._whole = NamedSharding(mesh, P())
        self._idle = self._taken = math.inf
        self._trips = 4

    def look(self) -> float:
        """Runs it a few times more. Seconds of one trip, by all runs so far."""
        values = [jax.device_put(x, self._whole) for x in self._start]
        seconds = partial(self._seconds, values)
        seconds(1)
        self._idle = min(self._idle, *(seconds(0) for _ in range(3)))
        if self._taken == math.inf:
            self._taken = self._settle(seconds)
        self._taken = min(self._taken, *(seconds(self._trips) for _ in range(self._effort.repeats - 2)))
        return max(self._taken - self._idle, self._taken / 10) / self._trips

    def _settle(self, seconds: Callable[[int], float]) -> float:
        """Finds how many trips take long enough, and how long that is."""
        while True:
            taken = min(seconds(self._trips) for _ in range(2))
            if taken >= self._idle + self._effort.run_s or self._trips >= self._effort.trips:
                return taken
            self._trips *= 4

    def _seconds(self, values: Sequence[jax.Array], trips: int) -> float:
        count = jax.device_put(jnp.int32(trips), self._whole)
        begin = time.perf_counter()
        jax.block_until_ready(self._run(count, *values))
        return time.perf_counter() - begin


@dataclass(slots=True)
class Watch:
    """Times programs on a mesh, each compiled once and looked at as often as it is asked for."""

    mesh: Mesh
    effort: Effort
    _known: dict[tuple, tuple[Timer, int]] = field(default_factory=dict)

    def look(self, make: Callable[..., tuple], *args: Any) -> tuple[float, int]:
        """Seconds of a trip of a program, and its work; `make(*args)` gives body, start and work."""
        key = (make, *args)
        if key not in self._known:
            body, start, work = make(*args)
            self._known[key] = Timer(body, start, self.mesh, self.effort), work
        timer, work = self._known[key]
        return timer.look(), work


def _loop(body: Body, count: int, mesh: Mesh) -> Callable:
    def local(trips: jax.Array, *values: jax.Array) -> tuple:
        return lax.fori_loop(0, trips, lambda _, held: body(*held), values)

    specs = (P(),) * count
    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P(), *specs), out_specs=specs, check_vma=False))


def fed_back(x: jax.Array, out: jax.Array) -> jax.Array:
    """`x` with its first element replaced by that of `out`, so that no trip can be left out."""
    first = lax.slice(out, (0,) * out.ndim, (1,) * out.ndim).reshape((1,) * x.ndim)
    return lax.dynamic_update_slice(x, first.astype(x.dtype), (0,) * x.ndim)


def matmul(batch: int, m: int, k: int, n: int, dtype: Any) -> tuple[Body, list[jax.Array], int]:
    """`batch` products `[m, k] x [k, n]`; and the flops of a trip."""
    x, w = jnp.full((batch, m, k), 0.01, dtype), jnp.full((batch, k, n), 0.01, dtype)

    def body(x: jax.Array, w: jax.Array) -> tuple:
        out = jnp.matmul(x, w)
        return (fed_back(x, out), w) if m < n else (x, fed_back(w, out))  # a loop copies what it changes

    return body, [x, w], 2 * batch * m * k * n


def elementwise(dtype: Any) -> tuple[Body, list[jax.Array], int]:
    """Multiplications, additions, comparisons and choices in one fusion, within the cache; and how many."""

    def body(x: jax.Array) -> tuple:
        for _ in range(8):
            x = x * 0.99 + 0.01
            x = jnp.where(x > 0.5, x - 0.3, x + 0.2)
        return (x,)

    return body, [jnp.ones(1 << 14, dtype)], 8 * 6 << 14


def row_sums(dtype: Any) -> tuple[Body, list[jax.Array], int]:
    """Sums of rows of 64, within the cache; and the additions."""
    return lambda x: (fed_back(x, jnp.sum(x, axis=1)),), [jnp.ones((256, 64), dtype)], 1 << 14


def special(dtype: Any) -> tuple[Body, list[jax.Array], int]:
    """One each of exp, log, tanh and rsqrt an element; and how many evaluations."""
    return lambda x: (jnp.tanh(jnp.log(1 + jnp.exp(lax.rsqrt(x + 1)))),), [jnp.ones(1 << 13, dtype)], 4 << 13


def stream(elements: int) -> tuple[Body, list[jax.Array], int]:
    """One pass over an fp32 array; and the bytes that it reads and writes."""
    return lambda x: (x * 0.99 + 0.01,), [jnp.ones(elements, jnp.float32)], 8 * elements


def turned(side: int) -> tuple[Body, list[jax.Array], int]:
    """One copy of a square fp32 matrix with its dims in the other order; and the bytes that it reads and writes."""

    def body(x: jax.Array) -> tuple:
        copy = lax.optimization_barrier(jnp.swapaxes(lax.optimization_barrier(x), 0, 1))
        return (fed_back(x, 0.5 * copy),)

    return body, [jnp.ones((side, side), jnp.float32)], 8 * side * side


def in_turn(make: Callable[..., tuple], *args: Any) -> tuple[Body, list[jax.Array], int]:
    """One trip of the program `make(*args)` on each of many copies of what it begins with, after which devices meet.

    In a step, a device finds little in a cache that it shares with others: what it works on is large, each value is
    read a few times, and at every exchange it waits for the others. In a loop of its own it would find everything.
    Operands of a few bytes stay there all the same.
    """
    body, start, work = make(*args)
    count, size = min(COPIES, max(1, STEP_BYTES // sum(x.nbytes for x in start))), len(start)

    def step(met: jax.Array, *values: jax.Array) -> tuple:
        done: list[jax.Array] = []
        for first in range(0, count * size, size):
            done += body(*lax.optimization_barrier(values[first : first + size]))
        return (0.1 * lax.psum(met, AXIS) + done[-1].ravel()[0].astype(met.dtype), *done)

    return step, [jnp.ones(MET, jnp.float32), *list(start) * count], work * count


def meeting() -> tuple[Body, list[jax.Array], int]:
    """What `in_turn` does but for its ops; and how often devices meet."""
    return lambda met: (0.1 * lax.psum(met, AXIS),), [jnp.ones(MET, jnp.float32)], 1


def small_ops(pairs: int = 4) -> tuple[Body, list[jax.Array], int]:
    """Products and sums of 4 x 4 matrices in turn, none fused; and how many."""

    def body(x: jax.Array, w: jax.Array) -> tuple:
        for _ in range(pairs):
            x = lax.optimization_barrier(x @ w)
            x = lax.optimization_barrier(x + 0.5)
        return x, w

    return body, [jnp.ones((4, 4)), jnp.full((4, 4), 0.1)], 2 * pairs


EXCHANGES: dict[str, Callable[[jax.Array, int], jax.Array]] = {
    "all_reduce": lambda x, size: lax.psum(x, AXIS),
    "all_gather": lambda x, size: lax.all_gather(x, AXIS, tiled=True),
    "reduce_scatter": lambda x, size: lax.psum_scatter(x, AXIS, tiled=True),
    "all_to_all": lambda x, size: lax.all_to_all(x.reshape(size, -1), AXIS, 0, 0),
    "permute": lambda x, size: lax.ppermute(x, AXIS, [(i, (i + 1) % size) for i in range(size)]),
}
"""Of what a device puts in."""
MEETINGS = 4
"""Exchanges of a trip, each of a buffer of its own."""
SIDE = 64
"""Of the products between exchanges: long enough to part the devices, short beside an exchange."""
PAIRS = "pairs"
"""In place of a kind: sums over pairs, of other neighbours each time."""


def between(kind: str, size: int, buffer_bytes: int) -> tuple[Body, list[jax.Array], int]:
    """Exchanges of fp32 with a product before each, which waits for the exchange before it, as in a step; how many.

    In a loop with nothing else, devices are all at the same place when they meet, and what they exchange is in the
    cache. In a step each comes when it is done with its work, and waits.

    Args:
        kind: of collective, among all `size` devices; or `PAIRS`.
        size: devices.
        buffer_bytes: as `costmodel.collectives` counts: the larger of what a device puts in and takes out.
    """
    exchanges = pairs(size) if kind == PAIRS else [lambda x: EXCHANGES[kind](x, size)] * MEETINGS
    operand_bytes = buffer_bytes // size if kind == "all_gather" else buffer_bytes

    def body(x: jax.Array, w: jax.Array, *operands: jax.Array) -> tuple:
        left = []
        for exchange, operand in zip(exchanges, operands, strict=True):
            x = fed_back(x, x @ w)
            given = fed_back(operand, x)
            left.append(fed_back(given, 0.5 * exchange(given)[:1]))  # read before it is changed: nothing is copied
            x = fed_back(x, left[-1])
        return x, w, *left

    return body, [*_squares(), *[jnp.ones(operand_bytes // 4, jnp.float32)] * len(exchanges)], len(exchanges)


def products(count: int) -> tuple[Body, list[jax.Array], int]:
    """What `between` does but for its exchanges: so many products, after which devices meet as in `meeting`."""

    def body(met: jax.Array, x: jax.Array, w: jax.Array) -> tuple:
        for _ in range(count):
            x = fed_back(x, x @ w)
        return 0.1 * lax.psum(met, AXIS) + x[0, 0], x, w

    return body, [jnp.ones(MET, jnp.float32), *_squares()], count


def _squares() -> list[jax.Array]:
    return [jnp.full((SIDE, SIDE), 0.01)] * 2


def shared(buffer_bytes: int, size: int) -> int:
    """So many bytes, or a few more, that `size` devices have equal parts of."""
    unit = 4 * size
    return -(-buffer_bytes // unit) * unit


def pairs(size: int) -> list[Callable[[jax.Array], jax.Array]]:
    """Sums over pairs, of other neighbours each time; none for an odd number of devices.

    The same pairs again and again would each keep a core and meet at once: in a program whose groups change, and whose
    devices are not all at the same place, threads wait to be woken.
    """
    distances = [d for d in (1, 2, 4, 8) if size % (2 * d) == 0]
    groups = [[[i, i ^ d] for i in range(size) if not i & d] for d in distances]
    return [lambda x, g=g: lax.psum(x, AXIS, axis_index_groups=g) for g in groups]
