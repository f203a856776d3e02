"""The tables of vTrain: GPT variants on A100 under many strategies (Bang et al., MICRO 2024, arXiv 2312.12391).

Their program is Megatron-LM's: half precision, unfused attention, no sequence parallelism, plain 1F1B, one all-reduce
of gradients after the last backward pass. The host starts every op.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run

VOCAB = 50304
"""50,257 padded to a multiple of 128, as Megatron-LM does."""
ROWS = 3072
"""Examples of the traced program; strategies say how many a step has."""

ASSUMED = {
    True: ("every layer is recomputed (without, the larger runs would not fit)",),
    False: ("nothing is recomputed",),
}


def cases(table: str, rows: Iterable[Mapping[str, str]]) -> list[Case]:
    """The cases of one of the tables; several nodes if a row has more than 8 devices."""
    return [_case(table, row) for row in rows]


def _case(table: str, row: Mapping[str, str]) -> Case:
    count = {key: int(row[key]) for key in _COUNTS}
    is_multi = "params_b" in row
    micro = max(1, count["global_batch"] // (count["dp"] * count["micro_batch"]))
    sizes = (("model", count["tp"]), ("data", count["dp"]), ("pipe", count["pp"]))
    strategy = Strategy(
        mesh=tuple((axis, size) for axis, size in sizes if size > 1),
        micro_batches=micro,
        sequence=False,
        launch="eager",
        global_batch=count["global_batch"],
    )
    keywords = {key: count[key] for key in ("hidden", "layers", "heads", "seq")}
    keywords |= {"vocab": VOCAB, "batch": ROWS, "dtype": "bfloat16", "remat": is_multi}
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
        use=row["use"],
        quantity="iter_time_s",
        measured=float(row["iter_ms"]) / 1e3,
        run=run,
        assumed=(f"vocabulary {VOCAB}", *ASSUMED[is_multi]),
        group=tuple(count[key] for key in ("gpus", "global_batch", "hidden", "layers")),
    )


_COUNTS = ("gpus", "global_batch", "micro_batch", "hidden", "heads", "layers", "seq", "tp", "dp", "pp")
