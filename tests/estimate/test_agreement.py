"""Two ways to one price: strategies priced by rows, and the device program of the same decisions priced op by op.

Also at other degrees than those at which the decisions were made: the decisions are partitioned anew there.
"""

import itertools

import pytest

from swplan.costmodel.network import Placement
from swplan.estimate.strategy import Strategy
from swplan.ir.device import DeviceProgram
from swplan.passes.memory import peak_memory
from swplan.passes.partition import partition
from swplan.runtime.describe import prices_of
from swplan.search.pricing import Pricer
from tests.estimate.programs import CLUSTERS, PROGRAMS, costs, estimator, graph_of

KINDS = (
    ("mesh=data:8", "mesh=data:4", "mesh=data:2"),
    ("mesh=data:8 zero=1", "mesh=data:2 zero=1"),
    ("mesh=data:8 zero=3", "mesh=data:4 zero=3"),
    ("mesh=model:2/data:4", "mesh=model:4/data:2", "mesh=model:2/data:2"),
    ("mesh=data:4/expert:2", "mesh=data:2/expert:4"),
)
"""Kinds of strategies: the degrees at which decisions are made come first."""


CASES = [
    (program, sorted(CLUSTERS)[i % len(CLUSTERS)], kind)
    for i, (program, kind) in enumerate(itertools.product(PROGRAMS, KINDS))
]
"""Every program under every kind of strategy; each chip has its turn."""
EVERY = pytest.mark.parametrize(("program", "chip", "kind"), CASES, ids=[f"{p}-{k[0]}-{c}" for p, c, k in CASES])


def device_program(program: str, chip: str, strategy: Strategy) -> tuple[DeviceProgram, Pricer, tuple[str, ...]]:
    """The decisions of a kind of strategy, partitioned at the degrees of one."""
    made, graph = estimator(program, chip), graph_of(program)
    template = made.rows(strategy)[0].rows.template
    sizes = tuple(strategy.degree(axis) for axis in template.axes)
    order = tuple(template.axes.index(axis) for axis, _ in strategy.mesh)
    cluster = made.cluster.replace({f"{made.cluster.chip.device}s": strategy.devices})
    placement = Placement(cluster=cluster, sizes=sizes, order=order)
    return partition(graph, sizes, template.choices), Pricer(cluster, placement, graph, template.fused), template.axes


@EVERY
def test_rows_and_ops_give_one_price(program, chip, kind):
    for text in kind:
        local, pricer, axes = device_program(program, chip, Strategy.parse(text))
        expected = prices_of(graph_of(program), local, pricer, axes)[2]
        assert float(costs(program, chip, text).step_time_s[0]) == pytest.approx(sum(expected.values()), rel=1e-12)


@EVERY
def test_memory_is_near_that_of_the_device_program(program, chip, kind):
    for text in kind:
        local, _, _ = device_program(program, chip, Strategy.parse(text))
        expected = peak_memory(local, graph_of(program), in_order=True).peak_bytes
        assert float(costs(program, chip, text).peak_bytes[0]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("program", PROGRAMS)
def test_strategies_priced_together_cost_what_each_costs(program):
    chip = next(chip for name, chip, kind in CASES if name == program and "model" in kind[0])
    texts = ("mesh=model:2/data:4", "mesh=model:4/data:2")
    together = costs(program, chip, *texts)
    for at, text in enumerate(texts):
        alone = costs(program, chip, text)
        assert float(together.step_time_s[at]) == float(alone.step_time_s[0])
        assert float(together.peak_bytes[at]) == float(alone.peak_bytes[0])
