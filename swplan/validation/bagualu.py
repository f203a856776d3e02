"""`bagualu.toml`: what Ma et al. (PPoPP 2022, doi 10.1145/3503221.3508417) publish of whole runs on the Sunway machine.

Not stated, and assumed: 1,536 tokens a node and step, one sequence each; the vocabulary; slots for as many tokens as
experts get on average. Their strategy, as they describe it: data parallelism inside supernodes, experts across, the
optimizer partitioned over the data-parallel nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from swplan.errors import UsageError
from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run
from swplan.validation.sunway_parts import one_process, partitioned_optimizer

TOKENS = 1536
INSIDE = 240
"""Nodes of a supernode that the large runs used."""
PRECISION = {"fp32": "as_written", "mixed": "layered"}
ASSUMED = (f"{TOKENS} tokens a node and step, one sequence", "vocabulary 51200", "experts get equally many tokens")
PARTS = {
    "data": "data", "forward": "forward", "forward_comm": "forward_communication", "backward": "backward",
    "backward_comm": "backward_communication", "optimizer": "optimizer",
}  # fmt: skip


def cases(content: Mapping[str, Any]) -> tuple[list[Case], list[str]]:
    """The cases of the file, and why figures of it are left out.

    Raises:
        UsageError: it has none of the tables that are read.
    """
    tables = {name: _listed(content[name]) for name in READERS if name in content}
    if not tables:
        raise UsageError(f"none of the tables {', '.join(READERS)} in the file; see bagualu.toml")
    found: list[Case] = []
    left: list[str] = []
    for name, rows in tables.items():
        for row in rows:
            try:
                found += READERS[name](row, content.get("models", {}))
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                left.append(f"{name} {row.get('model', '')}: {type(error).__name__} {error}")
    others = [name for name in content if name not in tables and any("use" in row for row in _listed(content[name]))]
    return found, left + [
        f"{name}: a figure of the chip, not of a run: see benchmarks/fit_sunway_access.py" for name in others
    ]


def _listed(table: Any) -> list[dict[str, Any]]:
    """The rows of a table, which may be one."""
    return [row for row in (table if isinstance(table, list) else [table]) if isinstance(row, dict)]


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
    if data * experts != nodes:
        raise ValueError(f"{experts} experts on {nodes} nodes: not equally many on each")
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


def _sustained(row: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Case]:
    size = sizes[row["model"]]
    case = Case(
        table="bagualu sustained",
        id=f"{row['model']}-{row['precision']}",
        use=row["use"],
        quantity="flops_per_s",
        measured=row["flops_per_s"],
        run=run(size, 96000, row["precision"]),
        assumed=ASSUMED,
        amount=flops(size, 96000),
    )
    return [case]


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
        if key in row
    ]


def _weak_scaling(table: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Case]:
    found = []
    points = [(p, *point) for p in PRECISION if p in table for point in zip(table["nodes"], table[p], strict=True)]
    for precision, nodes, petaflops in points:
        size = sizes["1.93T"] | {"experts": nodes // INSIDE}
        case = Case(
            table="bagualu weak scaling",
            id=f"1.93T-{precision}-{nodes}",
            use=table["use"],
            quantity="flops_per_s",
            measured=petaflops * 1e15,
            run=run(size, nodes, precision),
            assumed=(*ASSUMED, f"{nodes // INSIDE} experts on {nodes} nodes"),
            amount=flops(size, nodes),
        )
        found.append(case)
    return found


def _mapping(table: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Case]:
    size = sizes["1.16T"]
    case = Case(
        table="bagualu mapping",
        id="1.16T-fp32-57600",
        use=table.get("use", "check"),
        quantity="flops_per_s",
        measured=table["all_reduce_inside_supernode"] * 1e15,
        run=run(size, 57600, "fp32"),
        assumed=ASSUMED,
        amount=flops(size, 57600),
    )
    return [case]


def _precision(table: Mapping[str, Any], sizes: Mapping[str, Any]) -> list[Case]:
    size = sizes["1.93T"] | {"experts": 40}
    case = Case(
        table="bagualu precision speed-up",
        id="1.93T-9600",
        use=table["use"],
        quantity="speedup",
        measured=table["speedup_over_fp32"],
        run=run(size, 9600, "mixed"),
        assumed=(*ASSUMED, "40 experts on 9,600 nodes"),
        against=run(size, 9600, "fp32"),
    )
    return [case]


READERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], list[Case]]] = {
    "sustained": _sustained,
    "breakdown": _breakdown,
    "weak_scaling": _weak_scaling,
    "mapping": _mapping,
    "precision": _precision,
    "partitioned_optimizer": partitioned_optimizer,
    "one_process_per_node": one_process,
}
"""The tables of runs and their parts: each row gives cases."""
