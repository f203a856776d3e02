"""An oracle for `collectives`: every message of every step, on every device, with what it carries.

Shares no formula with the cost model. A schedule says who sends which chunks to whom; the simulator moves them, times
each step by its most loaded link (all of them together, where they are pipelined), and checks that everybody ends with
what the collective promises. All groups of a mesh run at once, so that links are shared as they would be.
"""

import itertools
import math
from collections import Counter, defaultdict

from swplan.costmodel import Cluster, Placement


def digits(rank, radices):
    """The mixed-radix digits of a rank, fastest first."""
    out = []
    for radix in radices:
        out.append(rank % radix)
        rank //= radix
    return tuple(out)


def ranks_of(radices):
    """Digits of a rank to the rank."""
    return {digits(rank, radices): rank for rank in range(math.prod(radices))}


def shifted(position, tier, step, radices):
    """The position `step` further along one digit."""
    return (*position[:tier], (position[tier] + step) % radices[tier], *position[tier + 1 :])


def ring_step(tier, radices, offset):
    """Everyone passes on, along one digit, the chunks that match its inner digits and lie `offset` back in this one."""
    rank_of, messages = ranks_of(radices), []
    for position, rank in rank_of.items():
        wanted = (*position[:tier], (position[tier] - offset) % radices[tier])
        chunks = [chunk for where, chunk in rank_of.items() if where[: tier + 1] == wanted]
        messages.append((rank, rank_of[shifted(position, tier, 1, radices)], chunks))
    return messages


def reduce_scatter(radices):
    """Rings from the inside outwards; rank r ends with chunk r."""
    for tier, members in enumerate(radices):
        for step in range(members - 1):
            yield ring_step(tier, radices, step + 1)


def all_gather(radices):
    """Rings from the outside inwards; rank r begins with chunk r."""
    for tier, members in reversed(list(enumerate(radices))):
        for step in range(members - 1):
            yield ring_step(tier, radices, step)


def all_reduce(radices):
    """One after the other."""
    yield from reduce_scatter(radices)
    yield from all_gather(radices)


def swap_everything(radices):
    """Whole buffers between partners along each digit; what is beyond a power of two joins a partner meanwhile."""
    for tier, members in enumerate(radices):
        core = 1 << members.bit_length() - 1
        yield from ([everything(radices, tier, range(core, members), core)] if members > core else [])
        for distance in (1 << bit for bit in range(core.bit_length() - 1)):
            yield everything(radices, tier, range(core), distance)
        yield from ([everything(radices, tier, range(members - core), core)] if members > core else [])


def everything(radices, tier, senders, distance):
    """The whole buffers of those with these digits, to the ones whose digit differs in one bit."""
    rank_of = ranks_of(radices)
    partner = lambda position: (*position[:tier], position[tier] ^ distance, *position[tier + 1 :])  # noqa: E731
    return [(rank, rank_of[partner(p)], list(rank_of.values())) for p, rank in rank_of.items() if p[tier] in senders]


def double_tree(radices):
    """Every chunk along a chain of its unit, up a tree of units to the root, and the same way back.

    One half of the chunks takes the one tree, the other half the other; the members of a unit take turns at its head.
    """
    ways = [way_up(chunk, *radices) for chunk in range(2 * math.prod(radices))]
    steps = list(zip(*ways, strict=True))
    for step in steps:
        yield [(source, target, [chunk]) for chunk, links in enumerate(step) for source, target in links]
    for step in reversed(steps):
        yield [(target, source, [chunk]) for chunk, links in enumerate(step) for source, target in links]


def way_up(chunk, members, units):
    """The links that a chunk takes to the root of its tree, step by step."""
    head, names = chunk // 2 % members, tree_names(units, chunk % 2)
    rank = lambda member, unit: (head + member) % members + members * unit  # noqa: E731
    chain = [[(rank(m, unit), rank(m - 1, unit)) for unit in range(units)] for m in range(members - 1, 0, -1)]
    levels = [[v for v in range(1, units) if depth(v, units) == d] for d in range(deepest(units), 0, -1)]
    return chain + [[(rank(0, names[v]), rank(0, names[parent(v, units)])) for v in level] for level in levels]


def parent(v, units):
    """Of a node of a binary tree of which 0 is the root and all odd nodes are leaves."""
    low = v & -v
    above = (v ^ low) | 2 * low
    return above if above < units else v ^ low


def depth(v, units):
    """How far a node is from the root."""
    return 1 + depth(parent(v, units), units) if v else 0


def deepest(units):
    """Of all nodes."""
    return max(depth(v, units) for v in range(units))


def tree_names(units, is_second):
    """The units at the nodes of a tree: in the second one, leaves of the first are inner nodes."""
    return [(units - 1 - v if units % 2 == 0 else (v + 1) % units) if is_second else v for v in range(units)]


def direct_all_to_all(radices):
    """Everyone sends at the same distance at the same time."""
    rank_of = ranks_of(radices)
    for distance in itertools.islice(itertools.product(*map(range, radices)), 1, None):
        messages = []
        for position, rank in rank_of.items():
            peer = rank_of[tuple((p + d) % r for p, d, r in zip(position, distance, radices, strict=True))]
            messages.append((rank, peer, [(rank, peer)]))
        yield messages


def tiered_all_to_all(radices):
    """Along each digit in turn, everything that must change that digit."""
    rank_of = ranks_of(radices)
    for tier, members in enumerate(radices):
        for distance in range(1, members):
            yield [message(position, tier, distance, radices, rank_of) for position in rank_of]


def message(position, tier, distance, radices, rank_of):
    """What `position` holds (inner digits of the target right, outer digits of the source right) for its peer."""
    peer = shifted(position, tier, distance, radices)
    sources = [rank for where, rank in rank_of.items() if where[tier:] == position[tier:]]
    targets = [rank for where, rank in rank_of.items() if where[: tier + 1] == peer[: tier + 1]]
    return rank_of[position], rank_of[peer], list(itertools.product(sources, targets))


def farthest_shift(radices):
    """Everyone sends its buffer to the next one along the outermost digit."""
    rank_of = ranks_of(radices)
    tier = max(tier for tier, members in enumerate(radices) if members > 1)
    yield [(rank, rank_of[shifted(position, tier, 1, radices)], [rank]) for position, rank in rank_of.items()]


def whole(per_tier):
    """The group as one digit: algorithms that ignore the tiers."""
    return (math.prod(per_tier),)


def binary(per_tier):
    """The group as digits of radix 2."""
    return (2,) * round(math.log2(math.prod(per_tier)))


def crossed_tiers(per_tier):
    """The tiers on which the group has several members, as digits."""
    return tuple(members for members in per_tier if members > 1)


SCHEDULES = {
    "all_gather/ring": (all_gather, whole),
    "all_gather/recursive": (all_gather, binary),
    "all_gather/hierarchical": (all_gather, tuple),
    "reduce_scatter/ring": (reduce_scatter, whole),
    "reduce_scatter/recursive": (reduce_scatter, binary),
    "reduce_scatter/hierarchical": (reduce_scatter, tuple),
    "all_reduce/ring": (all_reduce, whole),
    "all_reduce/halving_doubling": (all_reduce, binary),
    "all_reduce/hierarchical": (all_reduce, tuple),
    "all_reduce/recursive_doubling": (swap_everything, tuple),
    "all_reduce/double_tree": (double_tree, crossed_tiers),
    "all_to_all/direct": (direct_all_to_all, tuple),
    "all_to_all/hierarchical": (tiered_all_to_all, tuple),
    "permute/direct": (farthest_shift, tuple),
}
"""Who sends what: the schedule, and the digits in which it counts the ranks of a group."""

PIPELINED = ("all_reduce/double_tree",)
"""Those of which all steps run at once, for one piece of each chunk after another."""


def groups_of(placement: Placement, axes) -> list[list[int]]:
    """All groups of devices that differ in these axes only, each in order of device number."""
    groups = defaultdict(list)
    for device in range(placement.cluster.devices):
        rest, fixed = device, []
        for axis in placement.order:
            rest, coordinate = divmod(rest, placement.sizes[axis])
            fixed.append(None if axis in axes else coordinate)
        groups[tuple(fixed)].append(device)
    return list(groups.values())


def simulated_time_s(key: str, placement: Placement, axes, buffer_bytes: float) -> float:
    """Time of one collective, after checking that it does what its kind promises."""
    kind = key.partition("/")[0]
    schedule, count_in = SCHEDULES[key]
    groups, group = groups_of(placement, axes), placement.group(axes)
    steps = list(schedule(count_in(group.per_tier)))
    chunks = 2 * group.size if key in PIPELINED else group.size
    check_outcome(kind, steps, group.size, chunks)
    chunk_bytes = buffer_bytes if kind == "permute" else buffer_bytes / chunks
    costs = [step_cost(kind, step, groups, chunk_bytes, placement.cluster) for step in steps]
    if key in PIPELINED:
        return sum(latency_s for latency_s, _ in costs) + max(sum((load for _, load in costs), Counter()).values())
    return sum(latency_s + max(load.values()) for latency_s, load in costs)


def step_cost(kind: str, step, groups, chunk_bytes: float, cluster: Cluster) -> tuple[float, Counter]:
    """The slowest message start, and how long every link is busy: of a device, or shared by a unit of a tier."""
    links = [tier.links[kind] for tier in cluster.tiers]
    capacities = list(itertools.accumulate((tier.size for tier in cluster.tiers), int.__mul__))
    load, latency_s = Counter(), 0.0
    for group, (source, target, chunks) in itertools.product(groups, step):
        for tier in crossed(group[source], group[target], capacities):
            units = capacities[tier - 1] if tier else 1
            load[tier, group[source] // units] += len(chunks) * chunk_bytes / (units * links[tier].bytes_per_s)
            latency_s = max(latency_s, links[tier].latency_s)
    return latency_s, load


def crossed(source: int, target: int, capacities) -> list[int]:
    """The tiers that a message passes: its own device's link (0), and those whose units it leaves."""
    left = [tier for tier, units in enumerate(capacities[:-1], start=1) if source // units != target // units]
    return [0, *left]


def check_outcome(kind: str, steps, size: int, count: int) -> None:
    """Move the chunks; each is held as the set of ranks whose contribution is in it."""
    everyone = frozenset(range(size))
    held = [dict(start) for start in START[kind](size, count)]
    moves = kind in ("all_to_all", "permute", "reduce_scatter")
    for step in steps:
        arriving = [(t, chunk, held[s][chunk]) for s, t, chunks in step for chunk in chunks]
        for source, _, chunks in step:
            for chunk in chunks if moves else ():
                del held[source][chunk]
        for target, chunk, parts in arriving:
            held[target][chunk] = merged(held[target].get(chunk, frozenset()), parts, everyone)
    for rank in range(size):
        assert KEPT[kind](held[rank], rank, size, count), f"{kind}: rank {rank} of {size} ends with {held[rank]}"


def merged(mine: frozenset, arriving: frozenset, everyone: frozenset) -> frozenset:
    """A finished chunk, or one with all that is here, replaces; else both are added, and nothing may be added twice."""
    if arriving == everyone or mine <= arriving:
        return arriving
    assert not mine & arriving, "a contribution is counted twice"
    return mine | arriving


def _own(size, _):
    return [{rank: frozenset(range(size))} for rank in range(size)]


def _unreduced(size, chunks):
    return [{chunk: frozenset({rank}) for chunk in range(chunks)} for rank in range(size)]


START = {
    "all_gather": _own,
    "permute": _own,
    "reduce_scatter": _unreduced,
    "all_reduce": _unreduced,
    "all_to_all": lambda n, _: [{(rank, target): frozenset({rank}) for target in range(n)} for rank in range(n)],
}


def _all_of_all(held, rank, size, chunks):
    return held == {chunk: frozenset(range(size)) for chunk in range(chunks)}


KEPT = {
    "all_gather": _all_of_all,
    "all_reduce": _all_of_all,
    "reduce_scatter": lambda held, rank, size, _: held == {rank: frozenset(range(size))},
    "all_to_all": lambda held, rank, size, _: held == {(source, rank): frozenset({source}) for source in range(size)},
    "permute": lambda held, rank, size, _: len(held) == 1 and rank not in held,
}
"""Whether a rank ends with what the collective promises."""
