"""Waiting: how long devices wait for a host that cannot run ahead of them.

A host that starts every op does so ahead of the device, so only in sum may starting take longer than running; that is
the business of `schedule`. Routed experts without a capacity end that: in every layer the host has to know how many
tokens each expert got before it starts what follows (Megatron Core, arXiv 2603.07685: host-boundedness of MoE). Then
no queue of started ops hides what starting costs, and no op takes less than that; products of experts are started one
an expert (Transformer Engine, GroupedLinear).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from swplan.costmodel.compute import time_s
from swplan.costmodel.work import Work
from swplan.estimate.batch import Batch
from swplan.estimate.capacity import slots_of
from swplan.estimate.kernels import work_of
from swplan.estimate.pricing import Prices, Seconds, cause_of, launches
from swplan.estimate.rows import MICRO, OpRow, Rows
from swplan.search.pricing import split_by


def waits_of(made: Prices, batch: Batch) -> Seconds:
    """Seconds that one run of everything in the layers waits for the host [S], by cause; none without experts."""
    found: Seconds = defaultdict(lambda: np.zeros(batch.count))
    for row in _started(made.rows):
        split = split_by(row.op.rule, row.split, made.sizes(batch, row.place.rate == MICRO))
        work = work_of(row, made.rows, split)
        starting_s = _kernels(row, work) * made.chip.issue_s
        found[cause_of(row.place, "")] += row.count * np.maximum(0.0, starting_s - time_s(work, made.chip))
    return found


def _started(rows: Rows) -> Iterator[OpRow]:
    """Rows of layers with experts that the host starts."""
    if slots_of(rows.template.graph) is None:
        return
    for row in rows.ops:
        if row.place.layered and row.place.stage != "optimizer" and launches(row, rows):
            yield row


def _kernels(row: OpRow, work: Work) -> np.ndarray | float:
    """How many kernels a run of a row starts: of a product of experts, one an expert of the device."""
    is_of_experts = bool(work.matmuls and row.op.rule.work.matmul[0]) and not row.is_core
    return work.matmuls[0].batch if is_of_experts else 1.0
