"""Attention: what lies between its two products, which kernels keep on chip, or which the backward pass makes again.

Found by shape, not by name: scores are what a product of two activations gives if loops lead from it to another such
product. FlashAttention (Dao et al. 2022, arXiv 2205.14135) never writes them; selective recomputation (Korthikanti et
al. 2022, arXiv 2205.05198) writes but does not keep them. Both make them again for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from swplan.ir.graph import Graph, Op, Region, walk
from swplan.passes.fusion import is_loop
from swplan.passes.precision import MOVEMENTS

Shape = tuple[int, ...]
COMPARISONS = ("ge", "gt", "le", "lt")
POSITIONAL = ("broadcast_in_dim", "add", "sub", "convert_element_type", "reshape")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The attentions of a program.

    Attributes:
        values: of the shape of scores, in both passes.
        again: first results of the ops of the forward pass that make scores.
        touching: first results of all ops that make or read scores.
        causal: whether a comparison of positions masks them.
    """

    values: frozenset[int]
    again: frozenset[int]
    touching: frozenset[int]
    causal: bool


def cores_of(graph: Graph, weights: frozenset[int]) -> Cores:
    """Finds the attentions of a program; `weights` are its parameters in all forms."""
    shapes = {shape for region in _regions(graph.top) for shape in _score_shapes(region, graph, weights)}
    values = {v for v, aval in enumerate(graph.avals) if _extents(aval.shape) in shapes}
    rows = {_extents(shape[:-1]) for shape in (graph.avals[v].shape for v in values)}
    values |= {v for v in _stacks(graph, values)}
    again, touching = set(), set()
    for op, _ in walk(graph.top):
        if op.rule is None:
            continue
        touches = any(v in values for v in (*op.operands, *op.results))
        made = _extents(graph.avals[op.results[0]].shape) in shapes | rows
        if op.stage == "forward" and touches and made:
            again.add(op.results[0])
        if touches:
            touching.add(op.results[0])
    return Cores(
        values=frozenset(values),
        again=frozenset(again),
        touching=frozenset(touching),
        causal=bool(shapes) and _is_masked(graph),
    )


def _regions(region: Region) -> Iterator[Region]:
    yield region
    for op in region.ops:
        for body in op.regions:
            yield from _regions(body)


def _score_shapes(region: Region, graph: Graph, weights: frozenset[int]) -> set[Shape]:
    """Extents of what a product of activations gives and loops hand on to another."""
    wide: dict[int, Shape] = {}
    found = set()
    for op in region.ops:
        if op.rule is None or op.stage == "optimizer":
            continue
        shape = _extents(graph.avals[op.results[0]].shape)
        if op.rule.work.unit == "matmul":
            if any(v in weights for v in op.operands) or op.stage != "forward":
                continue
            found.update(wide[v] for v in op.operands if v in wide)
            wide[op.results[0]] = shape
        elif (is_loop(op) or op.primitive in MOVEMENTS) and any(wide.get(v) == shape for v in op.operands):
            wide[op.results[0]] = shape
    return {shape for shape in found if len(shape) > 2}


def _extents(shape: Shape) -> Shape:
    """The dims of a shape in order of size, without those of size 1: equal for all that is moved about only."""
    return tuple(sorted(n for n in shape if n > 1))


def _stacks(graph: Graph, values: set[int]) -> set[int]:
    """What loops stack of values, and take slices of."""
    found = set()
    for op, _ in walk(graph.top):
        if op.kind == "scan":
            body = op.regions[0]
            found.update(
                o for i, o in zip(body.outputs[op.carries :], op.results[op.carries :], strict=True) if i in values
            )
    return found


def _is_masked(graph: Graph) -> bool:
    """Whether somewhere positions are compared with positions."""
    made = {v: op for op, _ in walk(graph.top) if op.rule is not None for v in op.results}
    found = (op for op in made.values() if op.primitive in COMPARISONS)
    return any(len(_iotas(op.operands, made)) > 1 for op in found)


def _iotas(values: Sequence[int], made: Mapping[int, Op]) -> set[tuple[int, int]]:
    """The (iota, dim along which it runs in the end) that values are computed from, through sums and shapes."""
    found: set[tuple[int, int]] = set()
    for side, value in enumerate(values):
        op = made.get(value)
        if op is not None and op.primitive == "iota":
            found.add((value, side))
        elif op is not None and op.primitive in POSITIONAL:
            found.update((iota, 2 * inner + side) for iota, inner in _iotas(op.operands, made))
    return found
