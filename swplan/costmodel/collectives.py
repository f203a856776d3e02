"""How long an exchange takes, by the best of the known algorithms.

Every algorithm here costs `alpha + beta * bytes` (Hockney 1994, doi 10.1016/S0167-8191(06)80021-9), so an algorithm is
a function from the tiers that a group crosses to its line, and the best algorithm for a buffer is the lowest line
there. The arithmetic of a reduction is not counted: it streams at memory speed, several times that of the network.

`buffer_bytes` is what one device holds, the larger of its input and its output: for all_reduce the buffer, for
all_gather the gathered output, for reduce_scatter the unreduced input, for all_to_all and permute the local buffer.

To add an algorithm: one function with its source, decorated with `@_algorithm(kind, name)`; the tests find it and ask
for a simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from swplan._registry import Registry
from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Group
from swplan.costmodel.schema import COLLECTIVES, choices_text
from swplan.errors import ChipError


class Line(NamedTuple):
    """Time against bytes: `alpha_s + beta_s_per_byte * bytes`."""

    alpha_s: float
    beta_s_per_byte: float

    def __mul__(self, times: float) -> Line:
        return Line(self.alpha_s * times, self.beta_s_per_byte * times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A tier that a group crosses.

    Attributes:
        members: Of the group along this tier, at least 2.
        inside: Members below each of those; 1 for the first hop.
        bytes_per_s: What one device sustains across the tier while all devices do the same.
        latency_s: Of one message across the tier.
    """

    members: int
    inside: int
    bytes_per_s: float
    latency_s: float


Hops: TypeAlias = "tuple[Hop, ...]"
Algorithm: TypeAlias = "Callable[[Hops], Line | None]"
"""The line of an algorithm over the tiers crossed (one or more, innermost first); None where it does not apply."""

ALGORITHMS: Registry[str, Algorithm] = Registry("collective algorithm")
"""Keys are `kind/name`."""


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


def _algorithm(kind: str, name: str) -> Callable[[Algorithm], Algorithm]:
    return ALGORITHMS.register(f"{kind}/{name}")


# All-gather and reduce-scatter: mirror images of each other, with equal cost.


@_algorithm("all_gather", "ring")
@_algorithm("reduce_scatter", "ring")
def _ring(hops: Hops) -> Line:
    """Pass a 1/n part to the next device, n - 1 times; neighbours sit next to each other.

    Only one of the `inside` members below a tier sends across it, so that one may use the bandwidth of all of them, up
    to its own. Thakur, Rabenseifner and Gropp 2005 (doi 10.1177/1094342005051521), allgather; optimal in bytes on
    trees: Patarasuk and Yuan 2009 (doi 10.1016/j.jpdc.2008.09.002).
    """
    size = _size(hops)
    bytes_per_s = min(hop.bytes_per_s * hop.inside for hop in hops)
    return Line(max(hop.latency_s for hop in hops), 1 / (size * bytes_per_s)) * (size - 1)


@_algorithm("all_gather", "recursive")
@_algorithm("reduce_scatter", "recursive")
def _recursive(hops: Hops) -> Line | None:
    """Exchange with a partner at distance 1, 2, 4, ...; powers of two only.

    Reduce-scatter halves the vector at each step and starts with the nearest partner, so that little is left for the
    far ones; all-gather runs backwards. Rabenseifner 2004 (doi 10.1007/978-3-540-24685-5_1), "vector halving and
    distance doubling"; costs as in Thakur et al. 2005.
    """
    if not _power_of_two(hops):
        return None
    return Line(sum(math.log2(hop.members) * hop.latency_s for hop in hops), _tiered_beta(hops))


@_algorithm("all_gather", "hierarchical")
@_algorithm("reduce_scatter", "hierarchical")
def _hierarchical(hops: Hops) -> Line | None:
    """A ring in each tier: reduce-scatter from the inside outwards, all-gather from the outside inwards.

    Each tier carries only what the tiers inside it have left. Cho et al., "BlueConnect", MLSys 2019.
    """
    if len(hops) < 2:
        return None
    return Line(sum((hop.members - 1) * hop.latency_s for hop in hops), _tiered_beta(hops))


# All-reduce: a reduce-scatter and an all-gather by the same algorithm, or whole buffers at once.


@_algorithm("all_reduce", "ring")
def _ring_all_reduce(hops: Hops) -> Line:
    """Ring reduce-scatter, then ring all-gather: 2 (n - 1) steps. Patarasuk and Yuan 2009."""
    return _ring(hops) * 2


@_algorithm("all_reduce", "halving_doubling")
def _halving_doubling(hops: Hops) -> Line | None:
    """Recursive halving, then recursive doubling: Rabenseifner's algorithm. Thakur et al. 2005."""
    line = _recursive(hops)
    return line and line * 2


@_algorithm("all_reduce", "hierarchical")
def _hierarchical_all_reduce(hops: Hops) -> Line | None:
    """Reduce-scatter inside, all-reduce across, all-gather inside, each by rings. Cho et al. 2019."""
    line = _hierarchical(hops)
    return line and line * 2


@_algorithm("all_reduce", "recursive_doubling")
def _recursive_doubling(hops: Hops) -> Line | None:
    """Swap whole buffers at distance 1, 2, 4, ...: fewest steps, for short ones. Thakur et al. 2005."""
    if not _power_of_two(hops):
        return None
    steps = [math.log2(hop.members) for hop in hops]
    return Line(
        sum(count * hop.latency_s for count, hop in zip(steps, hops, strict=True)),
        sum(count / hop.bytes_per_s for count, hop in zip(steps, hops, strict=True)),
    )


@_algorithm("all_to_all", "direct")
def _direct_all_to_all(hops: Hops) -> Line:
    """A 1/n part to each of the others in turn, all devices at the same distance at the same time.

    Pairwise exchange for long messages: Thakur et al. 2005. Of the n - 1 peers, `inside * (members - 1)` are
    across a tier.
    """
    size = _size(hops)
    peers = [hop.inside * (hop.members - 1) for hop in hops]
    return Line(
        sum(count * hop.latency_s for count, hop in zip(peers, hops, strict=True)),
        sum(count / (size * hop.bytes_per_s) for count, hop in zip(peers, hops, strict=True)),
    )


@_algorithm("all_to_all", "hierarchical")
def _hierarchical_all_to_all(hops: Hops) -> Line | None:
    """A direct all-to-all of the whole buffer in each tier: fewer and longer messages across.

    Hwang et al., "Tutel", MLSys 2023 (arXiv 2206.03382): two-dimensional hierarchical all-to-all.
    """
    if len(hops) < 2:
        return None
    return Line(
        sum((hop.members - 1) * hop.latency_s for hop in hops),
        sum((hop.members - 1) / (hop.members * hop.bytes_per_s) for hop in hops),
    )


@_algorithm("permute", "direct")
def _direct_permute(hops: Hops) -> Line:
    """One message; the permutation is not known here, so all devices may send across the outermost tier at once."""
    return Line(hops[-1].latency_s, 1 / hops[-1].bytes_per_s)


def _size(hops: Hops) -> int:
    return math.prod(hop.members for hop in hops)


def _power_of_two(hops: Hops) -> bool:
    return all(hop.members & (hop.members - 1) == 0 for hop in hops)


def _tiered_beta(hops: Hops) -> float:
    """Seconds per byte where each tier in turn keeps 1/members of what the tiers inside it have left."""
    return sum((hop.members - 1) / (hop.members * hop.inside * hop.bytes_per_s) for hop in hops)


ALGORITHMS.seal()
