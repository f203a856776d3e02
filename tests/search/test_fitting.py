"""When the time is up nothing more is finished, but for a first plan that fits."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swplan.costmodel import Cluster
from swplan.runtime.trace import trace
from swplan.search import fitting as module
from swplan.search.planner import hunt
from swplan.search.subject import subject


def update(state, x):
    """A step that returns its state."""
    return state - 0.1 * (x.T @ jnp.tanh(x @ state)), jnp.sum(x)


def shapes(size):
    return jax.ShapeDtypeStruct((size, size), jnp.float32), jax.ShapeDtypeStruct((size, size), jnp.float32)


@pytest.fixture
def prepared():
    graph = trace(update, shapes(256), {}).graph
    return subject(graph, Cluster.parse("host:devices=4,memory.bytes=900000"))


@pytest.fixture
def finished(monkeypatch):
    """The programs that are finished, as they are."""
    made, partition = [], module.partition
    monkeypatch.setattr(module, "partition", lambda *args: made.append(partition(*args)) or made[-1])
    return made


def candidates(prepared):
    return sorted(hunt(prepared, max_axes=2).candidates, key=lambda one: one.cost_s)


def fitting(prepared, **options):
    found, _ = module.fitting(prepared, candidates(prepared), lambda one: None, **options)
    return found


def test_nothing_is_finished_after_the_deadline_if_a_plan_is_known(prepared, finished):
    assert fitting(prepared, worst_s=1.0, deadline=time.monotonic() - 1) is None
    assert not finished


def test_a_first_plan_is_found_whenever_that_is(prepared, finished):
    late, ever = fitting(prepared, deadline=time.monotonic() - 1), fitting(prepared)
    assert late.memory.peak_bytes <= prepared.cluster.memory_bytes
    assert late.best.cost_s == ever.best.cost_s
    assert len(finished) == 2


def test_a_deadline_far_off_changes_nothing(prepared):
    far, none = fitting(prepared, worst_s=1.0, deadline=time.monotonic() + 1000), fitting(prepared, worst_s=1.0)
    assert far.best.choices == none.best.choices and np.isfinite(far.best.cost_s)
