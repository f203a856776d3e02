"""Algorithms of exchanges: what each costs over the tiers that a group crosses.

Every algorithm costs `alpha + beta * bytes` (Hockney 1994, doi 10.1016/S0167-8191(06)80021-9), so it is a function from
tiers to a line; `collectives` takes the lowest. The arithmetic of a reduction is not counted: it streams at memory
speed, several times that of the network.

To add an algorithm: one function with its source, decorated with `@_algorithm(kind, name)`; the tests find it and ask
for a simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from swplan._registry import Registry


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
def _recursive_doubling(hops: Hops) -> Line:
    """Swap whole buffers at distance 1, 2, 4, ... along each tier: fewest steps, for short ones.

    Along a tier that has no power of two of members, those beyond one hand theirs to a partner first, and get the sum
    from it in the end. Thakur et al. 2005.
    """
    steps = [hop.members.bit_length() - 1 + 2 * (hop.members & (hop.members - 1) != 0) for hop in hops]
    return Line(
        sum(count * hop.latency_s for count, hop in zip(steps, hops, strict=True)),
        sum(count / hop.bytes_per_s for count, hop in zip(steps, hops, strict=True)),
    )


@_algorithm("all_reduce", "double_tree")
def _double_tree(hops: Hops) -> Line | None:
    """Chains inside the units of the outer tier, two binary trees among these, each for half of the buffer.

    A unit hands a half up once and down to each of at most two children in the one tree, and is a leaf in the other:
    twice the buffer leaves it; of two units once, of three one and a half times. Chains begin at all members alike: of
    each part, all but the ends send once up and once down. Chunks follow one another, so the most loaded link counts,
    and the way to the root and back once. Sanders, Speck and Traeff 2009 (doi 10.1016/j.parco.2009.09.001); with
    chains as in NCCL: Jeaugey, "Massively Scale Your Deep Learning Training with NCCL 2.4", NVIDIA 2019.
    """
    if len(hops) != 2:
        return None
    inner, outer = hops
    sent = min(2.0, outer.members / 2)
    passed = (2 * (inner.members - 1) + sent) / inner.members
    depth = math.ceil(math.log2(outer.members))
    return Line(
        2 * ((inner.members - 1) * inner.latency_s + depth * outer.latency_s),
        max(passed / (inner.inside * inner.bytes_per_s), sent / (outer.inside * outer.bytes_per_s)),
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
