"""Names mesh axes after what they split: data, expert, model, sequence."""

from __future__ import annotations

from collections import Counter

from swplan.passes.roles import parameter_values
from swplan.search.decisions import Node
from swplan.search.subject import Candidate, Subject


def axis_names(subject: Subject, candidate: Candidate) -> tuple[str, ...]:
    """A name for each axis, that of pins where they bind it; a name used twice is numbered."""
    count = len(candidate.placement.sizes)
    weights = parameter_values(subject.graph)
    pinned = {axis: name for name, axes in candidate.bound.names.items() for axis in axes}
    names = [pinned.get(axis) or _name(subject, candidate, axis, weights) for axis in range(count)]
    taken = candidate.bound.names
    names = ["free" if name in taken and axis not in pinned else name for axis, name in enumerate(names)]
    totals, seen = Counter(names), Counter()
    out = []
    for name in names:
        seen[name] += 1
        out.append(f"{name}{seen[name]}" if totals[name] > 1 else name)
    return tuple(out)


def _name(subject: Subject, candidate: Candidate, axis: int, weights: frozenset[int]) -> str:
    split = {"expert": 0.0, "model": 0.0, "data": 0.0, "sequence": 0.0}
    for node in subject.decisions.nodes:
        if node.op is not None and node.op.rule.work.unit == "matmul":
            kind = _matmul_kind(node, weights, candidate.choices[node.key][axis])
            if kind:
                split[kind] += node.op.rule.points * node.count
    best = max(split, key=lambda kind: split[kind])
    if split[best]:
        return best
    inputs = [n for n in subject.decisions.nodes if n.key[0] == "input" and candidate.choices[n.key][axis] >= 0]
    return ("data" if any(n.role == "batch" for n in inputs) else "shard") if inputs else "idle"


def _matmul_kind(node: Node, parameters: frozenset[int], entry: int) -> str | None:
    """What a strategy entry splits of a matrix product: examples, experts, a model dim, or positions."""
    if entry < 0:
        return None
    rule = node.op.rule
    name = rule.factors[entry].name
    batch = rule.work.matmul[0]
    weights = [i for i, v in enumerate(node.op.operands) if v in parameters]
    if name in batch:
        return "expert" if weights else "data"
    if node.op.stage == "forward" and weights:
        splits_weight = any(entry in dim for dim in rule.operands[weights[0]])
        return "model" if splits_weight else _example_or_position(node, entry)
    return None


def _example_or_position(node: Node, entry: int) -> str:
    dims = next((dims for dims in node.op.rule.operands if any(entry in dim for dim in dims)), ())
    return "data" if dims and entry in dims[0] else "sequence"
