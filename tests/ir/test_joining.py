"""Sums that nothing waits for: which they are, that XLA does them in one exchange, and that plans price them so."""

import pytest

import swplan
from models import gpt, llama, mlp
from swplan.ir.graph import walk
from swplan.ir.joining import joined_sums
from swplan.runtime.trace import trace

CLUSTER = "host:devices=8"


def joined(step, args):
    """What may be joined: how many there are of each, by the stage that makes them."""
    graph = trace(step, args, {}).graph
    stages = {value: op.stage for op, _ in walk(graph.top) for value in op.results}
    found = {}
    for value, sums in joined_sums(graph).items():
        found.setdefault((stages[value], sums), []).append(graph.avals[value])
    return graph, {key: avals for key, avals in found.items() if key[0] == "backward"}


def parameters(graph):
    return sorted(str(graph.avals[v]) for v in graph.top.inputs if graph.role(v) == "parameter")


@pytest.mark.parametrize("build", [mlp.tiny, llama.tiny])
def test_gradients_are_joined_one_for_each_parameter(build):
    graph, found = joined(*build())
    ((_, sums),) = found
    (avals,) = found.values()
    assert sorted(map(str, avals)) == parameters(graph)
    assert len(avals) <= sums <= len(avals) + 2  # the loss, and what else only goes to the results


def test_a_loop_joins_the_gradients_of_one_trip():
    """In the loop those of one layer, behind it those of all layers with those of the rest."""
    graph, found = joined(*gpt.tiny_scanned())
    inside, outside = sorted(found.values(), key=len)
    stacked = [aval for aval in parameters(graph) if aval.startswith("float32[4,")]
    assert len(inside) == len(stacked) == 15
    assert len(outside) == len(parameters(graph))


def test_data_parallel_steps_sum_all_gradients_at_once_and_pay_for_one_start():
    step, args = mlp.tiny()
    late = {"cluster": f"{CLUSTER},network.host.rendezvous_s=1"}
    plan = swplan.plan(step, *args, baseline="data_parallel", precision="fp32", **late)
    sums = [exchange for exchange in plan.exchanges if exchange.kind == "all_reduce"]
    assert sum(exchange.count for exchange in sums) >= 7
    assert plan.step_time_s == pytest.approx(1, rel=0.1)
    (together,) = swplan.verify(plan, step, *args).combined
    assert len(together) == sum(exchange.count for exchange in sums)
    alone = f"{late['cluster']},network.host.joined_bytes=1"
    apart = swplan.plan(step, *args, baseline="data_parallel", precision="fp32", cluster=alone)
    assert apart.step_time_s > 1.9
