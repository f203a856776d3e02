"""What the backward pass reads again: values of the forward pass that need not be held for it as they were used there.

A parameter that is gathered for its layer is gathered once more for the layer's gradients, or everything gathered would
be alive at once. Decisions (`search/decisions.py`) and partitioner agree on which values these are by asking here.
"""

from __future__ import annotations

from swplan.ir.graph import Graph, Op, Region

BACKWARD = "backward"
Windows = dict[int, set[bool]]


def is_later(op: Op) -> bool:
    """Whether an op reads in the backward pass; a loop takes its operands as they are."""
    return op.stage == BACKWARD and op.kind == "op"


def is_made_again(op: Op, graph: Graph) -> bool:
    """Whether an op makes the same of constants on every device: it is not exchanged, each makes the part it needs."""
    if op.primitive not in ("broadcast_in_dim", "iota"):
        return False
    return all(v in graph.constants and not graph.avals[v].shape for v in op.operands)


def read_again(graph: Graph) -> dict[int, int]:
    """How many ops of the backward pass read each array that was there before and that other ops read too.

    An array that some loop around it reads in both passes on every trip is not among them: it is held all the time.
    """
    mixed: set[int] = set()
    others: set[int] = set(graph.top.outputs)
    counts: dict[int, int] = {}
    made: set[int] = set()
    _count(graph.top, counts, others, made)
    for op in graph.top.ops:
        if op.regions:
            _passes(op, mixed)
    chosen = counts.keys() & others - made - mixed
    return {value: counts[value] for value in sorted(chosen) if graph.avals[value].shape}


def _count(region: Region, counts: dict[int, int], others: set[int], made: set[int]) -> None:
    for op in region.ops:
        if is_later(op):
            made.update(op.results)
            for value in dict.fromkeys(op.operands):
                counts[value] = counts.get(value, 0) + 1
        else:
            others.update(op.operands)
        for body in op.regions:
            made.update(body.inputs if op.stage == BACKWARD else ())
            others.update(body.outputs)
            _count(body, counts, others, made)


def _passes(op: Op, mixed: set[int]) -> Windows:
    """In which passes an op reads each value; `mixed` are those that one loop reads in both."""
    reads: Windows = {value: {is_later(op)} for value in op.operands}
    for body in op.regions:
        for value, passes in _windows(body, mixed).items():
            reads.setdefault(value, set()).update(passes)
    mixed.update(value for value, passes in reads.items() if len(passes) > 1)
    return reads


def _windows(region: Region, mixed: set[int]) -> Windows:
    """In which passes a region reads each value from outside."""
    found: Windows = {}
    defined = set(region.inputs)
    for op in region.ops:
        for value, passes in _passes(op, mixed).items():
            found.setdefault(value, set()).update(passes)
        defined.update(op.results)
    for value in region.outputs:
        found.setdefault(value, set()).add(False)
    return {value: passes for value, passes in found.items() if value not in defined}
