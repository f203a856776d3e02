"""`bagualu.toml`: figures of parts of a run, the partitioned optimizer (Fig. 14) and one process a node (Fig. 10).

Fig. 10 leaves out the length of sequences and the vocabulary. 128 and 8,192 are assumed: what is published of memory
leaves no room for much more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run

PARAMETERS = 2_265_000_000
LENGTH, VOCAB = 128, 8192
GROUPS = 6
"""Core groups of a node."""


def partitioned_optimizer(table: Mapping[str, Any], _: Mapping[str, Any]) -> list[Case]:
    """Memory, and seconds of the optimizer, of 2.265e9 parameters a node on more and more nodes."""
    found = []
    for nodes, gib, seconds in zip(table["nodes"], table["fp32_memory_gib"], table["fp32_optimizer_s"], strict=True):
        own = Run.of(
            "models.optimizer:adam",
            {"parameters": PARAMETERS, "batch": 128},
            cluster=f"sw26010pro:nodes={nodes}",
            strategy=Strategy(mesh=(("data", nodes),) if nodes > 1 else (), zero=1 if nodes > 1 else 0),
            tokens=0,
        )
        common = {"id": f"fp32-{nodes}", "use": table["use"], "run": own, "assumed": ("16 bytes of state a parameter",)}
        memory = {"table": "bagualu partitioned optimizer memory", "quantity": "mem_gib", "measured": gib}
        time = {"table": "bagualu partitioned optimizer time", "quantity": "optimizer_s", "measured": seconds}
        found += [Case(**common, **memory), Case(**common, **time)]
    return found


def one_process(table: Mapping[str, Any], _: Mapping[str, Any]) -> list[Case]:
    """How many times longer six processes take than one for the six core groups of a node, in share segments."""
    share, cross = _step("sw26010pro-cg", GROUPS), _step("sw26010pro", 1)
    return [
        Case(
            table="bagualu one process a node",
            id="node share over cross",
            use=table["use"],
            quantity="speedup",
            measured=table["node_share_fp32_s"] / table["node_cross_fp32_s"],
            run=cross,
            against=share,
            assumed=(f"sequences of {LENGTH} tokens", f"vocabulary {VOCAB}"),
        )
    ]


def _step(chip: str, devices: int) -> Run:
    """A step of the model of Fig. 10 on one node: 12 sequences for each of its core groups."""
    sizes = {"layers": 12, "d_model": 1536, "heads": 6, "seq": LENGTH, "vocab": VOCAB, "batch": 12 * GROUPS}
    device = "core_group" if devices > 1 else "node"
    return Run.of(
        "models.gpt:lm",
        sizes | {"scan_layers": True, "only_shapes": True},
        cluster=f"{chip}:{device}s={devices}",
        strategy=Strategy(mesh=(("data", devices),) if devices > 1 else ()),
        tokens=12 * GROUPS * LENGTH,
    )
