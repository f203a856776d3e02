"""Sums that nothing waits for: which they are, that XLA does them in one exchange, and that plans price them so."""

import pytest

import swplan
from models import gpt, llama, mlp
from swplan.ir.graph import walk
from swplan.ir.joining import joined_sums
from swplan.runtime.trace import trace


def joined(step, args):
    """What may be joined: how many there are of each, by the stage that makes them."""
    graph = trace(step, args, {}).graph
    stages = {value: op.stage for op, _ in walk(graph.top) for value in op.results}
    found = {}
    for value, sums in joined_sums(graph).items():
        found.setdefault((stages[value], sums), []).append(str(graph.avals[value]))
    return graph, {key: avals for key, avals in found.items() if key[0] == "backward"}


def parameters(graph):
    return sorted(str(graph.avals[v]) for v in graph.top.inputs if graph.role(v) == "parameter")


@pytest.mark.parametrize("build", [mlp.tiny, llama.tiny])
def test_gradients_are_joined_one_for_each_parameter(build):
    graph, found = joined(*build())
    ((_, sums),) = found
    (avals,) = found.values()
    names = parameters(graph)
    assert set(names) <= set(avals) and sums - 2 <= len(names) <= sums  # the loss, and what else only goes to results


def test_a_loop_joins_the_gradients_of_one_trip():
    """In the loop those of one layer, behind it those of all layers with those of the rest."""
    graph, found = joined(*gpt.tiny_scanned())
    assert sum(aval.startswith("float32[4,") for aval in parameters(graph)) == 15
    assert {sums for _, sums in found} == {15, 21}
    assert set(parameters(graph)) <= set(max(found.values(), key=len)) | set(min(found.values(), key=len))


def data_parallel(cluster):
    step, args = mlp.tiny()
    plan = swplan.plan(step, *args, baseline="data_parallel", precision="fp32", cluster=cluster)
    return plan, sum(exchange.count for exchange in plan.exchanges if exchange.kind == "all_reduce")


def test_xla_sums_in_one_exchange_what_may_be_joined():
    plan, sums = data_parallel("h100-sxm:gpus=8,network.node.rendezvous_s=1")
    (together,) = swplan.verify(plan, mlp.tiny()[0], *mlp.tiny()[1]).combined
    assert len(together) == sums


def test_joined_sums_pay_for_one_start():
    late = "h100-sxm:gpus=8,network.node.rendezvous_s=1"
    (plan, sums), (apart, _) = data_parallel(late), data_parallel(f"{late},network.node.joined_bytes=1")
    assert sums >= 7 and plan.step_time_s == pytest.approx(1, rel=0.1)
    assert apart.step_time_s > 1.9
