"""Why nothing fits: by how much, what is largest at the least peak that was found, and which changes would fit.

Every change that is named was checked: it stands for a finished program whose peak is within the memory of a device,
found on a few meshes only, so a whole search may find a faster one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from swplan.costmodel.cluster import Cluster
from swplan.costmodel.network import Placement
from swplan.errors import InfeasibleError
from swplan.ir.graph import Graph
from swplan.passes.memory import MemoryReport
from swplan.passes.partition import partition
from swplan.plan import Precision
from swplan.runtime.precise import applied, chosen
from swplan.runtime.trace import Program
from swplan.search.exploring import MOST_AXES, MOST_PARTS, Make
from swplan.search.fitting import Found
from swplan.search.hunting import ROUGH
from swplan.search.meshes import candidate_meshes, refined, useful_sizes
from swplan.search.pinning import Pinned
from swplan.search.planner import find
from swplan.search.space import Space, lower_bound, needed_bytes, space
from swplan.search.subject import FREE, Subject, pricer_on, solve_space, subject
from swplan.search.variants import AS_WRITTEN, Variant, levels, micro_batch_counts

TIMES = (2, 4, 8, 16, 32, 64)
"""How many times the devices are tried, until something fits."""
SHAPES, MESHES = 12, 2
"""Mesh shapes of up to two axes that are looked at for each change, and meshes that are solved or refined."""
NEAR = 2.0
"""How many times the memory of a device may be needed where another axis is still tried, if none was asked for."""
LOOSENINGS = (1.02, 1.1, 1.3, 1.7, 2.5, 5.0)
"""Memory limits that are tried to find a plan of little memory, in parts of what must be held."""
SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something that would fit, as a plan that was found.

    Attributes:
      what: the change, in words.
      options: the options of `swplan.plan` that make it.
      step_time_s: of that plan; others may be faster.
      peak_memory_bytes: of that plan.
      mesh: sizes of its axes.
    """

    what: str
    options: Mapping[str, object]
    step_time_s: float
    peak_memory_bytes: int
    mesh: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Lacking:
    """What was asked for and does not fit.

    Attributes:
      prepared: the program as written, in its precision.
      program: the same before it was prepared.
      precision: of the program.
      variants: graphs of the programs that hold less, by what they do.
      tried: fewest bytes of the variants that were searched.
      asked: "plan", or the kind of plan.
      forced: whether the variant was given, not searched.
      pins: what holds the search, for each variant.
      max_axes: how many mesh axes were asked for; None if that was left open.
    """

    prepared: Subject
    program: Program
    precision: Precision
    variants: Mapping[Variant, Graph]
    tried: Mapping[Variant, float]
    asked: str
    forced: bool
    pins: Callable[[Subject], Pinned | None]
    max_axes: int | None

    def error(self) -> InfeasibleError:
        """The error that says all of it."""
        cluster = self.prepared.cluster
        variant, graph, held = self.least()
        changes = tuple(self.changes())
        over = held.peak_bytes - cluster.memory_bytes if held is not None else 0
        largest = _largest(held, graph) if held is not None else ()
        lines = [f"no {self.asked} fits: a device of {cluster.chip.name} has {size_text(cluster.memory_bytes)}"]
        if held is not None and over > 0:
            so = f" with {_variant_text(variant)}" if variant != AS_WRITTEN else ""
            lines[0] += f", the least that was found{so} takes {size_text(held.peak_bytes)}: {size_text(over)} too much"
        lines[0] += "."
        lines += [f"  Largest at that peak: {', '.join(_named(*row) for row in largest)}."] if largest else []
        lines += [f"  Fits with {_change_text(change)}." for change in changes]
        if not changes and self.asked == "plan":
            lines.append(f"  Not even {TIMES[-1]} times more devices were found to be enough.")
        lines += [f"  {text}" for text in self.reached()]
        return InfeasibleError("\n".join(lines), over_bytes=max(over, 0), largest=largest, changes=changes)

    @cached_property
    def subjects(self) -> dict[Variant, Subject]:
        """The variants, ready to be planned."""
        return {variant: self.on(self.prepared.cluster, graph) for variant, graph in self.variants.items()}

    def on(self, cluster: Cluster, graph: Graph) -> Subject:
        """A program on a cluster, ready to be planned."""
        return subject(graph, cluster, self.prepared.xla)

    def least(self) -> tuple[Variant, Graph, MemoryReport | None]:
        """What is held at the peak of a plan that takes as little memory as could be found, of a variant allowed."""
        free = self.asked == "plan" and not self.forced
        allowed = self.subjects if free else {AS_WRITTEN: self.prepared}
        rows = {variant: ranked(one, self.pins(one), self.max_axes)[:1] for variant, one in allowed.items()}
        tried = {variant: (least, area) for variant, found in rows.items() for least, _, area in found}
        if not tried:
            return AS_WRITTEN, self.prepared.graph, None
        variant = min(tried, key=lambda variant: tried[variant][0])
        return variant, allowed[variant].graph, least_peak(allowed[variant], tried[variant][1])

    def reached(self) -> Iterator[str]:
        """What micro-batches and recomputation need at least."""
        for variant, least in sorted(self.tried.items(), key=lambda pair: pair[1])[:SHOWN]:
            if variant != AS_WRITTEN and least < float("inf"):
                yield f"With {_variant_text(variant)}: at least {size_text(least)}."

    def changes(self) -> Iterator[Change]:
        """Changes that fit, each the smallest of its kind."""
        cluster = self.prepared.cluster
        if self.asked != "plan":
            yield from self.checked(cluster, "a plan of another kind", {"baseline": None})
            return
        if self.forced:
            yield from self.checked(cluster, "other micro-batches and recomputation", {})
        if self.max_axes is not None and self.max_axes < MOST_AXES:
            yield from self.checked(cluster, "more mesh axes", {"max_axes": MOST_AXES}, axes=MOST_AXES)
        key = f"{cluster.chip.device}s"
        for times in TIMES:
            larger = cluster.replace({key: times * cluster.devices})
            found = list(self.checked(larger, f"{times} times more devices ({larger.spec})", {"cluster": larger.spec}))
            yield from found
            if found:
                break
        if all(name == "fp32" for name in self.precision.classes.values()):
            yield from self.lower()

    def lower(self) -> Iterator[Change]:
        """The same in bf16."""
        low = chosen(self.prepared.graph, self.prepared.cluster.chip, "bf16")
        graph = applied(low, replace(self.program, graph=self.prepared.graph)).graph
        yield from self.checked(self.prepared.cluster, "precision bf16", {"precision": "bf16"}, {AS_WRITTEN: graph})

    def checked(
        self,
        cluster: Cluster,
        what: str,
        options: Mapping,
        graphs: Mapping[Variant, Graph] | None = None,
        axes: int | None = None,
    ) -> Iterator[Change]:
        """The change, if a variant fits with it: as written rather than with micro-batches and recomputation."""
        for variant, graph in (graphs or self.variants).items():
            one = self.on(cluster, graph)
            found = quick(one, self.pins(one), axes or self.max_axes)
            if found is not None:
                more = {} if variant == AS_WRITTEN else _options(variant)
                words = what if variant == AS_WRITTEN else f"{what}, {_variant_text(variant)}"
                yield Change(
                    what=words,
                    options={**options, **more},
                    step_time_s=float(found.best.cost_s) + cluster.chip.storage_s,
                    peak_memory_bytes=int(found.best.memory_bytes),
                    mesh=found.best.placement.sizes,
                )
                return


Ranked = list[tuple[float, float, Space]]
"""Spaces of meshes with the bytes that must be held and the least seconds, those that hold least first."""


def quick(prepared: Subject, pins: Pinned | None = None, max_axes: int | None = None) -> Found | None:
    """A plan that fits, from a few meshes."""
    found = ranked(prepared, pins, max_axes)
    fits = [area.pricer.placement for least, _, area in found if least <= prepared.cluster.memory_bytes]
    meshes = list(dict.fromkeys(fits))[:MESHES]
    return find(prepared, max_axes=max_axes or MOST_AXES, meshes=meshes, pins=pins, loose=ROUGH) if meshes else None


def ranked(prepared: Subject, pins: Pinned | None, max_axes: int | None) -> Ranked:
    """Meshes of up to two axes; while none holds little enough but some come near, those that split an axis of them."""
    most, shapes = max_axes or MOST_AXES, {}
    fewest = max(min(2, most), pins.axes if pins is not None else 0)
    for mesh in candidate_meshes(prepared.cluster, prepared.decisions, fewest):
        shapes.setdefault(mesh.sizes, mesh)
    balanced = sorted(shapes.values(), key=lambda mesh: (max(mesh.sizes, default=1), mesh.sizes))[:SHAPES]
    found = _needs(prepared, balanced, pins)
    for axes in range(fewest + 1, most + 1) if found else ():
        times = found[0][0] / prepared.cluster.memory_bytes
        if times <= 1 or (max_axes is None and times > NEAR):
            break
        seeds = [area.pricer.placement for *_, area in found if len(area.pricer.sizes) == axes - 1][:MESHES]
        meshes = refined(prepared.cluster, seeds, useful_sizes(prepared.decisions, prepared.cluster.devices))
        found = sorted(found + _needs(prepared, meshes[:SHAPES], pins), key=lambda row: row[:2])
    return found


def _needs(prepared: Subject, meshes: Sequence[Placement], pins: Pinned | None) -> Ranked:
    """What meshes need at least, and every way to be held on each."""
    held = [(mesh, bound) for mesh in meshes for bound in (pins.on(mesh) if pins is not None else (FREE,))]
    areas = [space(prepared.folded, pricer_on(prepared, mesh), bound.options) for mesh, bound in held]
    rows = [(needed_bytes(area, prepared.moments), lower_bound(area), area) for area in areas]
    return sorted(rows, key=lambda row: row[:2])


def least_peak(prepared: Subject, area: Space) -> MemoryReport | None:
    """What is held at the peak of a plan that takes as little memory as could be found on a mesh."""
    least, sizes = needed_bytes(area, prepared.moments), area.pricer.sizes
    for loosening in LOOSENINGS:
        solution, _ = solve_space(prepared, area, least * loosening)
        if solution.choice is not None:
            return prepared.peak(partition(prepared.graph, sizes, area.choices(solution.choice)))
    return None


def _largest(held: MemoryReport, graph: Graph) -> tuple[tuple[str, int, int], ...]:
    """Names of the largest values at the peak, with their bytes on a device and in all."""
    rows = (
        (
            one.name or f"{graph.role(one.origin)} {graph.avals[one.origin]}",
            int(one.bytes),
            graph.avals[one.origin].bytes,
        )
        for one in held.largest
    )
    return tuple(dict.fromkeys(rows))[:SHOWN]


def _named(name: str, held: int, whole: int) -> str:
    return f"{name} ({size_text(held)}" + (f" of {size_text(whole)})" if held != whole else ")")


def _change_text(change: Change) -> str:
    return f"{change.what}: {change.step_time_s:.3g} s a step, {size_text(change.peak_memory_bytes)} at the peak"


def _variant_text(variant: Variant) -> str:
    parts = [f"{variant.micro_batches} micro-batches"] if variant.micro_batches > 1 else []
    parts += [f"recomputation of {variant.recompute}"] if variant.recomputed else []
    return " and ".join(parts)


def _options(variant: Variant) -> dict[str, object]:
    again = {"recompute": variant.recompute} if variant.recompute == "everything" else {}
    return {"micro_batches": variant.micro_batches, **again}


def variants_of(levels: Sequence, counts: Sequence[int], some: int = 16) -> tuple[Variant, ...]:
    """The program as written, the one that recomputes most, and that in some micro-batches and in as many as can be."""
    parts = (1, max((n for n in counts if n <= some), default=1), max(counts, default=1))
    again = {"recomputed": levels[-1].values, "recompute": levels[-1].name}
    return tuple(dict.fromkeys((AS_WRITTEN, *(Variant(micro_batches=count, **again) for count in parts))))


def size_text(count: float) -> str:
    """An amount of memory in words."""
    unit, name = next(((u, n) for u, n in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")) if count >= u), (1, "B"))
    return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"


def lacking(prepared: Subject, program: Program, precision: Precision, make: Make, **asked: object) -> Lacking:
    """What is to be said where nothing fits; `make` gives the program of a variant."""
    graph = prepared.graph
    variants = variants_of(levels(graph, lambda op: 1.0), micro_batch_counts(graph, MOST_PARTS))
    made = {variant: make(variant) for variant in variants}
    graphs = {variant: graph for variant, graph in made.items() if graph is not None}
    return Lacking(prepared=prepared, program=program, precision=precision, variants=graphs, **asked)
