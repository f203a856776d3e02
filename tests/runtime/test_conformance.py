"""What is compared with the plan: real programs agree, and every kind of tampering is found."""

import random
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from msgspec import structs

from swplan.ir.device import DeviceProgram, DeviceRegion, Loop, Move, walk_device
from swplan.ir.graph import Aval, Graph
from swplan.ir.strategy import layouts, result_layout, strategies
from swplan.passes.partition import partition
from swplan.runtime.build import build, place
from swplan.runtime.conformance import Exchange, compare, hlo_dtype
from swplan.runtime.mesh import device_mesh
from swplan.runtime.trace import trace
from swplan.search.decisions import Node, decision_graph

SIZES, ORDER = (2, 4), (1, 0)
COLUMNS = ((0, 4), (1, 5), (2, 6), (3, 7))
X = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
W = np.linspace(-1, 1, 192, dtype=np.float32).reshape(3, 8, 8)


@dataclass(frozen=True, slots=True)
class Case:
    """A program, and what XLA made of it."""

    program: DeviceProgram
    graph: Graph
    mesh: Any
    compiled: Any

    def compare(self, **changes):
        return compare(replace(self.program, **changes), self.graph, self.mesh, self.compiled)


def compile_step(step, arguments, decide, sizes=SIZES, order=ORDER) -> Case:
    graph = trace(step, arguments, {}).graph
    choices = {node.key: decide(node, sizes) for node in decision_graph(graph).nodes}
    program = partition(graph, sizes, choices)
    mesh = device_mesh(sizes, ("a", "b", "c")[: len(sizes)], order)
    step = build(program, graph, mesh, donate=False)
    lowered = step.run.lower(*place(step, jax.tree.leaves(arguments)))
    return Case(program, graph, mesh, lowered.compile())


def planned(node: Node, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Products sum along the second axis, maxima are found along the first; the first input is split along it."""
    if node.op is None:
        return (0, -1) if node.key[0] == "input" and node.aval.shape == (8, 8) else (-1,) * len(sizes)
    wanted = {"dot_general": (-1, -2), "reduce_max": (-3, -1)}.get(node.op.primitive, (-1, -1))
    return next(s for s in strategies(node.op.rule, sizes) if result_layout(node.op.rule, 0, s) == wanted)


def drawn(seed: int):
    """A decision that draws any legal strategy or layout."""
    source = random.Random(seed)

    def decide(node: Node, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if node.op is not None:
            return source.choice(strategies(node.op.rule, sizes))
        if node.key[0] in ("constant", "predicate") or node.aval.is_key:
            return (-1,) * len(sizes)
        return source.choice(layouts(node.aval.shape, sizes, node.pending and "float" in node.aval.dtype))

    return decide


def scanned(x, w):
    def body(carry, weight):
        return jnp.tanh(carry @ weight), carry.max()

    return lax.scan(body, x, w)


def halved(x, w):
    return x.astype(jnp.bfloat16) @ w[0].astype(jnp.bfloat16)


def branched(x, w):
    return lax.cond(x.sum() > 0, lambda: x @ w[0], lambda: jnp.tanh(x) @ w[1])


def repeated(x, w):
    return lax.while_loop(lambda c: jnp.abs(c).sum() < 100.0, lambda c: c @ w[0] + x, x)


def normalised(x, w):
    return jax.nn.softmax(x @ w[0]), x / x.sum()


@pytest.fixture(scope="module")
def case() -> Case:
    return compile_step(scanned, (X, W), planned)


def test_a_scan_runs_as_planned(case):
    found = case.compare()
    assert found and not found.differences and not found.unknown_loops
    assert found.collectives == 3 + 3 + 1
    assert (found.planned_flops, found.flops_ratio) == (3 * 2 * 8 * 8 * 2, 1.0)
    assert "runs as planned" in str(found)


def test_memory_is_compared_where_it_is_planned(case):
    assert case.compare().memory_ratio is None
    found = compare(case.program, case.graph, case.mesh, case.compiled, planned_bytes=10**6)
    assert found.memory_ratio == 10**6 / found.compiled_bytes
    stats = case.compiled.memory_analysis()
    assert found.compiled_bytes >= stats.argument_size_in_bytes + stats.output_size_in_bytes


@pytest.mark.parametrize(
    ("step", "seed"), [(scanned, 0), (scanned, 2), (branched, 1), (repeated, 0), (repeated, 1), (normalised, 0)]
)
def test_random_plans_run_as_planned(step, seed):
    sizes = [(8,), (2, 4), (2, 2, 2)][seed]
    found = compile_step(step, (X, W), drawn(seed), sizes, tuple(range(len(sizes)))).compare()
    assert found, str(found)
    assert found.flops_ratio == 1.0
    assert bool(found.unknown_loops) == (step is repeated)


def test_what_is_sent_in_a_wider_type_is_accounted_for_and_listed():
    found = compile_step(halved, (X, W), planned).compare()
    assert found, str(found)
    sums = [(p.planned.dtype, p.planned.bytes, p.compiled.dtype, p.count) for p in found.promoted if p.planned.join]
    assert sums == [("bf16", 128, "f32", 1)]
    assert "sent in a wider type" in str(found)


def test_of_a_widened_instruction_each_array_has_its_own_type():
    def mixed(x, w):
        return halved(x, w), x @ w[1]

    found = compile_step(mixed, (X, W), planned).compare()
    assert found, str(found)
    assert [[(e.dtype, e.bytes) for e in exchanges] for exchanges in found.combined] == [[("f32", 256), ("f32", 256)]]
    assert [p.count for p in found.promoted if p.planned.join] == [1]


def test_several_in_one_instruction_count_each_by_itself():
    def two(x, w):
        return x @ w[0], x @ w[1]

    found = compile_step(two, (X, W), planned).compare()
    assert found, str(found)
    assert [[exchange.kind for exchange in exchanges] for exchanges in found.combined] == [["all_reduce", "all_reduce"]]


def test_gathered_booleans_are_bytes():
    def positive(x, w):
        return (x > 0) & (w[0] > 0)

    def decide(node: Node, sizes: tuple[int, ...]) -> tuple[int, ...]:
        split = node.op is not None and node.op.primitive == "gt"
        return next(s for s in strategies(node.op.rule, sizes) if s[0] >= 0) if split else planned(node, sizes)

    case = compile_step(positive, (X, W), decide)
    found = case.compare()
    assert found, str(found)
    gathers = [op for op, _ in walk_device(case.program.top) if isinstance(op, Move) and op.is_collective]
    assert {case.program.values[op.results[0]].aval.dtype for op in gathers} >= {"bool"}


def changed(region: DeviceRegion, kind: str, change) -> DeviceRegion:
    """The region with `change` applied to every collective of this kind; None drops it."""

    def edit(op):
        if isinstance(op, Loop):
            return replace(op, regions=tuple(changed(body, kind, change) for body in op.regions))
        return change(op) if isinstance(op, Move) and op.step.kind == kind else op

    return replace(region, ops=tuple(op for op in map(edit, region.ops) if op is not None))


def differences(case: Case, kind: str, change):
    found = case.compare(top=changed(case.program.top, kind, change))
    assert not found and "differs from its plan" in str(found)
    return found.differences


def test_finds_a_collective_that_was_not_planned(case):
    (found,) = differences(case, "all_gather", lambda op: None)
    assert (found.what, found.planned, found.count) == ("compiled but not planned", None, 1)
    assert found.compiled == Exchange("all_gather", "f32", 256, "", COLUMNS)
    assert "all_gather" in found.source


def test_counts_the_trips_of_a_loop(case):
    found = differences(case, "all_reduce", lambda op: None)
    assert [(difference.what, difference.count) for difference in found] == [("compiled but not planned", 3)] * 2


def test_finds_a_collective_that_was_not_compiled(case):
    extra = next(op for op in case.program.top.ops if isinstance(op, Move) and op.is_collective)
    top = replace(case.program.top, ops=(*case.program.top.ops, extra))
    (found,) = case.compare(top=top).differences
    assert (found.what, found.compiled, found.count) == ("planned but not compiled", None, 1)
    assert "x for scan" in found.source and found.source in str(found)


@pytest.mark.parametrize(
    ("kind", "step", "what"),
    [
        ("all_gather", {"axes": (1,)}, {"other groups"}),
        ("all_gather", {"axes": (0, 1)}, {"other groups"}),
        ("all_reduce", {"join": "min"}, {"other join"}),
        (
            "all_reduce",
            {"kind": "reduce_scatter"},
            {"other kind", "compiled but not planned", "planned but not compiled"},
        ),
    ],
)
def test_finds_other_terms(case, kind, step, what):
    found = differences(case, kind, lambda op: structs.replace(op, step=replace(op.step, **step)))
    assert {difference.what for difference in found} <= what


def test_finds_other_bytes_and_types(case):
    assert {d.what for d in resized(case, Aval((8, 16), "float32"))} == {"other bytes"}
    assert {d.what for d in resized(case, Aval((8, 8), "int32"))} == {"other dtype"}


def resized(case: Case, aval: Aval):
    """Differences when the value that is gathered is planned as this one."""
    move = next(op for op in case.program.top.ops if isinstance(op, Move) and op.step.kind == "all_gather")
    touched = {*move.operands, *move.results}
    values = tuple(structs.replace(v, aval=aval) if i in touched else v for i, v in enumerate(case.program.values))
    return case.compare(values=values).differences


def test_a_loop_whose_length_only_one_side_knows_is_a_difference(case):
    def forget(op):
        return replace(op, op=structs.replace(op.op, trips=None)) if isinstance(op, Loop) else op

    found = case.compare(top=replace(case.program.top, ops=tuple(map(forget, case.program.top.ops))))
    assert {difference.what for difference in found.differences} == {"other exact", "compiled but not planned"}
    assert found.flops_ratio == 1 / 3


def test_along_an_axis_of_size_one_nothing_is_exchanged():
    case = compile_step(lambda x, w: x @ w[0], (X, W), planned, (8, 1))
    assert case.compare() and case.compare().collectives == 1


def test_devices_are_those_of_the_mesh(case):
    other = device_mesh(SIZES, ("a", "b"), (0, 1))
    found = compare(case.program, case.graph, other, case.compiled)
    assert {difference.what for difference in found.differences} == {"other groups"}
    assert compile_step(halved, (X, W), planned, SIZES, (0, 1)).compare()


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float32", "f32"), ("bfloat16", "bf16"), ("int8", "s8"), ("uint32", "u32"), ("bool", "pred"), ("int4", "s4"),
        ("complex64", "c64"), ("float8_e4m3fn", "f8e4m3fn"), ("float8_e5m2", "f8e5m2"), ("key<fry>", "u32"),
    ],
)  # fmt: skip
def test_names_of_types(dtype, name):
    assert hlo_dtype(Aval((), dtype)) == name


def test_xla_counts_the_body_of_a_loop_once(case):
    """Why flops are counted from the text: on both versions of JAX, `cost_analysis` leaves out the trips."""
    once = 2 * 8 * 8 * 2
    assert once <= case.compiled.cost_analysis()["flops"] < 3 * once
