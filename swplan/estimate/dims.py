"""Which dim of every value a property of the batch reaches: examples, and positions of a sequence.

Followed through the rules: a result has the dim if the factor of the operand's dim stands in it. Where the factor is
summed away, what is left does not have the dim any more (the gradient of a weight, a loss).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swplan.ir.graph import Graph, Op, Region, walk
from swplan.ir.rule import PARALLEL

Dims = dict[int, frozenset[int]]


def batch_dims(graph: Graph, dim: int) -> Dims:
    """Value -> the dims that come from dim `dim` of the arguments that are the batch.

    One in most values; two in what relates each position to each, such as scores of attention.
    """
    found = {
        value: frozenset({dim})
        for value in graph.top.inputs
        if graph.role(value) == "batch" and dim < len(graph.avals[value].shape) and not graph.avals[value].is_key
    }
    _region(graph.top, found)
    return found


def factors_of(op: Op, dims: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """The factors of an op over which the property runs."""
    sides = [*zip(op.operands, op.rule.operands, strict=True), *zip(op.results, op.rule.results, strict=True)]
    places = [(factors, dim) for v, factors in sides for dim in dims.get(v, ()) if dim < len(factors)]
    return frozenset(factors[dim][0] for factors, dim in places if factors[dim])


def summed(graph: Graph, dims: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """Values in which the property is summed away, and what is made of them where it does not come back."""
    found: set[int] = set()
    for op, _ in walk(graph.top):
        if op.rule is None:
            _through_loop(op, found)
            continue
        gone = any(op.rule.factors[factor].kind != PARALLEL for factor in factors_of(op, dims))
        if gone or any(v in found for v in op.operands):
            found.update(v for v in op.results if v not in dims)
    return frozenset(found)


def _through_loop(op: Op, found: set[int]) -> None:
    for body in op.regions:
        pairs = zip(op.operands, body.inputs, strict=False)
        found.update(inner for outer, inner in pairs if outer in found)
        found.update(v for v in op.results if any(o in found for o in body.outputs))


def _region(region: Region, found: Dims) -> None:
    for op in region.ops:
        {"op": _op, "scan": _scan, "while": _while, "cond": _cond}[op.kind](op, found)


def _op(op: Op, found: Dims) -> None:
    factors = factors_of(op, found)
    for value, places in zip(op.results, op.rule.results, strict=True):
        dims = {d for d, place in enumerate(places) if place and place[0] in factors}
        if dims:
            found[value] = frozenset(dims)


def _scan(op: Op, found: Dims) -> None:
    (body,) = op.regions
    for outer, inner in zip(op.operands[: op.carries], body.inputs, strict=False):
        _pass(outer, inner, 0, found)
    for outer, inner in zip(op.operands[op.carries :], body.inputs[op.carries :], strict=True):
        _pass(outer, inner, -1, found)
    _region(body, found)
    _meet(body.inputs, body.outputs, op.carries, body, found)
    for inner, outer in zip(body.outputs[: op.carries], op.results, strict=False):
        _pass(inner, outer, 0, found)
    for inner, outer in zip(body.outputs[op.carries :], op.results[op.carries :], strict=True):
        _pass(inner, outer, 1, found)


def _meet(inputs: Sequence[int], outputs: Sequence[int], carries: int, body: Region, found: Dims) -> None:
    """A carry that has the dim after a trip has it before the next: once more through the body."""
    late = [(i, o) for i, o in zip(inputs[:carries], outputs[:carries], strict=True) if o in found and i not in found]
    for inner, outer in late:
        found[inner] = found[outer]
    if late:
        _region(body, found)


def _while(op: Op, found: Dims) -> None:
    condition, body = op.regions
    for region in (condition, body):
        for outer, inner in zip(op.operands, region.inputs, strict=True):
            _pass(outer, inner, 0, found)
        _region(region, found)
    for inner, outer in zip(body.outputs, op.results, strict=True):
        _pass(inner, outer, 0, found)


def _cond(op: Op, found: Dims) -> None:
    for body in op.regions:
        _region(body, found)
        for inner, outer in zip(body.outputs, op.results, strict=True):
            _pass(inner, outer, 0, found)


def _pass(source: int, target: int, by: int, found: Dims) -> None:
    dims = {dim + by for dim in found.get(source, ()) if dim + by >= 0}
    if dims:
        found[target] = frozenset(dims)
