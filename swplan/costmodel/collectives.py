"""How long an exchange takes, by the best of the known algorithms.

Every one costs a line over the bytes (see `algorithms`), so the best for a buffer is the lowest line there.

`buffer_bytes` is what one device holds, the larger of its input and its output: for all_reduce the buffer, for
all_gather the gathered output, for reduce_scatter the unreduced input, for all_to_all and permute the local buffer.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from swplan.costmodel.algorithms import ALGORITHMS, Algorithm, Hop, Hops, Line
from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Group
from swplan.costmodel.schema import COLLECTIVES, choices_text
from swplan.errors import ChipError


def collective_time_s(
    kind: str, group: Group, buffer_bytes: float | np.ndarray, cluster: Cluster
) -> tuple[float | np.ndarray, int | np.ndarray]:
    """Time of one exchange by the cheapest algorithm.

    A group of one and a buffer of zero bytes cost exactly 0.

    Args:
        kind: One of `COLLECTIVES`.
        group: Who takes part; all groups of the same axes exchange at the same time.
        buffer_bytes: Bytes of the local buffer (see the module), a number or an array of any shape.
        cluster: The network.

    Returns:
        Time in seconds and the index of the algorithm in `algorithm_names(kind)`, both shaped like `buffer_bytes`.
    """
    times = _times(kind, group, buffer_bytes, cluster)
    index = times.argmin(axis=0)
    best = times.min(axis=0)
    return (best, index) if times.ndim > 1 else (float(best), int(index))


def algorithm_times_s(
    kind: str, group: Group, buffer_bytes: float | np.ndarray, cluster: Cluster
) -> dict[str, np.ndarray]:
    """Time in seconds of every algorithm by name; infinite where it does not apply to the group."""
    return dict(zip(algorithm_names(kind), _times(kind, group, buffer_bytes, cluster), strict=True))


@lru_cache
def algorithm_names(kind: str) -> tuple[str, ...]:
    """Names of the algorithms for a kind of collective, sorted; indices of algorithms refer to this."""
    assert kind in COLLECTIVES, f"swplan bug: no collective {kind!r}, only {COLLECTIVES}"
    return tuple(key.partition("/")[2] for key in ALGORITHMS if key.startswith(f"{kind}/"))


def check_algorithms(names: tuple[str, ...], where: str) -> None:
    """Check the algorithms that a chip's library is said to have; none at all stand for all that are known.

    Raises:
        ChipError: One is unknown, or a kind of collective has none that works for any group.
    """
    known = {key.partition("/")[2] for key in ALGORITHMS}
    for name in names:
        if name not in known:
            raise ChipError(f"{where}: algorithms names {name!r}; {choices_text(name, known)}")
    for kind in COLLECTIVES if names else ():
        general = [name for name in algorithm_names(kind) if ALGORITHMS[f"{kind}/{name}"](_THREE)]
        if not set(general) & set(names):
            raise ChipError(
                f"{where}: algorithms has none for {kind} in groups of any size; add {' or '.join(general)}."
            )


_THREE = (Hop(members=3, inside=1, bytes_per_s=1.0, latency_s=0.0),)


def _times(kind: str, group: Group, buffer_bytes: float | np.ndarray, cluster: Cluster) -> np.ndarray:
    """Times of all algorithms `[A, *shape of buffer_bytes]`."""
    alpha_s, beta_s_per_byte = lines(kind, group, cluster)
    size = np.asarray(buffer_bytes, dtype=float)
    column = (-1, *(1,) * size.ndim)
    return np.where(size > 0, alpha_s.reshape(column) + beta_s_per_byte.reshape(column) * size, 0.0)


@lru_cache(maxsize=65536)
def lines(kind: str, group: Group, cluster: Cluster) -> tuple[np.ndarray, np.ndarray]:
    """`alpha_s [A]` and `beta_s_per_byte [A]` of all algorithms for a kind."""
    hops = _hops(kind, group, cluster)
    names, library = algorithm_names(kind), cluster.chip.algorithms
    known = [not library or name in library for name in names]
    found = [
        _line(ALGORITHMS[f"{kind}/{name}"], hops) if has else _MISSING for name, has in zip(names, known, strict=True)
    ]
    alpha_s, beta_s_per_byte = np.array(found, dtype=float).T
    crossed = zip(cluster.tiers, group.per_tier, strict=True)
    return alpha_s + max((tier.rendezvous_s for tier, n in crossed if n > 1), default=0.0), beta_s_per_byte


_MISSING = Line(math.inf, 0.0)


def _line(algorithm: Algorithm, hops: Hops) -> Line:
    if not hops:
        return Line(0.0, 0.0)
    return algorithm(hops) or _MISSING


def _hops(kind: str, group: Group, cluster: Cluster) -> Hops:
    hops, inside = [], 1
    for tier, members in zip(cluster.tiers, group.per_tier, strict=True):
        link = tier.links[kind]
        if members > 1:
            hops.append(Hop(members=members, inside=inside, bytes_per_s=link.bytes_per_s, latency_s=link.latency_s))
        inside *= members
    return tuple(hops)
