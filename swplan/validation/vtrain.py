"""The tables of vTrain: GPT variants on A100 under many strategies (Bang et al., MICRO 2024, arXiv 2312.12391).

Their program is Megatron-LM's: half precision, unfused attention, no sequence parallelism, plain 1F1B, one all-reduce
of gradients after the last backward pass. The host starts every op.
"""

from __future__ import annotations

from collections.abc import Iterable

from swplan.errors import UsageError
from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run
from swplan.validation.rows import Row, positive
from swplan.validation.rows import count as counted

VOCAB, PADDED = 50257, 50304
"""Of GPT-2; padded to a multiple of 128 where devices share it, since it could not be divided otherwise."""
ROWS = 3072
"""Examples of the traced program; strategies say how many a step has."""
NODE = 8
"""Devices of a node."""

KEPT = "dots_saveable"
"""Megatron's fused kernels keep the results of products for the backward pass and make the rest again."""

ASSUMED = {
    True: ("every layer is recomputed as a whole (without, the larger runs would not fit)",),
    False: ("nothing is recomputed",),
}


def cases(table: str, rows: Iterable[Row]) -> tuple[list[Case], list[str]]:
    """The cases of one of the tables, and why rows are left out; several nodes if a row has more than 8 devices."""
    found: list[Case] = []
    left: list[str] = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_case(table, row))
        except UsageError as error:
            left.append(f"{table} row {number}: {error}")
    return found, left


def _case(table: str, row: Row) -> Case:
    count = {key: counted(row, key) for key in _COUNTS}
    if 0 in count.values():
        raise UsageError(f"{', '.join(key for key in _COUNTS if not count[key])} must be at least 1")
    is_multi = count["gpus"] > NODE
    micro = max(1, count["global_batch"] // (count["dp"] * count["micro_batch"]))
    sizes = (("model", count["tp"]), ("data", count["dp"]), ("pipe", count["pp"]))
    strategy = Strategy(
        mesh=tuple((axis, size) for axis, size in sizes if size > 1),
        micro_batches=micro,
        sequence=False,
        launch="eager",
        recompute="full" if is_multi else "none",
        global_batch=count["global_batch"],
    )
    keywords = {key: count[key] for key in ("hidden", "layers", "heads", "seq")}
    vocab = PADDED if count["tp"] > 1 else VOCAB
    keywords |= {"vocab": vocab, "batch": ROWS, "dtype": "bfloat16", "remat": KEPT}
    network = ",network.fabric.bytes_per_s=11.3e9" if is_multi else ""
    run = Run.of(
        "models.gpt:megatron",
        keywords,
        cluster=f"a100-80g-sxm:gpus={count['gpus']}{network}",
        strategy=strategy,
        tokens=count["global_batch"] * count["seq"],
    )
    name = "-".join(row[key] for key in ("gpus", "global_batch", "micro_batch", "hidden", "layers", "tp", "dp", "pp"))
    return Case(
        table=table,
        id=name,
        use=row["use"] or "check",
        quantity="iter_time_s",
        measured=positive(row, "iter_ms") / 1e3,
        run=run,
        assumed=(f"vocabulary {vocab}", *ASSUMED[is_multi]),
        group=tuple(count[key] for key in ("gpus", "global_batch", "hidden", "layers")),
    )


_COUNTS = ("gpus", "global_batch", "micro_batch", "hidden", "heads", "layers", "seq", "tp", "dp", "pp")
