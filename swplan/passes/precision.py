"""Layered precision: which ops run in a low precision, and the graph rewritten so that they do.

Matrix products run low, by class (attention, dense, expert) and by layer where one differs; everything else (norms,
softmax, losses, reductions, the optimizer) stays as written, as do parameters, which thereby are master copies.
Operands are cast just before the product and its result just after; a cast back and forth through pure data movement
cancels, so neighbouring products exchange low values. In fp8 only operands are low: products keep their result wide, as
hardware sums them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from swplan.ir.graph import Aval, Graph, Op, Region, walk
from swplan.ir.rule import VECTOR, Rule, make_rule
from swplan.passes.roles import parameter_values

POLICIES = ("auto", "fp32", "bf16", "fp16")
CLASSES = ("attention", "dense", "expert")
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8_e4m3fn"}
WIDE = ("float32",)
WIDER_THAN_FP8 = ("float32", "bfloat16")
MOVEMENTS = ("transpose", "reshape", "squeeze")


def classes_of(graph: Graph, dtypes: Sequence[str] = WIDE) -> dict[int, str]:
    """The class of every matrix product whose operands have one of some dtypes, by its first result.

    A product without a parameter among its operands is attention, one with a parameter batched over one of its dims is
    an expert, others are dense. Gradients take the class of the product that they belong to by the same rule on their
    results.
    """
    weights = parameter_values(graph)
    shapes = {graph.avals[v].shape for v in weights if len(graph.avals[v].shape) > 1}
    found = {}
    for op, _ in walk(graph.top):
        if _is_product(op, graph, dtypes):
            found[op.results[0]] = _class(op, graph, weights, shapes)
    return found


def _is_product(op: Op, graph: Graph, dtypes: Sequence[str]) -> bool:
    matmul = op.rule is not None and op.rule.work.unit == "matmul"
    return matmul and all(graph.avals[v].dtype in dtypes for v in op.operands[:2])


def _class(op: Op, graph: Graph, weights: frozenset[int], shapes: set[tuple[int, ...]]) -> str:
    touches = any(v in weights for v in op.operands)
    gives = sorted(graph.avals[op.results[0]].shape) in [sorted(shape) for shape in shapes]
    if not touches and not gives:
        return "attention"
    return "expert" if op.rule.work.matmul and op.rule.work.matmul[0] else "dense"


def layer_key(name: str, layer: str) -> str:
    """How a precision for the products of one class in one layer is named: "dense in Llama/layer_0/mlp/up"."""
    return f"{name} in {layer}"


@dataclass(slots=True)
class _Caster:
    """Rewrites products. `homes` finds the op list of the region in which a value is defined: casts stand there."""

    graph: Graph
    dtype_of: Mapping[int, str]
    cast_op: Any
    avals: list[Aval]
    roles: dict[int, str]
    low: dict[tuple[int, str], int] = field(default_factory=dict)
    homes: dict[int, list[Op]] = field(default_factory=dict)
    moves: dict[int, Op] = field(default_factory=dict)

    def region(self, region: Region) -> Region:
        ops: list[Op] = []
        self.homes.update(dict.fromkeys(region.inputs, ops))
        for op in region.ops:
            self.op(op, ops)
            self.homes.update(dict.fromkeys(op.results, ops))
        return replace(region, ops=tuple(ops))

    def op(self, op: Op, ops: list[Op]) -> None:
        if op.regions:
            ops.append(structs.replace(op, regions=tuple(map(self.region, op.regions))))
        elif op.results[0] in self.dtype_of:
            self.product(op, self.dtype_of[op.results[0]], ops)
        else:
            ops.append(op)
            if op.primitive in MOVEMENTS:
                self.moves[op.results[0]] = op

    def product(self, op: Op, dtype: str, ops: list[Op]) -> None:
        operands = (*(self.lowered(v, dtype, op, ops) for v in op.operands[:2]), *op.operands[2:])
        params = dict(op.params)
        if dtype == DTYPES["fp8"]:
            kept = self.cast_op.dtype(self.graph.avals[op.results[0]].dtype)
            params |= {"preferred_element_type": kept} if "preferred_element_type" in params else {}
            ops.append(structs.replace(op, operands=operands, params=params))
            return
        result = self.new(op.results[0], dtype)
        if params.get("preferred_element_type") is not None:
            params["preferred_element_type"] = self.cast_op.dtype(dtype)
        ops.append(structs.replace(op, operands=operands, results=(result,), params=params))
        ops.append(self.cast(result, op.results[0], op))
        self.low[op.results[0], dtype] = result

    def lowered(self, value: int, dtype: str, op: Op, ops: list[Op]) -> int:
        """The value in a low precision: cast where it is defined, or moved from what was low before it was moved."""
        if (value, dtype) in self.low:
            return self.low[value, dtype]
        home = self.homes.get(value, ops)
        result = self.new(value, dtype)
        move = self.moves.get(value)
        if move is not None and (move.operands[0], dtype) in self.low:
            home.append(structs.replace(move, operands=(self.low[move.operands[0], dtype],), results=(result,)))
        else:
            home.append(self.cast(value, result, op))
        self.low[value, dtype] = result
        return result

    def new(self, value: int, dtype: str) -> int:
        """A new value like another one; of a gradient a gradient."""
        self.avals.append(Aval(self.graph.avals[value].shape, dtype))
        self.roles[len(self.avals) - 1] = "gradient" if self.graph.role(value) == "gradient" else "activation"
        return len(self.avals) - 1

    def cast(self, source: int, target: int, op: Op) -> Op:
        params = self.cast_op.params(self.avals[target].dtype)
        rule = cast_rule(self.avals[source].shape)
        return Op("convert_element_type", (source,), (target,), params, self.cast_op.handle, rule, op.source, op.stage)


_RULES: dict[tuple[int, ...], Rule] = {}


def cast_rule(shape: tuple[int, ...]) -> Rule:
    """The rule of a cast between floating-point dtypes: elementwise and linear."""
    if shape not in _RULES:
        names = [f"d{i}" for i in range(len(shape))]
        sizes = dict(zip(names, shape, strict=True))
        _RULES[shape] = make_rule([names], [names], sizes, linear=[(0,)], work=VECTOR, fusible=True)
    return _RULES[shape]


def lower_precision(graph: Graph, by_class: Mapping[str, str], cast_op: Any) -> Graph:
    """The graph with the products of some classes in a low precision.

    Args:
      graph: the program as written.
      by_class: class -> "bf16", "fp16", "fp8", or "fp32" (as written); `layer_key` -> the same, where a layer differs.
      cast_op: how to make a cast: `.handle` (the primitive), `.params(dtype)`, `.dtype(name)`.
    """
    eight = {v: c for v, c in classes_of(graph, WIDER_THAN_FP8).items() if by_class.get(c) == "fp8"}
    classes = classes_of(graph) | eight
    layers = {op.results[0]: op.layer for op, _ in walk(graph.top) if op.results[0] in classes} if classes else {}
    asked = {v: by_class.get(layer_key(c, layers[v]), by_class.get(c, "fp32")) for v, c in classes.items()}
    wanted = {v: DTYPES[precision] for v, precision in asked.items() if precision != "fp32"}
    if not wanted:
        return graph
    caster = _Caster(graph, wanted, cast_op, list(graph.avals), dict(graph.roles))
    top = caster.region(graph.top)
    return replace(graph, top=top, avals=tuple(caster.avals), roles=caster.roles)
