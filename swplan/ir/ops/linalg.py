"""Factorisations, solvers and transforms: batch dims are parallel, the matrix or signal itself stays whole.

Work: flops for one m x n matrix to leading order, from Golub and Van Loan, Matrix Computations, 4th edition (ISBN
978-1-4214-0794-4), as counted there for the algorithm that LAPACK runs; vector flops, because these run far below the
peak of a matrix unit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import log2, prod

from swplan.ir.ops._definitions import OpSpec, define
from swplan.ir.ops._dims import dim_names
from swplan.ir.rule import WHOLE, Rule, WorkKind, make_rule

Flops = Callable[[int, int], float]


def batched(spec: OpSpec, *, flops: Flops, core: int = 2) -> Rule:
    """The rule of an op on the last `core` dims of its first operand, batched over all dims before."""
    shape = spec.operands[0].shape
    batch = dim_names("b", len(shape) - core)
    inner = dim_names("c", core)
    sizes = dict(zip(batch + inner, shape, strict=True))
    matrix = (*shape[len(batch) :], 1)
    values = (*spec.operands[1:], *spec.results)
    dims = [(*batch, *[None] * (len(value.shape) - len(batch))) for value in values]
    others = len(spec.operands) - 1
    per_point = flops(matrix[0], matrix[1]) / max(1, prod(matrix))
    return make_rule(
        [batch + inner, *dims[:others]],
        dims[others:],
        sizes,
        kinds=dict.fromkeys(inner, WHOLE),
        work=WorkKind(per_point=per_point),
    )


def _householder(rows: int, columns: int) -> float:
    long, short = max(rows, columns), min(rows, columns)
    return 2 * short**2 * (long - short / 3)


def _singular(rows: int, columns: int) -> float:
    long, short = max(rows, columns), min(rows, columns)
    return 4 * long**2 * short + 8 * long * short**2 + 9 * short**3


_MATRIX_OPS: tuple[tuple[str, Flops], ...] = (
    ("cholesky", lambda n, _: n**3 / 3),
    ("cholesky_update", lambda n, _: 4 * n**2),
    ("lu", lambda m, n: _householder(m, n) / 2),
    ("qr", _householder),
    ("ormqr householder_product", lambda m, n: 2 * _householder(m, n)),
    ("eigh", lambda n, _: 9 * n**3),
    ("eig schur", lambda n, _: 25 * n**3),
    ("hessenberg", lambda n, _: 10 * n**3 / 3),
    ("tridiagonal", lambda n, _: 4 * n**3 / 3),
    ("svd", _singular),
    ("symmetric_product", lambda n, k: n**2 * k),
)
for _names, _flops in _MATRIX_OPS:
    define(*_names.split())(partial(batched, flops=_flops))
define("lu_pivots_to_permutation")(partial(batched, flops=lambda n, _: n, core=1))


@define("fft")
def fft(spec: OpSpec) -> Rule:
    """A transform of the last dims: 5 n log2 n flops for n complex points (Van Loan, doi:10.1137/1.9781611970999)."""
    lengths = spec.params["fft_lengths"]
    halves = 1.0 if spec.operands[0].dtype == spec.results[0].dtype else 0.5
    flops = 5 * halves * log2(max(2, prod(lengths)))
    return batched(spec, flops=lambda m, n: flops * m * n, core=len(lengths))


@define("triangular_solve")
def triangular_solve(spec: OpSpec) -> Rule:
    """`a x = b` or `x a = b` for triangular a: the right-hand sides are parallel; n ** 2 flops each."""
    shape, sides = spec.operands[0].shape, spec.operands[1].shape
    batch, free = dim_names("b", len(shape) - 2), -1 if spec.params["left_side"] else -2
    solved = ("c1", "f") if spec.params["left_side"] else ("f", "c1")
    sizes = dict(zip((*batch, "c0", "c1"), shape, strict=True)) | {"f": sides[free]}
    dims = (*batch, *solved)
    return make_rule([(*batch, "c0", "c1"), dims], [dims], sizes, kinds={"c0": WHOLE, "c1": WHOLE})


@define("tridiagonal_solve")
def tridiagonal_solve(spec: OpSpec) -> Rule:
    """Three diagonals and right-hand sides, which are parallel: elimination takes 8 flops a row and side."""
    shape = spec.operands[3].shape
    batch = dim_names("b", len(shape) - 2)
    diagonal, sides = (*batch, "c"), (*batch, "c", "f")
    sizes = dict(zip(sides, shape, strict=True))
    work = WorkKind(per_point=8.0)
    return make_rule([diagonal] * 3 + [sides], [sides], sizes, kinds={"c": WHOLE}, work=work)
