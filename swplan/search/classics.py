"""The named classics, as pins on the same search: data parallel, fully sharded, tensor parallel.

A classic says how inputs are laid out on one axis over all devices; everything else is still decided by the search, so
a classic is the best plan of its kind, not a straw man.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd

from swplan.costmodel.network import Placement
from swplan.errors import UsageError
from swplan.ir.graph import Op
from swplan.ir.layout import REPLICATED, Layout
from swplan.ir.strategy import strategies
from swplan.passes.partition import partition
from swplan.passes.roles import parameter_values
from swplan.search.decisions import Node
from swplan.search.fold import Folded
from swplan.search.frame import Option
from swplan.search.meshes import placements
from swplan.search.space import space
from swplan.search.subject import LIMITLESS, LOOSE, Candidate, Subject, candidate_of, pricer_on, solve_space

CLASSICS = ("data_parallel", "fully_sharded", "tensor_parallel")


def classic(subject: Subject, name: str) -> tuple[Placement, dict[int, tuple[Option, ...]], str]:
    """The mesh and pins of a classic, and a remark if it cannot use all devices.

    Raises:
      UsageError: there is no such classic.
    """
    if name not in CLASSICS:
        raise UsageError(f"no baseline {name!r}; choose one of {', '.join(CLASSICS)}")
    devices = subject.cluster.devices
    width = _width(subject, name, devices)
    sizes = tuple(n for n in (width, devices // width) if n > 1) or ((devices,) if devices > 1 else ())
    placement = placements(subject.cluster, sizes)[0]
    remark = "" if width == devices else f"only {width} of {devices} devices can share the work; the others repeat it"
    return placement, _pins(subject.folded, name, width, sizes), remark


def _width(subject: Subject, name: str, devices: int) -> int:
    """The widest axis on which every batch can be split (tensor parallel: some dim of the largest parameter)."""
    inputs = [node for node in subject.decisions.nodes if node.key[0] == "input" and node.aval.shape]
    if name == "tensor_parallel":
        weights = [node for node in inputs if node.role == "parameter"]
        largest = max(weights, key=lambda n: n.aval.size, default=None)
        return max((gcd(n, devices) for n in largest.aval.shape), default=1) if largest else 1
    width = devices
    for node in inputs:
        if node.role == "batch" and not node.aval.is_key:
            width = gcd(width, node.aval.shape[0])
    return width


def _pins(folded: Folded, name: str, width: int, sizes: tuple[int, ...]) -> dict[int, tuple[Option, ...]]:
    sliced = {folded.class_of[e.source] for e, _ in folded.edges if e.target_shift}
    weights = parameter_values(folded.decisions.graph)
    pins = {}
    for cls in range(len(folded.members)):
        node = folded.representative(cls)
        if node.key[0] == "input" and node.aval.shape:
            entries = _entries(node, name, width, cls in sliced)
            pins[cls] = tuple(_layout(entry, len(sizes)) for entry in entries)
        elif name == "tensor_parallel" and node.op is not None:
            pins |= _split_weights(cls, node.op, weights, sizes)
    return pins


def _split_weights(cls: int, op: Op, weights: frozenset[int], sizes: tuple[int, ...]) -> dict[int, tuple[Option, ...]]:
    """A product of activations with a weight splits a dim of the weight, if one can be split."""
    held = [i for i, value in enumerate(op.operands) if value in weights]
    if op.rule.work.unit != "matmul" or not held:
        return {}
    factors = {dim[0] for dim in op.rule.operands[held[0]] if dim}
    options = tuple(s for s in strategies(op.rule, sizes) if s and s[0] in factors)
    return {cls: options} if options else {}


def _layout(entry: int, axes: int) -> Layout:
    return (entry,) + (REPLICATED,) * (axes - 1)


def _entries(node: Node, name: str, width: int, sliced: bool) -> list[int]:
    """The dims on which the axis may lie, by classic and role; the search takes its pick where several are given."""
    if node.role == "batch":
        return [REPLICATED] if name == "tensor_parallel" else [0]
    dims = [d for d, n in enumerate(node.aval.shape) if n % width == 0 and not (d == 0 and sliced)]
    if name == "data_parallel" or not dims:
        return [REPLICATED]
    if name == "fully_sharded":
        return [max(dims, key=lambda d: node.aval.shape[d])]
    return dims if len(node.aval.shape) > 1 else [REPLICATED, *dims]


def price_unlimited(
    subject: Subject, placement: Placement, pins: dict[int, tuple[Option, ...]] | None, *, exactly: bool
) -> Candidate:
    """The best plan on a mesh if memory were no limit, with the memory that it would take, as estimated or exactly."""
    area = space(subject.folded, pricer_on(subject, placement), pins)
    solution, stated = solve_space(subject, area, LIMITLESS, loose=LOOSE)
    candidate = candidate_of(area, solution, stated)
    if not exactly:
        return candidate
    program = partition(subject.graph, placement.sizes, candidate.choices)
    return replace(candidate, memory_bytes=subject.peak(program).peak_bytes)
