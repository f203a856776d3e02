"""Kernels: rows that one kernel does together, which is priced as a whole: fused attention.

The products of a fused attention follow one another in one pipeline, and its softmax runs beside them (Shah et al.
2024, FlashAttention-3, arXiv 2407.08608, section 3.2). What is published of such kernels is the rate of their products
with all of that included: on a chip that states it (`compute.attention_efficiency`), products take that rate and the
softmax takes no time of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from swplan.costmodel.work import Work
from swplan.estimate.rows import OpRow, Rows
from swplan.search.pricing import Split, op_work


def in_kernels(ops: Sequence[OpRow]) -> list[OpRow]:
    """Rows of a program whose attention is fused: its products, and no ops on scores, which run beside them."""
    products = [replace(row, is_inside=row.is_core) for row in ops if _is_product(row)]
    return products + [row for row in ops if not _is_product(row) and not row.is_core]


def _is_product(row: OpRow) -> bool:
    return row.op.rule.work.unit == "matmul"


def work_of(row: OpRow, rows: Rows, split: Split) -> Work:
    """The work of one run of a row, whose numbers are arrays over what `split` is."""
    work = op_work(row.op, rows.template.graph, split, rows.template.fused)
    if not row.is_inside:
        return work
    return replace(work, matmuls=tuple(replace(matmul, fused=True) for matmul in work.matmuls))
