"""Everything that may be decorated, and everything that may stand in it: each runs unchanged and equals `jax.jit`."""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import swplan
from benchmarks.models import CLUSTER, difference

OPTIONS = {"cluster": CLUSTER, "max_axes": 1}
TABLE = jnp.linspace(-1.0, 2.0, 16 * 16).reshape(16, 16)
X = jnp.sin(jnp.arange(256.0)).reshape(16, 16)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Data:
    """A pytree whose `scale` is part of its structure."""

    x: jax.Array
    mask: jax.Array | None = None
    scale: float = dataclasses.field(default=2.0, metadata={"static": True})


class Pair(NamedTuple):
    first: jax.Array
    second: jax.Array


class Model:
    """Not a pytree."""

    def __init__(self, width):
        self.width = width

    def __call__(self, state, batch):
        return state + jnp.tanh(batch @ state) * self.width, batch.sum()

    def step(self, state, batch):
        return self(state, batch)

    @classmethod
    def made(cls, state, batch):
        return cls(3.0)(state, batch)

    @staticmethod
    def bare(state, batch):
        return Model(4.0)(state, batch)


def scale(state, batch, *, by):
    return state + by * batch, None


def with_default(state, batch, rate=0.1):
    return state + rate * jnp.tanh(batch @ state), batch.mean()


def two_results(state, *batches, **more):
    return state + sum(batches), {"more": more, "none": None}


class Case(NamedTuple):
    """A function and its arguments; what comes back is compared leaf by leaf, and tree by tree."""

    function: object
    args: tuple
    kwargs: Mapping = MappingProxyType({})


FUNCTIONS = {
    "lambda": Case(lambda state, batch: (state + batch, batch.sum()), (X, TABLE)),
    "partial": Case(functools.partial(scale, by=3.0), (X, TABLE)),
    "partial of a leading array": Case(functools.partial(two_results, X), (TABLE,)),
    "callable object": Case(Model(2.0), (X, TABLE)),
    "bound method": Case(Model(2.0).step, (X, TABLE)),
    "class method": Case(Model.made, (X, TABLE)),
    "static method": Case(Model.bare, (X, TABLE)),
    "jitted function": Case(jax.jit(with_default), (X, TABLE)),
    "jitted, donating": Case(jax.jit(with_default, donate_argnums=0), (X, TABLE)),
    "tree_util.Partial": Case(jax.tree_util.Partial(scale, by=3.0), (X, TABLE)),
    "value_and_grad of a loss": Case(jax.value_and_grad(lambda w, b: jnp.mean((b @ w) ** 2)), (X, TABLE)),
    "vmapped": Case(jax.vmap(lambda w, b: jnp.tanh(w) * b.sum()), (X, TABLE)),
    "keyword arguments": Case(scale, (X,), {"batch": TABLE, "by": jnp.float32(2)}),
    "all by keyword": Case(with_default, (), {"batch": TABLE, "state": X, "rate": 0.5}),
    "defaults": Case(with_default, (X, TABLE)),
    "python scalars": Case(with_default, (X, TABLE, 0.25)),
    "star arguments": Case(two_results, (X, TABLE, TABLE), {"a": X, "b": [X, None, ()]}),
    "dataclass": Case(lambda d: (dataclasses.replace(d, x=d.x * d.scale), d.x.sum()), (Data(X),)),
    "dataclass with all leaves": Case(lambda d: Data(d.x + 1, d.mask, 3.0), (Data(X, X > 0),)),
    "named tuple": Case(lambda pair: Pair(pair.second, pair.first), (Pair(X, TABLE),)),
    "nested dicts, lists, None": Case(
        lambda s, b: ({"a": [s["a"][0] + b[0]], "n": None}, b[1]), ({"a": [X], "n": None}, (TABLE, None))
    ),
    "no arguments": Case(lambda: jnp.arange(16.0), ()),
    "no arrays in the result": Case(lambda x: (None, ()), (X,)),
    "an input returned as it is": Case(lambda x, y: (x, y, x), (X, TABLE)),
    "an input that is not used": Case(lambda x, y: x + 1, (X, TABLE)),
    "a constant result": Case(lambda x: (x, TABLE, 3.0), (X,)),
    "closed-over constants": Case(lambda x: x @ TABLE + np.ones(16, np.float32), (X,)),
    "numpy arguments": Case(with_default, (np.asarray(X), np.asarray(TABLE))),
    "scalars and empty arrays": Case(lambda s, e: (s + 1, e), (jnp.float32(3), jnp.zeros((0, 4)))),
    "dims that do not divide": Case(lambda x, y: x @ y, (jnp.ones((7, 5)), jnp.ones((5, 3)))),
    "bfloat16 and bool": Case(lambda x, m: jnp.where(m, x, 0).sum(0), (X.astype(jnp.bfloat16), X > 0)),
    "integers": Case(lambda x: (x // 3, x % 5, x.argmax(1)), (jnp.arange(64).reshape(8, 8),)),
    "complex": Case(lambda x: jnp.abs(x * (1 + 2j)), (X + 1j * TABLE,)),
}


def check(step, case, options=OPTIONS):
    """Twice, as a first and as a later call; the arguments are copied, as some are donated."""
    wanted = step(*case.args, **case.kwargs)
    planned = swplan.auto(step, **options)
    for _ in range(2):
        args, kwargs = jax.tree.map(lambda leaf: leaf.copy() if hasattr(leaf, "copy") else leaf, case[1:])
        got = planned(*args, **kwargs)
        assert jax.tree.structure(got) == jax.tree.structure(wanted)
        assert difference(got, wanted) <= 1e-5
        assert [leaf.dtype for leaf in jax.tree.leaves(got)] == [jnp.result_type(x) for x in jax.tree.leaves(wanted)]
    return planned


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_kind_of_function_and_argument(name):
    case = FUNCTIONS[name]
    if isinstance(case.function, type(jax.jit(scale))):
        case = case._replace(function=jax.jit(with_default))
    check(case.function, case)


def test_method_decorated_in_its_class():
    class Trainer:
        width = 2.0

        @swplan.auto(static_argnums=0, **OPTIONS)
        def step(self, state, batch):
            return state + self.width * batch, batch.sum()

    trainer = Trainer()
    assert difference(trainer.step(X.copy(), TABLE), (X + 2 * TABLE, TABLE.sum())) <= 1e-5


def powers(state, batch, degree, name="a"):
    return state + batch**degree, {name: batch.sum()}


@pytest.mark.parametrize("options", [{"static_argnums": (2, 3)}, {"static_argnames": ("degree", "name")}])
def test_static_arguments(options):
    step = swplan.auto(powers, **options, **OPTIONS)
    for args, kwargs in [
        ((2,), {}),
        ((3, "b"), {}),
        ((), {"degree": 2, "name": "c"}),
        ((2,), {}),
        ((3,), {"name": "b"}),
    ]:
        got, wanted = step(X.copy(), TABLE, *args, **kwargs), powers(X, TABLE, *args, **kwargs)
        assert jax.tree.structure(got) == jax.tree.structure(wanted)
        assert difference(got, wanted) <= 1e-5
    assert step.plan(X, TABLE, degree=2).step == "powers"


def test_negative_static_argnum():
    step = swplan.auto(lambda state, batch, n: (state + n * batch, batch.sum()), static_argnums=-1, **OPTIONS)
    assert difference(step(X.copy(), TABLE, 3), (X + 3 * TABLE, TABLE.sum())) <= 1e-5


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey], ids=["typed", "raw"])
def test_keys_in_state_batch_and_closure(make):
    own = make(7)

    def step(state, key):
        kept, used = jax.random.split(state["key"])
        noise = jax.random.normal(used, (16, 16)) + jax.random.uniform(jax.random.fold_in(own, 3), (16, 16))
        return {"key": kept, "w": state["w"] + noise}, jax.random.bits(key, (8,))

    check(step, Case(step, ({"key": make(0), "w": X}, make(1))))
