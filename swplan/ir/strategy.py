"""Strategies: mesh axes laid on the factors of one op, and what follows from that.

A strategy has one entry for each mesh axis: the position of the factor that the axis splits, `NOTHING` (every device
along the axis does the same), or `through(g)` (the operands of linear group g, and with them the results, wait
for their sum along the axis). All legal strategies of an op, its operand and result layouts, and its local work, are
read off its rule here; nothing else knows about factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from math import gcd

from swplan.ir.layout import PENDING, REPLICATED, SUM, Layout
from swplan.ir.rule import PARALLEL, WHOLE, Dims, Rule

NOTHING = -1
Strategy = tuple[int, ...]


def through(group: int) -> int:
    """The entry of an axis along which linear group `group` stays partial."""
    return -2 - group


def operand_layout(rule: Rule, operand: int, strategy: Strategy) -> Layout:
    """The layout in which the op needs its operand."""
    entries = _operand_entries(rule, operand)
    return tuple(entries[entry] for entry in strategy)


def result_layout(rule: Rule, result: int, strategy: Strategy) -> Layout:
    """The layout in which the op leaves a result."""
    entries = _result_entries(rule, result)
    return tuple(entries[entry] for entry in strategy)


@lru_cache(maxsize=65536)
def op_layouts(rule: Rule, strategy: Strategy) -> tuple[tuple[Layout, ...], tuple[Layout, ...]]:
    """The layouts in which an op needs its operands, and those in which it leaves its results."""
    needed = tuple(operand_layout(rule, operand, strategy) for operand in range(len(rule.operands)))
    return needed, tuple(result_layout(rule, result, strategy) for result in range(len(rule.results)))


@lru_cache(maxsize=65536)
def _operand_entries(rule: Rule, operand: int) -> dict[int, int]:
    """For every entry of a strategy that of the layout of an operand."""
    passed = {through(g): SUM if operand in group else REPLICATED for g, group in enumerate(rule.linear)}
    split = {f: _dim_of(rule.operands[operand], f) for f in range(len(rule.factors))}
    return {NOTHING: REPLICATED} | passed | split


@lru_cache(maxsize=65536)
def _result_entries(rule: Rule, result: int) -> dict[int, int]:
    """For every entry of a strategy that of the layout of a result."""
    passed = dict.fromkeys(map(through, range(len(rule.linear))), SUM)
    split = {
        f: _dim_of(rule.results[result], f) if factor.kind == PARALLEL else PENDING[factor.kind]
        for f, factor in enumerate(rule.factors)
        if factor.kind != WHOLE
    }
    return {NOTHING: REPLICATED} | passed | split


def _dim_of(dims: Dims, factor: int) -> int:
    if factor == NOTHING:
        return REPLICATED
    return next((dim for dim, factors in enumerate(dims) if factors and factors[0] == factor), REPLICATED)


@lru_cache(maxsize=65536)
def strategies(rule: Rule, sizes: tuple[int, ...]) -> tuple[Strategy, ...]:
    """Every legal strategy of an op on a mesh with these axis sizes; the one that splits nothing comes first."""
    return _strategies(*_choice(rule), sizes)


@lru_cache(maxsize=65536)
def possible_strategies(rule: Rule, axes: int, devices: int) -> tuple[Strategy, ...]:
    """Those that are legal on some mesh of so many axes on so many devices, in the same order."""
    return _possible_strategies(*_choice(rule), axes, devices)


Extents = tuple[tuple[int, int, str], ...]
"""(position, size, kind) of the factors that axes may lie on."""


def _choice(rule: Rule) -> tuple[Extents, int]:
    """What the strategies of an op depend on: factors, and how many linear groups there are."""
    placed = [f for f, factor in enumerate(rule.factors) if factor.shardable and _placed(rule, f)]
    return tuple((f, rule.factors[f].size, rule.factors[f].kind) for f in placed), len(rule.linear)


@lru_cache(maxsize=65536)
def _strategies(factors: Extents, groups: int, sizes: tuple[int, ...]) -> tuple[Strategy, ...]:
    extents = {f: extent for f, extent, _ in factors}
    entries = [NOTHING, *extents, *map(through, range(groups))]
    options = [[e for e in entries if e < 0 or extents[e] % size == 0] for size in sizes]
    return tuple(s for s in product(*options) if _divides(extents, s, sizes) and not _mixes_reductions(factors, s))


@lru_cache(maxsize=65536)
def _possible_strategies(factors: Extents, groups: int, axes: int, devices: int) -> tuple[Strategy, ...]:
    most = {f: _parts(gcd(extent, devices)) for f, extent, _ in factors}
    entries = [NOTHING, *(f for f, parts in most.items() if parts), *map(through, range(groups))]
    options = product(entries, repeat=axes)
    return tuple(s for s in options if _divides_so_often(most, s) and not _mixes_reductions(factors, s))


def _parts(number: int) -> int:
    """How many axes may split a dim of which so much divides: prime factors, counted as often as they occur."""
    count, divisor = 0, 2
    while number > 1:
        while number % divisor == 0:
            number //= divisor
            count += 1
        divisor += 1
    return count


def _divides_so_often(most: Mapping[int, int], option: Sequence[int]) -> bool:
    return all(entry < 0 or option.count(entry) <= most[entry] for entry in option)


def _placed(rule: Rule, factor: int) -> bool:
    """Whether splitting the factor splits something: it stands in a result, or is joined and stands in an operand."""
    if rule.factors[factor].kind == PARALLEL:
        return all(_dim_of(dims, factor) >= 0 for dims in rule.results)
    return any(_dim_of(dims, factor) >= 0 for dims in rule.operands)


def _divides(extents: Mapping[int, int], option: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether every extent can be split evenly by the axes that lie on it."""
    if len(set(option)) == len(option):
        return True  # axes on different extents, each of which was looked at
    split: dict[int, int] = {}
    for entry, size in zip(option, sizes, strict=True):
        split[entry] = split.get(entry, 1) * size
    return all(entry < 0 or extents[entry] % degree == 0 for entry, degree in split.items())


def _mixes_reductions(factors: Extents, strategy: Strategy) -> bool:
    """A value waits for one kind of reduction at most."""
    waits = {kind for f, _, kind in factors if f in strategy} - {PARALLEL}
    return len(waits | ({"sum"} if min(strategy, default=NOTHING) < NOTHING else set())) > 1


@lru_cache(maxsize=65536)
def layouts(shape: tuple[int, ...], sizes: tuple[int, ...], pending: bool = False) -> tuple[Layout, ...]:
    """Every layout of a value of this shape; with `pending`, also those that wait for a sum."""
    base, extents = [REPLICATED, SUM] if pending else [REPLICATED], dict(enumerate(shape))
    options = [base + [d for d, n in enumerate(shape) if n > 1 and n % size == 0] for size in sizes]
    return tuple(layout for layout in product(*options) if _divides(extents, layout, sizes))


@lru_cache(maxsize=65536)
def possible_layouts(shape: tuple[int, ...], axes: int, devices: int, pending: bool = False) -> tuple[Layout, ...]:
    """Those that are legal on some mesh of so many axes on so many devices, in the same order."""
    most = {d: _parts(gcd(n, devices)) for d, n in enumerate(shape)}
    entries = [REPLICATED, *([SUM] if pending else []), *(d for d, parts in most.items() if parts)]
    return tuple(layout for layout in product(entries, repeat=axes) if _divides_so_often(most, layout))


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
