"""Contractions: dot_general, ragged dots, convolutions. What a matrix unit runs.

Work: two flops (multiply, add) for every point of batch x m x n x k. No linear groups on purpose: a partial operand is
summed before it is multiplied.
"""

from __future__ import annotations

from swplan.ir.ops._definitions import OpSpec, define
from swplan.ir.ops._dims import dim_names
from swplan.ir.rule import WHOLE, Rule, WorkKind, make_rule


@define("dot_general")
def dot_general(spec: OpSpec) -> Rule:
    """`b m k, b n k -> b m n` with any number of dims each."""
    (contract_l, contract_r), (batch_l, batch_r) = spec.params["dimension_numbers"]
    left, right = spec.operands[0].shape, spec.operands[1].shape
    names_l, names_r = list(dim_names("m", len(left))), list(dim_names("n", len(right)))
    batch, contracted = dim_names("b", len(batch_l)), dim_names("k", len(contract_l))
    for shared, dims_l, dims_r in ((batch, batch_l, batch_r), (contracted, contract_l, contract_r)):
        for name, dim_l, dim_r in zip(shared, dims_l, dims_r, strict=True):
            names_l[dim_l] = names_r[dim_r] = name
    rows = tuple(name for name in names_l if name.startswith("m"))
    columns = tuple(name for name in names_r if name.startswith("n"))
    joined = WHOLE if spec.results[0].dtype == "bool" else "sum"
    return make_rule(
        [names_l, names_r],
        [batch + rows + columns],
        dict(zip(names_l + names_r, left + right, strict=True)),
        kinds=dict.fromkeys(contracted, joined),
        work=WorkKind("matmul", 2.0, (batch, rows, columns, contracted)),
    )
