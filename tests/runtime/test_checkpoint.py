"""Checkpoints: what comes back is what was saved, on any mesh; what does not fit or is damaged is refused by name."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from swplan.errors import CheckpointError, PlanMismatchError
from swplan.plan import Axis, Tensor
from swplan.runtime.checkpoint import Checkpointer
from swplan.runtime.checkpoint_leaves import checksums


@struct.dataclass
class State:
    """A state with everything in it that a step may carry."""

    params: Any
    opt_state: Any
    key: Any = None
    seen: Any = 0


def mesh(*axes: tuple[str, int]) -> jax.sharding.Mesh:
    names, sizes = zip(*axes, strict=True)
    return jax.make_mesh(sizes, names, axis_types=(AxisType.Auto,) * len(axes))


def placed(state: Any, mesh: jax.sharding.Mesh, *entries: str | None) -> Any:
    """Every array laid over the mesh in its first dims, where these divide."""

    def place(x: Any) -> Any:
        if not isinstance(x, jax.Array):
            return x
        spec = [a if a and n % mesh.shape[a] == 0 else None for a, n in zip(entries, x.shape, strict=False)]
        return jax.device_put(x, NamedSharding(mesh, P(*spec)))

    return jax.tree.map(place, state)


def example() -> State:
    random = np.random.default_rng(0)
    params = {
        "w": jnp.asarray(random.normal(size=(16, 8)), jnp.float32),
        "half": jnp.asarray(random.normal(size=(8,)), jnp.bfloat16),
        "a/b.c": {"é [0]": jnp.arange(24, dtype=jnp.int8).reshape(8, 3)},
        "none": None,
        "empty": jnp.zeros((0, 4)),
        "mask": jnp.array([True, False]),
    }
    return State(params=params, opt_state=optax.adamw(1e-3).init(params["w"]), key=jax.random.key(7), seen=12)


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if hasattr(x, "dtype") and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert type(x) is type(y)
        assert getattr(x, "dtype", None) == getattr(y, "dtype", None)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def abstract(state: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "dtype") else x, state)


@pytest.fixture
def checkpointer(tmp_path: Path):
    with Checkpointer(tmp_path / "run" / "checkpoints") as made:
        yield made


def test_a_state_comes_back_on_another_mesh(checkpointer):
    state = placed(example(), mesh(("data", 8)), "data")
    wanted = placed(example(), mesh(("data", 2), ("model", 4)), "model", "data")
    checkpointer.save(3, state)
    restored = checkpointer.restore(wanted)
    assert_same(restored, state)
    for got, like in zip(jax.tree.leaves(restored), jax.tree.leaves(wanted), strict=True):
        assert getattr(got, "sharding", None) == getattr(like, "sharding", None)


def test_a_state_comes_back_without_a_wanted_sharding(checkpointer):
    state = placed(example(), mesh(("data", 8)), "data")
    checkpointer.save(3, state)
    restored = checkpointer.restore(abstract(state))
    assert_same(restored, state)
    assert not any(x.committed for x in jax.tree.leaves(restored.params))
    assert_same(checkpointer.restore(example()), example())


def test_numpy_arrays_come_back_as_numpy(checkpointer):
    state = {"a": np.arange(6.0).reshape(2, 3), "b": np.float32(2.5), "c": [np.zeros((2, 0))]}
    checkpointer.save(0, state)
    restored = checkpointer.restore(state)
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(restored))
    np.testing.assert_array_equal(restored["a"], state["a"])
    assert restored["b"] == 2.5 and restored["b"].dtype == np.float32


@pytest.mark.parametrize("value", [0, -(10**12), True, 1.0, 0.1, math.inf, "text"])
def test_python_values_come_back_as_they_were(checkpointer, value):
    checkpointer.save(1, {"value": value})
    restored = checkpointer.restore({"value": value})["value"]
    assert restored == value and type(restored) is type(value)


def test_a_python_number_and_an_array_without_dims_stand_for_each_other(checkpointer):
    checkpointer.save(1, {"step": jnp.int32(5), "rate": 0.5})
    restored = checkpointer.restore({"step": 0, "rate": jnp.float32(0)})
    assert restored["step"] == 5 and type(restored["step"]) is int
    assert restored["rate"] == 0.5 and restored["rate"].dtype == jnp.float32


def test_a_bare_array_is_a_state(checkpointer):
    checkpointer.save(1, jnp.arange(3))
    np.testing.assert_array_equal(checkpointer.restore(jnp.zeros(3, int)), jnp.arange(3))


def test_keys_of_every_implementation_come_back(checkpointer):
    keys = {name: jax.random.split(jax.random.key(1, impl=name), 8) for name in ("threefry2x32", "rbg")}
    keys = placed(keys, mesh(("data", 8)), "data")
    checkpointer.save(1, keys)
    assert_same(checkpointer.restore(keys), keys)
    assert checkpointer.restore(keys)["rbg"].sharding == keys["rbg"].sharding


def test_a_flax_train_state_comes_back(checkpointer):
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(0.1, 0.01, 9)))
    state = TrainState.create(apply_fn=abs, params={"w": jnp.ones((4, 4))}, tx=tx)
    state = state.apply_gradients(grads={"w": jnp.ones((4, 4))})
    checkpointer.save(1, state)
    restored = checkpointer.restore(TrainState.create(apply_fn=abs, params={"w": jnp.zeros((4, 4))}, tx=tx))
    assert type(restored) is TrainState and restored.step == 1 and type(restored.step) is int
    np.testing.assert_array_equal(restored.params["w"], state.params["w"])
    assert_same(restored.opt_state, state.opt_state)


def test_steps_are_listed_and_the_latest_is_the_default(checkpointer):
    assert checkpointer.steps() == () and checkpointer.latest is None
    for step in (5, 20, 10):
        checkpointer.save(step, {"x": jnp.full(3, step)})
    assert checkpointer.steps() == (5, 10, 20) and checkpointer.latest == 20
    assert checkpointer.restore({"x": jnp.zeros(3, int)})["x"][0] == 20
    assert checkpointer.restore({"x": jnp.zeros(3, int)}, step=np.int64(5))["x"][0] == 5
    with Checkpointer(checkpointer.directory) as other:
        assert other.steps() == (5, 10, 20)


def test_a_closed_checkpointer_opens_again(checkpointer):
    checkpointer.save(1, {"x": 1})
    checkpointer.close()
    checkpointer.close()
    assert checkpointer.restore({"x": 0}) == {"x": 1}


def refused(checkpointer: Checkpointer, *parts: str, like: Any = None, **options: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpointer.restore(like if like is not None else {"w": jnp.zeros((2, 3)), "n": 1}, **options)
    for part in parts:
        assert part in str(caught.value)


def test_a_checkpoint_that_is_not_there_is_refused(checkpointer):
    refused(checkpointer, "no directory", str(checkpointer.directory))
    checkpointer.directory.mkdir(parents=True)
    refused(checkpointer, "no whole checkpoint")
    checkpointer.save(4, {"w": jnp.ones((2, 3)), "n": 1})
    checkpointer.save(8, {"w": jnp.ones((2, 3)), "n": 1})
    refused(checkpointer, "no checkpoint of step 5", "4, 8", step=5)


@pytest.mark.parametrize(
    ("like", "parts"),
    [
        ({"w": jnp.zeros((2, 3))}, ["only in the checkpoint: n"]),
        ({"w": jnp.zeros((2, 3)), "n": 1, "z": {"q": 1}}, ["not in the checkpoint: z/q"]),
        ({"w": jnp.zeros((3, 2)), "n": 1}, ["w: saved float32[2, 3], wanted float32[3, 2]"]),
        ({"w": jnp.zeros((2, 3), jnp.bfloat16), "n": 1}, ["wanted bfloat16[2, 3]"]),
        ({"w": jax.random.split(jax.random.key(0), (2, 3)), "n": 1}, ["wanted key<fry>[2, 3]"]),
        ({"w": jnp.zeros((2, 3)), "n": 1.0}, ["n: saved int 1, wanted float 1.0"]),
        ({"w": jnp.zeros((2, 3)), "n": jnp.zeros(1)}, ["n: saved int 1, wanted float32[1]"]),
        ({"w": 0.5, "n": 1}, ["w: saved float32[2, 3], wanted float 0.5"]),
        ({"w": None, "n": 1}, ["only in the checkpoint: w"]),
        ({f"w{i}": 1 for i in range(9)}, ["not in the checkpoint: w0; w1; w2; w3; w4; and 4 more"]),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_leaf(checkpointer, like, parts):
    checkpointer.save(1, {"w": jnp.ones((2, 3)), "n": 1})
    refused(checkpointer, "step 1", *parts, like=like)


def test_what_cannot_be_saved_is_refused_and_leaves_nothing(checkpointer):
    with pytest.raises(CheckpointError, match="'f' is of type function"):
        checkpointer.save(1, {"f": refused})
    with pytest.raises(CheckpointError, match="same name"):
        checkpointer.save(1, {"a/b": 1, "a": {"b": 2}})
    checkpointer.save(1, {"a": 1})
    with pytest.raises(CheckpointError, match="already has a checkpoint of step 1"):
        checkpointer.save(1, {"a": 2})
    assert checkpointer.steps() == (1,)
    (checkpointer.directory.parent / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        Checkpointer(checkpointer.directory.parent / "file" / "deeper").save(1, {"a": 1})


def test_checksums_do_not_depend_on_the_sharding_and_see_any_bit():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(8, 16)), jnp.float32)
    whole = checksums([x])
    assert checksums([np.asarray(x)]) == whole
    assert checksums([placed(x, mesh(("a", 2), ("b", 4)), "b", "a")]) == whole
    assert checksums([placed(x, mesh(("a", 8)))]) == whole
    bits = np.asarray(x).view(np.uint32).copy()
    bits[3, 5] ^= 1 << 31
    assert checksums([bits.view(np.float32)]) != whole


def tensors(label: str, state: Any, axes: tuple[str, ...], replaced: str = "") -> list[Tensor]:
    """The leaves of a state as a plan lists them, split in their first dim by `axes` where 8 divides it."""
    flat, _ = jax.tree_util.tree_flatten_with_path(state)
    keys = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in flat]
    shapes = [tuple(leaf.shape) for _, leaf in flat]
    common = {"dtype": "float32", "role": "parameter", "bytes": 0, "device_bytes": 0}
    specs = [tuple(axes if i == 0 and n % 8 == 0 else () for i, n in enumerate(shape)) for shape in shapes]
    return [
        Tensor(name=f"{label}/{key}", shape=shape, spec=spec, replaces=replaced and f"{replaced}/{key}", **common)
        for key, shape, spec in zip(keys, shapes, specs, strict=True)
    ]


def fake_plan(state: Any, *, replaced: str = "state") -> SimpleNamespace:
    """As much of a plan as restoring reads: a batch, a copy of the state that is only read, and the state itself."""
    axes = (
        Axis(name="data", size=2, position=1, tiers=("host",)),
        Axis(name="model", size=4, position=0, tiers=("host",)),
    )
    both = ("model", "data")
    inputs = tensors("batch", {"x": jnp.zeros(4)}, ()) + tensors("average", state, ()) + tensors("state", state, both)
    return SimpleNamespace(step="train", axes=axes, inputs=inputs, outputs=tensors("out", state, both, replaced))


def test_a_plan_says_where_a_state_is_restored(checkpointer):
    state = {"w": jnp.arange(128.0).reshape(16, 8), "b": jnp.ones(3), "step": jnp.int32(4)}
    checkpointer.save(1, state)
    for like in (state, abstract(state), jax.tree.map(np.asarray, state)):
        restored = checkpointer.restore(like, plan=fake_plan(state))
        assert_same(restored, state)
        assert restored["w"].sharding.spec == P(("model", "data"))
        assert restored["b"].sharding.spec == P()
    devices = restored["w"].sharding.mesh.devices
    assert devices.shape == (2, 4) and [d.id for d in devices[0]] == [0, 1, 2, 3]
    read_only = checkpointer.restore(state, plan=fake_plan(state, replaced=""))
    assert read_only["w"].sharding.spec == P(), "the first argument that fits, where none is given back"


def test_a_plan_for_another_state_is_refused(checkpointer):
    state = {"w": jnp.ones((16, 8))}
    checkpointer.save(1, state)
    with pytest.raises(PlanMismatchError, match=r"'train' \(batch, average, state\) has the 1 leaves"):
        checkpointer.restore(state, plan=fake_plan({"w": jnp.ones((8, 8))}))
