"""The plan for BaGuaLu's 14.5T model against its authors' strategy: `python -m benchmarks.quality [--json FILE]`.

Both are priced by one model on one jaxpr, on 96,000 nodes of the New-Generation Sunway supercomputer: with 256 nodes
in a supernode as it was built, and with the 240 of each that the authors used. Their strategy is that of
`swplan.validation.bagualu`: data parallelism inside supernodes, experts across, the optimizer partitioned over the data
parallel nodes, nothing recomputed. It is expressed as pins on the search, op by op, and what they leave open is solved:
the best plan of its kind. Its one deviation is said: a plan splits dims evenly, so the optimizer lies on as many of the
data parallel nodes as divide the weights of experts. Why one plan takes less time is said from their numbers.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import swplan
from benchmarks.models import build, written
from models.moe import MODA
from swplan.costmodel import Cluster
from swplan.costmodel.network import Placement
from swplan.estimate.pins import pins
from swplan.estimate.strategy import Strategy
from swplan.passes.partition import partition
from swplan.plan import Collective, OpCost, Plan
from swplan.runtime.compiler import xla
from swplan.search.classics import price_unlimited
from swplan.search.fitting import Found
from swplan.search.subject import subject
from swplan.validation import bagualu
from swplan.validation.tables import PACKAGED, cases_of
from swplan.views import units
from swplan.views.diff import diff_parts, difference
from swplan.views.folding import fold
from swplan.views.parts import KeyValues, Listing, Section
from swplan.views.tables import exchange_s, layout_text
from swplan.views.text import part_text

MODEL, SIZES, NODES = "models.moe:moda_14_5t", MODA["14.5T"], 96000
WIDTH = 4096
"""Of the models of the family."""
CLUSTERS = (f"sw26010pro:nodes={NODES}", f"sw26010pro:nodes={NODES},nodes_per_supernode={bagualu.INSIDE}")
SIDES = ("authors", "swplan")
AXES = ("data", "replica", "expert")
SUSTAINED = [case for case in cases_of(PACKAGED / "bagualu.toml")[0] if case.table == "bagualu sustained"]
MOST = 5
"""Differences that are put into words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """All exchanges of a kind, or all ops of a primitive, of one function in one part of the step, in both plans."""

    stage: str
    what: str
    where: str
    before: tuple[Collective | OpCost, ...]
    after: tuple[Collective | OpCost, ...]

    @property
    def saved_s(self) -> float:
        """Seconds that the later plan saves here."""
        return _time_s(self.before) - _time_s(self.after)


def strategies(precision: str) -> tuple[Strategy, Strategy]:
    """The authors' strategy, and the same with its data axis in two: parts of the optimizer, and copies of these."""
    stated = replace(bagualu.run(SIZES, NODES, precision).strategy, capacity=0.0)
    data = stated.degree("data")
    parts = gcd(data, SIZES["d_ff"], WIDTH)
    mesh = (("data", parts), ("replica", data // parts), ("expert", stated.degree("expert")))
    return stated, replace(stated, mesh=mesh)


def pinned(chosen: Plan, cluster: Cluster, held: Strategy) -> Plan:
    """The best plan within a strategy, for the program that another plan was made for, whether it fits or not."""
    program = chosen.origin.program
    prepared = subject(program.graph, cluster, xla())
    sizes = tuple(held.degree(axis) for axis in AXES)
    order = tuple(AXES.index(axis) for axis, _ in held.mesh)
    placement = Placement(cluster=cluster, sizes=sizes, order=order)
    best = price_unlimited(prepared, placement, pins(prepared.folded, held, AXES, sizes), exactly=False)
    device = partition(prepared.graph, sizes, best.choices)
    memory = prepared.peak(device)
    best = replace(best, memory_bytes=memory.peak_bytes)
    found = Found(best=best, program=device, memory=memory, runners_up=(), bound_s=best.cost_s, meshes=1)
    return written(prepared, program, found, chosen.precision, "authors")


def places(before: Plan, after: Plan) -> list[Place]:
    """Where time is spent, in both plans, largest difference first."""
    keyed: dict[tuple[str, str, str], tuple[list, list]] = defaultdict(lambda: ([], []))
    for side, plan in enumerate((before, after)):
        for item in (*plan.exchanges, *plan.ops):
            keyed[item.stage, _what(item), _function(item.source)][side].append(item)
    found = [
        Place(stage=stage, what=what, where=where, before=tuple(old), after=tuple(new))
        for (stage, what, where), (old, new) in keyed.items()
    ]
    return sorted(found, key=lambda place: -abs(place.saved_s))


def _what(item: Collective | OpCost) -> str:
    return item.kind if isinstance(item, Collective) else item.primitive


def _function(source: str) -> str:
    """The function of a source line; what has none goes back to the caller."""
    return source.rpartition("(")[2].rstrip(")") or "results"


def _time_s(items: Iterable[Collective | OpCost]) -> float:
    return sum(item.time_s for item in items)


def words(before: Plan, after: Plan) -> Iterator[str]:
    """Why the one plan takes less time than the other: what saves most, what costs most, what lies otherwise."""
    found = places(before, after)
    exchanged_s = exchange_s(before.breakdown) - exchange_s(after.breakdown)
    yield (
        f"The plan of {SIDES[1]} takes {_change(before.step_time_s - after.step_time_s)} than that of the {SIDES[0]}: "
        f"its exchanges {_change(exchanged_s)}. "
        f"{_change(sum(p.saved_s for p in found if p.saved_s > 0))} in some places, "
        f"{_change(sum(p.saved_s for p in found if p.saved_s < 0))} in others; the largest differences:"
    )
    yield from (_sentence(place, before, after) for place in found[:MOST])
    yield f"What lies otherwise ({SIDES[0]} -> {SIDES[1]}), most bytes first:"
    yield from _layouts(before, after)


def _change(saved_s: float) -> str:
    return f"{units.duration(abs(saved_s))} {'less' if saved_s >= 0 else 'more'}"


def _sentence(place: Place, before: Plan, after: Plan) -> str:
    old, new = _runs(place.before, before), _runs(place.after, after)
    where = f"{place.stage}, {place.what} at {place.where}"
    if not place.after:
        return f"{where}: {units.duration(place.saved_s)} that fall away: {old}."
    if not place.before:
        return f"{where}: {units.duration(-place.saved_s)} that are new: {new}."
    return f"{where}: {_change(place.saved_s)}: {old} became {new}."


def _runs(items: Sequence[Collective | OpCost], plan: Plan) -> str:
    """Runs, bytes, axes and algorithm, or how ops are split: the three dearest of them."""
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for item in items:
        total = totals[_how(item, plan)]
        total[0], total[1] = total[0] + item.count, total[1] + item.time_s
    dearest = sorted(totals.items(), key=lambda entry: -entry[1][1])
    shown = [f"{count:,.0f} x {how} ({units.duration(seconds)})" for how, (count, seconds) in dearest[:3]]
    return " and ".join(shown + (["others"] if len(dearest) > 3 else []))


def _how(item: Collective | OpCost, plan: Plan) -> str:
    if isinstance(item, OpCost):
        return f"split {item.split or 'nowhere'}"
    axes = " ".join(f"{axis}:{plan.mesh[axis]}" for axis in item.axes)
    return f"{units.size(item.bytes)} over {axes} ({item.algorithm})"


def _layouts(before: Plan, after: Plan) -> Iterator[str]:
    """The inputs that lie otherwise, most bytes first, equal ones of all layers together."""
    pairs = [(old, new) for old, new in difference(before, after).shardings if old and new and not old.replaces]
    groups = fold(pairs, lambda pair: pair[0].name, lambda pair: (pair[0].shape, pair[0].spec, pair[1].spec))
    for name, members in sorted(groups, key=lambda group: -sum(old.bytes for old, _ in group[1]))[:MOST]:
        old, new = members[0]
        held = " -> ".join(units.size(sum(pair[side].device_bytes for pair in members)) for side in (0, 1))
        yield f"{name}: {layout_text(old.shape, old.spec)} -> {layout_text(new.shape, new.spec)}, {held} a node"


def flops_per_s(plan: Plan) -> float:
    """Products for all tokens, forward and backward, over the time of a step; empty slots of experts do not count."""
    return bagualu.flops(SIZES, plan.devices) / plan.step_time_s


def section(before: Plan, after: Plan, stated: Strategy, held: Strategy, published: float) -> Section:
    """The comparison, for people."""
    headline, causes, *_ = diff_parts(before, after, names=SIDES).parts
    headline = replace(headline, rows=headline.rows[:-1])  # the gap: what pins leave has no bound of its own
    count = stated.degree("data")
    rows = [
        ("their strategy", f"{stated}, as {held}: optimizer on {held.degree('data')} of {count} nodes"),
        *((f"{name}, FLOP/s", f"{flops_per_s(plan):.3e}") for name, plan in zip(SIDES, (before, after), strict=True)),
        ("published", f"{published:.3e} FLOP/s, measured"),
        ("ratio", f"{before.step_time_s / after.step_time_s:.3f} (time of the authors' over that of swplan's)"),
        (
            "ratio, at least",
            f"{_finer_s(before, stated, held) / after.step_time_s:.3f} with the optimizer on all {count} nodes",
        ),
    ]
    if before.peak_memory_bytes > before.memory.capacity_bytes:
        rows.append(("does not fit", f"the authors' plan needs more than {units.size(before.memory.capacity_bytes)}"))
    reasons = Section(title="Why", parts=(Listing(items=tuple(words(before, after))),))
    return Section(title=f"14.5T on {after.cluster}", parts=(KeyValues(rows=tuple(rows)), headline, causes, reasons))


def _finer_s(before: Plan, stated: Strategy, held: Strategy) -> float:
    """A bound on the authors' time with the optimizer on all their data parallel nodes.

    Its work would shrink; a reduce-scatter and an all-gather over all nodes carry no fewer bytes than those over some
    of them with an all-reduce over the others.
    """
    return before.step_time_s - before.breakdown["optimizer"] * (1 - held.degree("data") / stated.degree("data"))


def numbers(before: Plan, after: Plan) -> dict:
    """The comparison, for programs."""
    sides = {
        name: {
            "step_time_s": plan.step_time_s,
            "flops_per_s": flops_per_s(plan),
            "peak_memory_bytes": plan.peak_memory_bytes,
            "mesh": {axis.name: axis.size for axis in plan.axes},
            "breakdown": plan.breakdown,
        }
        for name, plan in zip(SIDES, (before, after), strict=True)
    }
    ratio = before.step_time_s / after.step_time_s
    return {"cluster": after.cluster, "ratio": ratio, **sides, "why": list(words(before, after))}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cluster", action="append", help=f"of {NODES} nodes; {' and '.join(CLUSTERS)} if absent")
    parser.add_argument("--precision", default="fp32", help="of both plans, as for swplan.plan")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers there")
    options = parser.parse_args()
    kind = "fp32" if options.precision == "fp32" else "mixed"
    (step, args), (stated, held), found = build(MODEL), strategies(kind), []
    (published,) = (case.measured for case in SUSTAINED if case.id == f"14.5T-{kind}")
    for cluster in options.cluster or CLUSTERS:
        after = swplan.plan(step, *args, cluster=cluster, precision=options.precision)
        before = pinned(after, Cluster.parse(cluster), held)
        print(part_text(section(before, after, stated, held, published), width=140), flush=True)
        found.append(numbers(before, after))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
