"""`bagualu.toml`: what Ma et al. (PPoPP 2022, doi 10.1145/3503221.3508417) publish of whole runs on the Sunway machine.

Not stated, and assumed: 1,536 tokens a node and step, one sequence each; the vocabulary; slots for as many tokens as
experts get on average. Their strategy, as they describe it: data parallelism inside supernodes, experts across, the
optimizer partitioned over the data-parallel nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run

TOKENS = 1536
INSIDE = 240
"""Nodes of a supernode that the large runs used."""
PRECISION = {"fp32": "as_written", "mixed": "layered"}
ASSUMED = (f"{TOKENS} tokens a node and step, one sequence", "vocabulary 51200", "experts get equally many tokens")
PARTS = {
    "data": "data", "forward": "forward", "forward_comm": "forward_communication", "backward": "backward",
    "backward_comm": "backward_communication", "optimizer": "optimizer",
}  # fmt: skip


def cases(content: Mapping[str, Any]) -> list[Case]:
    """The cases of the file."""
    sizes = content["models"]
    found = [_sustained(row, sizes) for row in content["sustained"]]
    found += [case for row in content["breakdown"] for case in _breakdown(row, sizes)]
    found += _weak_scaling(content["weak_scaling"], sizes)
    found.append(_mapping(content["mapping"], sizes))
    found.append(_precision(content["precision"], sizes))
    return found


def run(sizes: Mapping[str, int], nodes: int, precision: str, *, inside: str = "data") -> Run:
    """A run of the authors' strategy.

    Args:
        sizes: layers, d_ff and experts of the model.
        nodes: of the machine.
        precision: "fp32" or "mixed".
        inside: the axis that lies inside supernodes.
    """
    experts = sizes["experts"]
    data = nodes // experts
    mesh = (("data", data), ("expert", experts))
    strategy = Strategy(
        mesh=mesh if inside == "data" else mesh[::-1], zero=1, precision=PRECISION[precision], capacity=1.0
    )
    keywords = {"nodes": nodes, "tokens_per_node": TOKENS, "scan_layers": True}
    keywords |= {key: sizes[key] for key in ("layers", "d_ff", "experts")}
    return Run.of(
        "models.moe:moda",
        keywords,
        cluster=f"sw26010pro:nodes={nodes},nodes_per_supernode={INSIDE}",
        strategy=strategy,
        tokens=nodes * TOKENS,
    )


def flops(sizes: Mapping[str, int], nodes: int, vocab: int = 51200, width: int = 4096) -> float:
    """Matrix products of a step, forward and backward, for all tokens: each passes one expert a layer."""
    layer = 4 * width * width + 2 * width * sizes["d_ff"] + 2 * TOKENS * width
    return 6.0 * nodes * TOKENS * (sizes["layers"] * layer + vocab * width)


def _sustained(row: Mapping[str, Any], sizes: Mapping[str, Any]) -> Case:
    size = sizes[row["model"]]
    return Case(
        table="bagualu sustained",
        id=f"{row['model']}-{row['precision']}",
        use=row["use"],
        quantity="flops_per_s",
        measured=row["flops_per_s"],
        run=run(size, 96000, row["precision"]),
        assumed=ASSUMED,
        amount=flops(size, 96000),
    )


def _breakdown(row: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Case]:
    return [
        Case(
            table="bagualu breakdown",
            id=f"{row['model']}-{row['precision']}-{key}",
            use=row["use"],
            quantity="share",
            measured=row[key],
            run=run(sizes[row["model"]], 96000, row["precision"]),
            assumed=ASSUMED,
            part=part,
        )
        for key, part in PARTS.items()
    ]


def _weak_scaling(table: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Case]:
    found = []
    for nodes, petaflops in zip(table["nodes"], table["fp32"], strict=True):
        size = sizes["1.93T"] | {"experts": nodes // INSIDE}
        case = Case(
            table="bagualu weak scaling",
            id=f"1.93T-fp32-{nodes}",
            use=table["use"],
            quantity="flops_per_s",
            measured=petaflops * 1e15,
            run=run(size, nodes, "fp32"),
            assumed=(*ASSUMED, f"{nodes // INSIDE} experts on {nodes} nodes"),
            amount=flops(size, nodes),
        )
        found.append(case)
    return found


def _mapping(table: Mapping[str, Any], sizes: Mapping[str, Any]) -> Case:
    size = sizes["1.16T"]
    return Case(
        table="bagualu mapping",
        id="1.16T-fp32-57600",
        use="check",
        quantity="flops_per_s",
        measured=table["all_reduce_inside_supernode"] * 1e15,
        run=run(size, 57600, "fp32"),
        assumed=ASSUMED,
        amount=flops(size, 57600),
    )


def _precision(table: Mapping[str, Any], sizes: Mapping[str, Any]) -> Case:
    size = sizes["1.93T"] | {"experts": 40}
    return Case(
        table="bagualu precision speed-up",
        id="1.93T-9600",
        use=table["use"],
        quantity="speedup",
        measured=table["speedup_over_fp32"],
        run=run(size, 9600, "mixed"),
        assumed=(*ASSUMED, "40 experts on 9,600 nodes"),
        against=run(size, 9600, "fp32"),
    )
