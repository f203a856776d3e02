"""Small programs, traced once, and estimators of them on small clusters."""

from __future__ import annotations

import functools

import models.gpt
import models.llama
import models.mlp
import models.moe
from swplan.costmodel.cluster import Cluster
from swplan.estimate.estimating import Costs, Estimator
from swplan.estimate.strategy import Strategy
from swplan.ir.graph import Graph
from swplan.runtime.prepare import prepare
from swplan.runtime.trace import Statics

PROGRAMS = {
    "gpt": functools.partial(models.gpt.tiny_scanned, only_shapes=True),
    "moe": functools.partial(models.moe.tiny_scanned, only_shapes=True),
    "llama": functools.partial(models.llama.tiny, scan_layers=True, only_shapes=True),
    "mlp": models.mlp.tiny,
}
CLUSTERS = {
    "sw26010pro": "sw26010pro:nodes=8,nodes_per_supernode=4",
    "a100-80g-sxm": "a100-80g-sxm:gpus=8,gpus_per_node=4",
    "h100-sxm": "h100-sxm:gpus=8,gpus_per_node=4",
    "host": "host:devices=8",
}


@functools.cache
def graph_of(program: str) -> Graph:
    """The graph of a program."""
    step, args = PROGRAMS[program]()
    return prepare(step, args, {}, Statics()).program.graph


@functools.cache
def estimator(program: str, chip: str) -> Estimator:
    """An estimator, shared by all tests."""
    return Estimator(graph_of(program), Cluster.parse(CLUSTERS[chip]))


def costs(program: str, chip: str, *texts: str) -> Costs:
    """Costs of strategies of one kind, each on a cluster of as many devices as it has."""
    strategies = [Strategy.parse(text) for text in texts]
    made = estimator(program, chip)
    (devices,) = {strategy.devices for strategy in strategies}
    return made.costs(strategies, made.cluster.replace({f"{made.cluster.chip.device}s": devices}))


def seconds(program: str, chip: str, text: str) -> float:
    """Seconds of a step."""
    return float(costs(program, chip, text).step_time_s[0])
