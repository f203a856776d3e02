"""Benchmarks, where they decide something: shardings by hand fit their models; a plan does not differ from itself."""

import jax
import numpy as np
import pytest

import swplan
from benchmarks import by_hand, host, measured, quality
from benchmarks.models import CLUSTER, build

MLP = "models.mlp:tiny"


def test_every_model_of_the_host_has_ways_by_hand():
    assert set(by_hand.BY_HAND) == set(host.MODELS)
    assert all(len(ways) >= 2 and "data parallel" in ways for ways in by_hand.BY_HAND.values())


@pytest.mark.parametrize("model", host.MODELS)
def test_weights_come_apart_as_the_rules_say(model):
    _, args = build(model)
    for name, way in by_hand.BY_HAND[model].items():
        state_at, batch_at = by_hand.shardings(args, way)
        apart = jax.tree.map(_comes_apart, args[0].params, state_at.params)
        assert any(jax.tree.leaves(apart)) == bool(way.rules), name
        assert all(jax.tree.leaves(jax.tree.map(_comes_apart, args[1], batch_at))), name


def _comes_apart(leaf, sharding):
    return sharding.shard_shape(leaf.shape) != leaf.shape


def test_a_step_by_hand_is_the_step():
    step, args = build(MLP)
    wanted, aux = jax.jit(step)(*args)
    made, state, batch = by_hand.placed(step, args, by_hand.BY_HAND[MLP]["data 2 x tensor 4"])
    got, other = made(state, batch)
    np.testing.assert_allclose(other["loss"], aux["loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got.params, wanted.params)


def test_ratio_and_regret():
    row = measured.Row(
        model="m",
        chosen_s=3.0,
        classics={"data_parallel": 4.0},
        by_hand={"by hand experts": 2.0},
        randoms=[2.5, 9.0],
        losses={"chosen": 0.0},
    )
    assert row.best == ("by hand experts", 2.0)
    assert (row.ratio, row.regret) == (1.5, 1.2)


def test_a_plan_saves_nothing_over_itself():
    step, args = build(MLP)
    chosen, other = (swplan.plan(step, *args, cluster=CLUSTER, baseline=kind) for kind in (None, "data_parallel"))
    assert all(place.saved_s == 0 for place in quality.places(chosen, chosen))
    saved_s = sum(place.saved_s for place in quality.places(other, chosen))
    local_s = other.breakdown["local_resharding"] - chosen.breakdown["local_resharding"]
    np.testing.assert_allclose(saved_s + local_s, other.step_time_s - chosen.step_time_s, rtol=1e-6)
