"""What a strategy leaves to decide: for every decision of a program, the options that it allows.

Each axis has a law. `data` lies on the batch wherever there is one, and with ZeRO on the state. `expert` lies on
experts, and on the batch where there are none. `context` lies on positions, `model` on a dim of every weight that is
multiplied. What is left open (where sums are done, how activations lie in between) the search decides by price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from swplan.estimate.dims import batch_dims, factors_of, summed
from swplan.estimate.strategy import Strategy
from swplan.ir.graph import Graph, Op, walk
from swplan.ir.layout import REPLICATED
from swplan.passes.precision import MOVEMENTS
from swplan.search.decisions import Node
from swplan.search.fold import Folded
from swplan.search.frame import Option, domain

Test = Callable[[int], bool]
"""Whether an entry (a factor of an op, a dim of a value) is allowed for one axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the laws of the axes ask of a program.

    Attributes:
        graph: the program.
        strategy: whose laws they are.
        batch, positions: value -> its dims of examples, of positions.
        weights: parameters in all forms -> the input that they are of.
        experts: shapes of the parameters of experts, whole and as a loop takes them.
        counts: how many experts there may be.
        sliced: classes of inputs of which a loop takes slices.
        sums: values that are summed over the batch, or made of such.
        streams: shapes of what goes from layer to layer.
        masters: parameters that the passes read in a lower precision only: they belong to the state of the optimizer.
    """

    graph: Graph
    strategy: Strategy
    batch: Mapping[int, frozenset[int]]
    positions: Mapping[int, frozenset[int]]
    weights: Mapping[int, int]
    experts: frozenset[tuple[int, ...]]
    counts: frozenset[int]
    sliced: frozenset[int]
    sums: frozenset[int]
    streams: frozenset[tuple[int, ...]]
    masters: frozenset[int]

    @property
    def split(self) -> frozenset[int]:
        """What belongs to the optimizer's state, and gradients: split by every ZeRO."""
        return self.masters | self.sums

    def is_state(self, op: Op) -> bool:
        """Whether an op works on weights or on what is summed over the batch, such as their gradients."""
        return op.stage == "optimizer" or any(v in self.weights or v in self.sums for v in op.operands)


def pins(folded: Folded, strategy: Strategy, axes: tuple[str, ...], sizes: tuple[int, ...]) -> dict:
    """By class of decisions, the options that the strategy leaves; where it leaves none, all are open."""
    facts = facts_of(folded, strategy)
    found: dict[int, tuple[Option, ...]] = {}
    for cls in range(len(folded.members)):
        node = folded.representative(cls)
        tests = [_law(axis, node, cls, facts) for axis in axes]
        kept = domain(node, sizes)
        for position, test in enumerate(tests):
            kept = tuple(option for option in kept if test(option[position])) or kept
        found[cls] = kept
    return found


def facts_of(folded: Folded, strategy: Strategy) -> Facts:
    """Reads off a program what the laws ask."""
    graph = folded.decisions.graph
    weights = weight_sources(graph)
    experts, counts = _experts(graph, weights)
    batch = batch_dims(graph, 0)
    return Facts(
        graph=graph,
        strategy=strategy,
        batch=batch,
        positions=batch_dims(graph, 1),
        weights=weights,
        experts=experts,
        counts=counts,
        sliced=frozenset(folded.class_of[edge.source] for edge, _ in folded.edges if edge.target_shift),
        sums=summed(graph, batch),
        streams=_streams(graph, batch),
        masters=_masters(graph),
    )


def _law(axis: str, node: Node, cls: int, facts: Facts) -> Test:
    if node.op is not None:
        return _OPS[axis](node.op, facts)
    if node.key[0] == "input":
        return _input(axis, node, cls, facts)
    return _VALUES[axis](node, facts)


# Ops: which factors an axis may split.


def _op_data(op: Op, facts: Facts) -> Test:
    factors = _shardable(op, facts.batch)
    if factors:
        return lambda entry: entry in factors
    if not facts.is_state(op) or facts.strategy.zero >= 2 or op.primitive == "broadcast_in_dim":
        return _anything
    if facts.strategy.precision == "layered" and _widens(op, facts):
        return lambda entry: entry < REPLICATED
    splits = facts.strategy.zero and (op.stage == "optimizer" or any(v in facts.split for v in op.operands))
    return _anything if splits else (lambda entry: entry < 0)


def _widens(op: Op, facts: Facts) -> bool:
    """Whether an op casts a gradient to more bits: layered precision sums gradients wide."""
    if op.primitive != "convert_element_type" or op.operands[0] not in facts.sums:
        return False
    return facts.graph.avals[op.operands[0]].item_bytes < facts.graph.avals[op.results[0]].item_bytes


def _op_replica(op: Op, facts: Facts) -> Test:
    return _op_data(op, replace(facts, strategy=replace(facts.strategy, zero=0)))


def _op_expert(op: Op, facts: Facts) -> Test:
    rule = op.rule
    owners = {f for f, factor in enumerate(rule.factors) if factor.size in facts.counts}
    held = [i for i, value in enumerate(op.operands) if _is_expert(value, facts)]
    if rule.work.unit == "matmul" and held:
        inside = {dim[0] for dim in rule.operands[held[0]] if dim} & owners
        return (lambda entry: entry in inside) if inside else _anything
    factors = _shardable(op, facts.batch)
    if factors:
        return lambda entry: entry in factors or entry in owners
    is_free = not facts.is_state(op) or op.primitive == "broadcast_in_dim"
    return _anything if is_free else (lambda entry: entry < 0 or entry in owners)


def _op_context(op: Op, facts: Facts) -> Test:
    factors = _shardable(op, facts.positions)
    if factors:
        return lambda entry: entry in factors
    return _anything if factors_of(op, facts.batch) else _op_data(op, facts)


def _shardable(op: Op, dims: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """The factors over which a property runs and which an axis may split."""
    return frozenset(factor for factor in factors_of(op, dims) if op.rule.factors[factor].shardable)


def _stays(op: Op, factor: int) -> bool:
    """Whether a factor stands in a result."""
    return any(factors and factors[0] == factor for places in op.rule.results for factors in places)


def _op_model(op: Op, facts: Facts) -> Test:
    if not facts.strategy.sequence and any(facts.graph.avals[v].shape in facts.streams for v in op.results):
        return lambda entry: entry < 0 or not _stays(op, entry)
    held = [i for i, value in enumerate(op.operands) if value in facts.weights]
    if op.rule.work.unit != "matmul" or not held:
        return _anything
    own = {dim[0] for dim in op.rule.operands[held[0]] if dim}
    return lambda entry: entry in own


# Values: which dims an axis may split.


def _value_data(node: Node, facts: Facts) -> Test:
    dims = _dims(node, facts.batch)
    if dims:
        return lambda entry: entry in dims or entry == REPLICATED
    if node.key[0] == "slice" and facts.strategy.zero == 3 and node.key[1] in facts.weights and node.aval.shape:
        return lambda entry: entry >= 0
    zero, value = facts.strategy.zero, node.key[1]
    if value in facts.weights and value not in facts.masters and node.key[0] != "output":
        return _anything if zero == 3 else (lambda entry: entry < 0)
    state = value in facts.sums or value in facts.masters
    return (lambda entry: entry < 0) if state and not zero else _anything


def _value_replica(node: Node, facts: Facts) -> Test:
    return _value_data(node, replace(facts, strategy=replace(facts.strategy, zero=0)))


def _value_expert(node: Node, facts: Facts) -> Test:
    dims = _dims(node, facts.batch)
    owners = {d for d, size in enumerate(node.aval.shape) if size in facts.counts}
    return lambda entry: entry < 0 or entry in dims or entry in owners


def _value_context(node: Node, facts: Facts) -> Test:
    dims = _dims(node, facts.positions)
    if not dims and not _dims(node, facts.batch):
        return _value_data(node, facts)
    return lambda entry: entry < 0 or entry in dims


def _value_model(node: Node, facts: Facts) -> Test:
    whole = not facts.strategy.sequence and node.aval.shape in facts.streams
    return (lambda entry: entry < 0) if whole else _anything


def _input(axis: str, node: Node, cls: int, facts: Facts) -> Test:
    """How the arguments of a step lie: what strategies are about."""
    shape, zero = node.aval.shape, facts.strategy.zero
    first = 1 if cls in facts.sliced else 0
    if node.role == "batch":
        place = {"data": 0, "replica": 0, "expert": 0, "context": 1}.get(axis, REPLICATED)
        return lambda entry: entry == (place if place < len(shape) else REPLICATED)
    if axis == "model":
        return lambda entry: entry < 0 or entry >= first
    if axis == "expert":
        owners = {d for d, size in enumerate(shape) if size in facts.counts and shape in facts.experts}
        return (lambda entry: entry in owners) if owners else (lambda entry: entry < 0)
    is_state = node.role == "optimizer" or node.key[1] in facts.masters
    split = axis != "replica" and (zero == 3 or (zero and is_state))
    if split and len(shape) > first:
        return lambda entry: entry >= first
    return lambda entry: entry < 0


_OPS = {"data": _op_data, "replica": _op_replica, "expert": _op_expert}
_OPS |= {"context": _op_context, "model": _op_model}
_VALUES = {"data": _value_data, "replica": _value_replica, "expert": _value_expert}
_VALUES |= {"context": _value_context, "model": _value_model}


def _anything(entry: int) -> bool:
    return True


def _dims(node: Node, dims: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """The dims of a variable that have a property; what a loop stacks has one dim less than its result."""
    kind, value = node.key
    if kind == "output" or value not in dims:
        return frozenset()
    return frozenset(dim - 1 for dim in dims[value]) if kind == "stack" else dims[value]


def _is_expert(value: int, facts: Facts) -> bool:
    source = facts.weights.get(value)
    return source is not None and facts.graph.avals[source].shape in facts.experts


def weight_sources(graph: Graph) -> dict[int, int]:
    """Parameters in all forms (slices that a loop takes, casts, transposes): value -> the input that it is of."""
    found = {value: value for value in graph.top.inputs if graph.role(value) == "parameter"}
    for op, _ in walk(graph.top):
        if op.kind == "scan":
            pairs = zip(op.operands[op.carries :], op.regions[0].inputs[op.carries :], strict=True)
            found |= {inner: found[outer] for outer, inner in pairs if outer in found}
        elif op.primitive in ("convert_element_type", *MOVEMENTS) and op.operands[0] in found:
            found |= dict.fromkeys(op.results, found[op.operands[0]])
    return found


def _masters(graph: Graph) -> frozenset[int]:
    """Parameters of which both passes read nothing but a cast to fewer bits."""
    readers: dict[int, list[Op]] = {v: [] for v in graph.top.inputs if graph.role(v) == "parameter"}
    for op, _ in walk(graph.top):
        for value in op.operands:
            if value in readers and op.stage != "optimizer":
                readers[value].append(op)
    return frozenset(value for value, ops in readers.items() if ops and all(_lowers(op, graph) for op in ops))


def _lowers(op: Op, graph: Graph) -> bool:
    narrower = graph.avals[op.results[0]].item_bytes < graph.avals[op.operands[0]].item_bytes
    return op.primitive == "convert_element_type" and narrower


def _streams(graph: Graph, batch: Mapping[int, frozenset[int]]) -> frozenset[tuple[int, ...]]:
    """Shapes of the carries of loops that belong to examples."""
    carries = {v for op, _ in walk(graph.top) if op.kind == "scan" for v in op.regions[0].inputs[: op.carries]}
    return frozenset(graph.avals[v].shape for v in carries if v in batch and len(graph.avals[v].shape) > 1)


def _experts(graph: Graph, weights: Mapping[int, int]) -> tuple[frozenset[tuple[int, ...]], frozenset[int]]:
    """Shapes of the parameters over a dim of which products are batched, and sizes of that dim."""
    shapes, counts = set(), set()
    for op, _ in walk(graph.top):
        if op.rule is None or op.rule.work.unit != "matmul":
            continue
        names = op.rule.work.matmul[0]
        for value, places in zip(op.operands, op.rule.operands, strict=False):
            inside = [f for dim in places for f in dim[:1] if op.rule.factors[f].name in names]
            if value in weights and inside:
                shapes.add(graph.avals[weights[value]].shape)
                counts.update(op.rule.factors[f].size for f in inside)
    return frozenset(shapes), frozenset(counts)
