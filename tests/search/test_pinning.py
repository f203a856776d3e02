"""Pins in the search: names bound to axes in every way, prices that are differences of plans, errors that say what."""

import jax
import jax.numpy as jnp
import pytest

import swplan
from swplan.errors import PinError
from swplan.ir.pin import Pin
from swplan.search.pinning import bindings, satisfies

CLUSTER = "host:devices=8"
F32 = jnp.float32
ARGS = (jax.ShapeDtypeStruct((16, 32), F32), jax.ShapeDtypeStruct((64, 16), F32))


def step(w, x):
    """A product whose result lies as two names say."""
    return swplan.pin(jnp.tanh(x @ w), ("data", "model"))


def free(w, x):
    """The same without a pin."""
    return jnp.tanh(x @ w)


def made(function, **options):
    return swplan.plan(function, *ARGS, cluster=CLUSTER, precision="fp32", **options)


@pytest.mark.parametrize(("names", "axes", "count"), [(1, 1, 1), (1, 2, 3), (2, 2, 2), (2, 1, 0), (2, 3, 12)])
def test_names_are_bound_in_every_way(names, axes, count):
    assert len(bindings(tuple("ab"[:names]), axes)) == count


def test_a_layout_satisfies_what_is_named_and_what_is_open():
    pin = Pin(number=0, spec=(("a",), None), label="")
    assert satisfies((0, 1), pin, {"a": (0,)})
    assert satisfies((0, -1), pin, {"a": (0,)})
    assert not satisfies((1, 0), pin, {"a": (0,)})
    assert not satisfies((0, 0), pin, {"a": (0,)})
    assert not satisfies((0, -2), pin, {"a": (0,)})


def test_the_price_is_the_difference_of_two_plans():
    plan = made(step)
    (pin,) = plan.pins
    assert dict(pin.axes) == {"data": ("data",), "model": ("model",)}
    without = made(free, like=plan, pins={"w": (..., ...), "x": (..., ...)})
    assert without.mesh == plan.mesh
    assert pin.price_s >= 0
    assert pin.price_s == pytest.approx(plan.step_time_s - without.step_time_s, abs=1e-9)


def test_inputs_are_pinned_by_name_and_names_mean_the_same_axes():
    plan = made(step, pins={"x": ("data",), "w": (None, "model")})
    assert plan.tensor("x").spec == (("data",), ())
    assert plan.tensor("w").spec == ((), ("model",))
    again = made(step, like=plan)
    assert again.mesh == plan.mesh
    assert [t.spec for t in again.inputs] == [t.spec for t in plan.inputs]


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"y": ("a",)}, "no input or result"),
        ({"x": ("a", "a")}, "twice"),
        ({"x": ("a", None, None)}, "3 entries"),
        ({"x": (3,)}, "no spec"),
        ({"x": ("a", "b"), "w": ("c", "d")}, "no mesh holds them all"),
    ],
)
def test_wrong_pins_are_errors(pins, words):
    with pytest.raises(PinError, match=words):
        made(free, pins=pins)


def test_a_dim_that_no_axis_divides_is_named():
    odd = lambda x: swplan.pin(x * 2.0, ("data", None))  # noqa: E731
    with pytest.raises(PinError, match=r"dim 0 \(5\)"):
        swplan.plan(odd, jax.ShapeDtypeStruct((5, 8), F32), cluster=CLUSTER, precision="fp32")
