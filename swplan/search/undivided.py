"""Options of a decision that only a dim that does not divide rules out, and how much longer it would have to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from swplan.ir.strategy import layouts, strategies
from swplan.search.decisions import Node
from swplan.search.frame import Option, domain

MOST_PADDING = 1.5
"""A dim is not padded to more than this many times its extent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """A dim that would have to be longer: its name in the op, or its number in the tensor."""

    dim: str
    extent: int
    padded: int


def undivided(node: Node, sizes: Sequence[int]) -> Iterator[tuple[Option, tuple[Padding, ...]]]:
    """Options that are not legal only because dims do not divide, with the dims that would have to be longer."""
    whole, sizes = prod(sizes), tuple(sizes)
    longer = lambda n: -(-n // whole) * whole if n > 1 else n  # noqa: E731
    legal = set(domain(node, sizes))
    if len(legal) == 1 and (node.op is None and (node.aval.is_key or node.key[0] in ("constant", "predicate"))):
        return
    if node.op is not None:
        factors = node.op.rule.factors
        extents = [(factor.name, factor.size) for factor in factors]
        rule = replace(node.op.rule, factors=tuple(replace(f, size=longer(f.size)) for f in factors))
        options = strategies(rule, sizes)
    else:
        extents = [(str(dim), n) for dim, n in enumerate(node.aval.shape)]
        options = layouts(tuple(longer(n) for n in node.aval.shape), sizes)
    for option in options:
        if option not in legal:
            needs = tuple(_needs(option, sizes, extents))
            if needs and all(need.padded <= MOST_PADDING * need.extent for need in needs):
                yield option, needs


def _needs(option: Option, sizes: Sequence[int], extents: Sequence[tuple[str, int]]) -> Iterator[Padding]:
    for entry, (name, extent) in enumerate(extents):
        degree = prod(size for size, own in zip(sizes, option, strict=True) if own == entry)
        if extent % degree:
            yield Padding(dim=name, extent=extent, padded=-(-extent // degree) * degree)


def place_of(node: Node, need: Padding, outputs: Sequence[int]) -> tuple[int, int] | None:
    """A value of a decision, and the dim of it that is to be longer; None where that dim is always merged."""
    if node.op is None:
        kind, value = node.key
        return (outputs[value] if kind == "output" else value), int(need.dim) + (kind == "stack")
    rule = node.op.rule
    factor = [f.name for f in rule.factors].index(need.dim)
    held = (
        *zip(node.op.operands, rule.operands, strict=True),
        *zip(node.op.results, rule.results, strict=True),
    )
    places = ((value, dim) for value, dims in held for dim, own in enumerate(dims) if own == (factor,))
    return next(places, None)
