"""Strategies: mesh axes laid on the factors of one op, and what follows from that.

A strategy has one entry for each mesh axis: the position of the factor that the axis splits, `NOTHING` (every device
along the axis does the same), or `through(g)` (the operands of linear group g, and with them the results, wait
for their sum along the axis). All legal strategies of an op, its operand and result layouts, and its local work, are
read off its rule here; nothing else knows about factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from swplan.ir.layout import PENDING, REPLICATED, SUM, Layout
from swplan.ir.rule import PARALLEL, Dims, Rule

NOTHING = -1
Strategy = tuple[int, ...]


def through(group: int) -> int:
    """The entry of an axis along which linear group `group` stays partial."""
    return -2 - group


def operand_layout(rule: Rule, operand: int, strategy: Strategy) -> Layout:
    """The layout in which the op needs its operand."""
    group_entry = [operand in group for group in rule.linear]
    return tuple(
        (SUM if group_entry[-2 - entry] else REPLICATED) if entry < NOTHING else _dim_of(rule.operands[operand], entry)
        for entry in strategy
    )


def result_layout(rule: Rule, result: int, strategy: Strategy) -> Layout:
    """The layout in which the op leaves a result."""
    return tuple(_result_entry(rule, result, entry) for entry in strategy)


def _result_entry(rule: Rule, result: int, entry: int) -> int:
    if entry < NOTHING:
        return SUM
    if entry == NOTHING:
        return REPLICATED
    kind = rule.factors[entry].kind
    return _dim_of(rule.results[result], entry) if kind == PARALLEL else PENDING[kind]


def _dim_of(dims: Dims, factor: int) -> int:
    if factor == NOTHING:
        return REPLICATED
    return next((dim for dim, factors in enumerate(dims) if factors and factors[0] == factor), REPLICATED)


@lru_cache(maxsize=65536)
def strategies(rule: Rule, sizes: tuple[int, ...]) -> tuple[Strategy, ...]:
    """Every legal strategy of an op on a mesh with these axis sizes; the one that splits nothing comes first."""
    entries = [NOTHING]
    entries += [f for f, factor in enumerate(rule.factors) if factor.shardable and _placed(rule, f)]
    entries += [through(group) for group in range(len(rule.linear))]
    options = [[e for e in entries if e < 0 or rule.factors[e].size % size == 0] for size in sizes]
    return tuple(s for s in product(*options) if _legal(rule, s, sizes))


def _placed(rule: Rule, factor: int) -> bool:
    """Whether splitting the factor splits something: it stands in a result, or is joined and stands in an operand."""
    if rule.factors[factor].kind == PARALLEL:
        return all(_dim_of(dims, factor) >= 0 for dims in rule.results)
    return any(_dim_of(dims, factor) >= 0 for dims in rule.operands)


def _legal(rule: Rule, strategy: Strategy, sizes: Sequence[int]) -> bool:
    left = [factor.size for factor in rule.factors]
    for entry, size in zip(strategy, sizes, strict=True):
        if entry >= 0:
            if left[entry] % size:
                return False
            left[entry] //= size
    return not _mixes_reductions(rule, strategy)


def _mixes_reductions(rule: Rule, strategy: Strategy) -> bool:
    """A value waits for one kind of reduction at most."""
    kinds = {"sum" if entry < NOTHING else rule.factors[entry].kind for entry in strategy if entry != NOTHING}
    return len(kinds - {PARALLEL}) > 1


@lru_cache(maxsize=65536)
def layouts(shape: tuple[int, ...], sizes: tuple[int, ...], pending: bool = False) -> tuple[Layout, ...]:
    """Every layout of a value of this shape; with `pending`, also those that wait for a sum."""
    base = [REPLICATED, SUM] if pending else [REPLICATED]
    options = [base + [d for d, n in enumerate(shape) if n > 1 and n % size == 0] for size in sizes]
    return tuple(layout for layout in product(*options) if _fits(shape, layout, sizes))


def _fits(shape: Sequence[int], layout: Layout, sizes: Sequence[int]) -> bool:
    left = list(shape)
    for entry, size in zip(layout, sizes, strict=True):
        if entry >= 0:
            if left[entry] % size:
                return False
            left[entry] //= size
    return True


@lru_cache(maxsize=65536)
def remaking(rule: Rule, layouts_: tuple[Layout, ...]) -> tuple[tuple[Strategy, ...], tuple[Layout, ...]]:
    """Strategies that make the first result in each layout, as far as they can, and the layouts that they leave."""
    options = tuple(
        tuple(NOTHING if entry < 0 else rule.results[0][entry][0] for entry in layout) for layout in layouts_
    )
    return options, tuple(result_layout(rule, 0, option) for option in options)


def split_degree(strategy: Strategy, sizes: Sequence[int]) -> int:
    """Into how many parts a strategy divides the work of an op."""
    degree = 1
    for entry, size in zip(strategy, sizes, strict=True):
        degree *= size if entry >= 0 else 1
    return degree
