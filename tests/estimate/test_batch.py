"""Batches: many strategies at once cost what each costs alone, from objects as from arrays."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.errors import UsageError
from swplan.estimate.batch import alike, distinct
from swplan.estimate.estimating import Costs, Estimator
from swplan.estimate.strategy import Strategy
from tests.estimate.programs import CLUSTERS, estimator

MESHES = {
    "data/model": [(4, 2), (2, 4)],
    "model/data": [(4, 2), (2, 4)],
    "expert/data": [(2, 4), (4, 2)],
    "pipe/model/data": [(1, 4, 2), (2, 2, 2), (1, 2, 4)],
}
REST = ("zero=1", "zero=3 overlap=data", "recompute=full", "attention=fused launch=eager", "global_batch=4")
KINDS = [(*pair, sorted(CLUSTERS)[i % len(CLUSTERS)]) for i, pair in enumerate(itertools.product(MESHES, REST))]


def strategies_of(axes: str, rest: str) -> list[Strategy]:
    """Strategies of a kind, in no order: all meshes, several numbers of micro-batches and of chunks."""
    found = []
    for sizes, micro, chunks in itertools.product(MESHES[axes], (1, 3, 4), (1, 2)):
        mesh = "/".join(f"{axis}:{size}" for axis, size in zip(axes.split("/"), sizes, strict=True))
        if chunks == 1 or "pipe:2" in mesh:
            found.append(Strategy.parse(f"mesh={mesh} micro_batches={micro} interleave={chunks} {rest}"))
    return found[::2] + found[1::2]


def check_equal(together: Costs, at: int, alone: Costs) -> None:
    """All that is priced of one of many is what it is alone; sums of products of memory only nearly so."""
    for part, seconds in together.parts.items():
        assert seconds[at] == alone.parts[part][0], part
    assert together.peak_bytes[at] == pytest.approx(alone.peak_bytes[0], rel=1e-12)
    roles = {role: held[at] for role, held in together.by_role.items()}
    assert roles == pytest.approx({role: held[0] for role, held in alone.by_role.items()}, rel=1e-12)


@pytest.mark.parametrize(("axes", "rest", "chip"), KINDS)
def test_many_at_once_cost_what_each_costs_alone(axes, rest, chip):
    made, strategies = estimator("moe", chip), strategies_of(axes, rest)
    together = made.costs(strategies)
    for at, strategy in enumerate(strategies):
        check_equal(together, at, made.costs([strategy]))


def from_arrays(made: Estimator, strategies: list[Strategy]) -> Costs:
    """Costs of the strategies, handed over as arrays."""
    number = lambda of: np.array([of(strategy) for strategy in strategies])  # noqa: E731
    degrees = {axis: number(lambda s, axis=axis: s.degree(axis)) for axis, _ in strategies[0].mesh}
    batch = made.batch_at(
        strategies[0], degrees, micro=number(lambda s: s.micro_batches), interleave=number(lambda s: s.interleave)
    )
    return made.costs_at(strategies[0], batch)


def test_arrays_cost_what_strategies_cost():
    made, strategies = estimator("moe", "a100-80g-sxm"), strategies_of("pipe/model/data", "zero=1")
    found = from_arrays(made, strategies)
    for at, strategy in enumerate(strategies):
        check_equal(found, at, made.costs([strategy]))


def test_arrays_must_have_the_devices_of_the_cluster():
    strategies = [Strategy.parse(f"mesh=data:{data}/model:2") for data in (4, 2)]
    with pytest.raises(UsageError, match=r"has 4 devices.*8"):
        from_arrays(estimator("moe", "host"), strategies)


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.5, 1.0, 2.0])), min_size=1, max_size=30))
def test_distinct_rows_stand_for_all(rows):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    first, which = distinct(columns)
    assert [rows[i] for i in first[which]] == rows
    assert len({rows[i] for i in first}) == len(first) == len(set(rows))


def test_those_that_are_alike_differ_in_time_alone():
    made, strategies = estimator("moe", "host"), strategies_of("pipe/model/data", "zero=1")
    small, which = alike(made.batch(strategies))
    keys = [(strategy.mesh, strategy.micro_batches) for strategy in strategies]
    assert small.count == len(set(keys)) < len(keys) == len(which)
