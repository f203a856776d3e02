"""What the search holds at its moments, against the finished program of one device that does everything."""

import jax
import jax.numpy as jnp
import pytest

from models import gpt, llama, mixtures, moe
from swplan.costmodel import Cluster
from swplan.passes.partition import partition
from swplan.passes.pipeline import Settings, run
from swplan.runtime.trace import trace
from swplan.search.planner import hunt
from swplan.search.subject import subject

CLUSTER = Cluster.parse("h100-sxm:gpus=8")
SCANNED = {"layers": 4, "scan_layers": True, "remat": True}
MODELS = {
    "llama": (llama.tiny, {"seq": 128} | SCANNED),
    "deepseek": (mixtures.tiny_deepseek, {"seq": 64} | SCANNED),
    "mixtral": (mixtures.tiny_mixtral, {"seq": 128} | SCANNED),
    "mixtral unrolled": (mixtures.tiny_mixtral, {"seq": 64}),
    "moda": (moe.tiny_scanned, {}),
}


def prepared(step, args):
    graph = run(trace(step, args, {}).graph, Settings(precision={}, cast=None))
    return subject(graph, CLUSTER)


def held(moment):
    return sum(moment.held.values())


@pytest.mark.parametrize("name", MODELS)
def test_as_much_is_held_as_in_the_finished_program(name):
    made, options = MODELS[name]
    subject_ = prepared(*made(only_shapes=True, **options))
    choices = {node.key: () for node in subject_.decisions.nodes}
    finished = subject_.peak(partition(subject_.graph, (), choices)).peak_bytes
    assert 0.9 <= max(map(held, subject_.moments)) / finished <= 1.1


def test_the_plan_of_layers_written_out_holds_as_much_as_was_estimated():
    """Sums wait for nothing, and what is added to a stream of activations is not kept for every later reader."""
    subject_ = prepared(*gpt.lm(layers=12, seq=128, only_shapes=True))
    best = min(hunt(subject_, max_axes=2).candidates, key=lambda candidate: candidate.cost_s)
    finished = subject_.peak(partition(subject_.graph, best.placement.sizes, best.choices)).peak_bytes
    assert 0.8 <= best.memory_bytes / finished <= 1.2


def test_every_part_of_a_step_has_its_moment_unless_another_holds_all_of_it():
    subject_ = prepared(*mixtures.tiny_mixtral(only_shapes=True, **SCANNED))
    assert {moment.label for moment in subject_.moments} == {"forward", "backward", "optimizer"}
    alone = prepared(lambda x: jnp.sin(x) @ x, (jax.ShapeDtypeStruct((64, 64), "float32"),))
    assert len(alone.moments) == 1


def test_what_a_kernel_reads_through_others_is_held_until_it_runs():
    shape, wide = jax.ShapeDtypeStruct((256, 8), "float32"), 4 * 256 * 256
    (moment,) = prepared(lambda x: jax.nn.softmax(x @ x.T) @ x, (shape,)).moments
    assert held(moment) >= 2 * wide


def test_what_enters_a_loop_as_its_carry_is_not_held_beside_it():
    wide = 4 * 256 * 256

    def step(x):
        return jax.lax.fori_loop(0, 4, lambda _, h: jnp.sin(h) @ x, x @ x)

    (moment,) = prepared(step, (jax.ShapeDtypeStruct((256, 256), "float32"),)).moments
    assert held(moment) <= 3 * wide
