"""Contractions: dot_general, ragged dots, convolutions. What a matrix unit runs.

Work: two flops (multiply, add) for every point of batch x m x n x k. No linear groups on purpose: a partial operand is
summed before it is multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from swplan.ir.ops._definitions import Local, OpSpec, define
from swplan.ir.ops._dims import dim_names
from swplan.ir.rule import WHOLE, Rule, WorkKind, make_rule


@dataclass(frozen=True, slots=True)
class _Contraction:
    """Names of the dims of both operands: `b*` batch, `k*` contracted, `m*` of the left alone, `n*` of the right."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    sizes: dict[str, int]

    def named(self, prefix: str) -> tuple[str, ...]:
        """The factors with this prefix, in the order in which they appear in the result."""
        side = self.right if prefix == "n" else self.left
        return tuple(name for name in side if name.startswith(prefix))


def _contraction(spec: OpSpec, numbers: Any) -> _Contraction:
    (contract_l, contract_r), (batch_l, batch_r) = numbers
    left, right = spec.operands[0].shape, spec.operands[1].shape
    names_l, names_r = list(dim_names("m", len(left))), list(dim_names("n", len(right)))
    for prefix, dims_l, dims_r in (("b", batch_l, batch_r), ("k", contract_l, contract_r)):
        for order, (dim_l, dim_r) in enumerate(zip(dims_l, dims_r, strict=True)):
            names_l[dim_l] = names_r[dim_r] = f"{prefix}{order}"
    sizes = dict(zip(names_l + names_r, left + right, strict=True))
    return _Contraction(tuple(names_l), tuple(names_r), sizes)


@define("dot_general")
def dot_general(spec: OpSpec) -> Rule:
    """`b m k, b n k -> b m n` with any number of dims each."""
    dims = _contraction(spec, spec.params["dimension_numbers"])
    batch = tuple(sorted(dims.named("b"), key=_number))
    rows, columns, contracted = map(dims.named, "mnk")
    joined = WHOLE if spec.results[0].dtype == "bool" else "sum"
    return make_rule(
        [dims.left, dims.right],
        [batch + rows + columns],
        dims.sizes,
        kinds=dict.fromkeys(contracted, joined),
        work=WorkKind("matmul", 2.0, (batch, rows, columns, contracted)),
    )


def _number(name: str) -> int:
    return int(name[1:])


@define("ragged_dot_general")
def ragged_dot_general(spec: OpSpec) -> Rule:
    """A dot whose left operand has a dim cut into groups of given sizes: that dim, and the groups, stay whole.

    The groups are no factor of the work: each row meets one group only.
    """
    numbers = spec.params["ragged_dot_dimension_numbers"]
    dims = _contraction(spec, numbers.dot_dimension_numbers)
    batch = tuple(sorted(dims.named("b"), key=_number))
    ragged = dims.left[numbers.lhs_ragged_dimensions[0]]
    groups = {dims.right[dim] for dim in numbers.rhs_group_dimensions}
    rows, contracted = dims.named("m"), dims.named("k")
    columns = tuple(name for name in dims.named("n") if name not in groups)
    made = (None,) if ragged in contracted else ()
    prefix = next(pool for pool in (batch, contracted, rows) if ragged in pool)
    return make_rule(
        [
            dims.left,
            [None if name in groups else name for name in dims.right],
            _group_sizes(spec, batch, prefix, ragged),
        ],
        [[*made, *batch, *rows, *columns]],
        {name: size for name, size in dims.sizes.items() if name not in groups},
        kinds=dict.fromkeys(contracted, "sum") | {ragged: WHOLE},
        work=WorkKind("matmul", 2.0, (batch, rows, columns, contracted)),
    )


def _group_sizes(spec: OpSpec, batch: Sequence[str], pool: Sequence[str], ragged: str) -> list[str | None]:
    """Dims of the group sizes: [g], or [batch..., dims before the ragged one of its sort..., g]."""
    if len(spec.operands[2].shape) == 1:
        return [None]
    before = pool[: pool.index(ragged)]
    return [*(before if ragged in batch else (*batch, *before)), None]


def _convolution_params(spec: OpSpec, local: Local) -> dict[str, Any]:
    numbers, (left, right), (result,) = spec.params["dimension_numbers"], local.operands, local.results
    return {
        **spec.params,
        "feature_group_count": left[numbers.lhs_spec[1]] // right[numbers.rhs_spec[1]],
        "batch_group_count": left[numbers.lhs_spec[0]] // result[numbers.out_spec[0]],
    }


@define("conv_general_dilated", localize=_convolution_params)
def convolution(spec: OpSpec) -> Rule:
    """`b c s, o c r -> b o s`: groups are the major part of the dims that they cut; space and window stay whole.

    Grouped features: `b (g c) s, (g o) c r -> b (g o) s`; grouped batch: `(g b) c s, (g o) c r -> b (g o) s`.
    Work: two flops for each tap of each result, without the zeros that a dilation of the left operand puts in.
    """
    params = spec.params
    numbers, space = params["dimension_numbers"], len(params["window_strides"])
    features, batches = params["feature_group_count"], params["batch_group_count"]
    groups = max(features, batches)
    right, result = spec.operands[1].shape, spec.results[0].shape
    taps, places = dim_names("r", space), dim_names("s", space)
    sizes = {"g": groups, "b": result[numbers.out_spec[0]], "c": right[numbers.rhs_spec[1]]}
    sizes |= {"o": result[numbers.out_spec[1]] // groups}
    sizes |= {name: right[dim] for name, dim in zip(taps, numbers.rhs_spec[2:], strict=True)}
    sizes |= {name: result[dim] for name, dim in zip(places, numbers.out_spec[2:], strict=True)}
    batch = ("g", "b") if batches > 1 else "b"
    channels = ("g", "c") if features > 1 else "c"
    outputs = ("g", "o") if groups > 1 else "o"
    return make_rule(
        [
            _placed(numbers.lhs_spec, (batch, channels, *[None] * space)),
            _placed(numbers.rhs_spec, (outputs, "c", *taps)),
        ],
        [_placed(numbers.out_spec, ("b", outputs, *places))],
        sizes,
        kinds=dict.fromkeys((*taps, *places), WHOLE) | {"c": "sum"},
        work=WorkKind("matmul", 2.0 / prod(params["lhs_dilation"]), (("g",), ("b", *places), ("o",), ("c", *taps))),
    )


def _placed(order: Sequence[int], names: Sequence[object]) -> list[object]:
    """The names, given by meaning, in the order of the dims."""
    return [name for _, name in sorted(zip(order, names, strict=True), key=lambda pair: pair[0])]
