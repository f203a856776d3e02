"""The promises of `conftest.py`, on which other tests stand."""

import jax
import jax.numpy as jnp
import pytest


def test_eight_cpu_devices():
    assert [device.platform for device in jax.devices()] == ["cpu"] * 8


@pytest.mark.usefixtures("strict_jax")
def test_strict_jax_refuses_mixed_dtypes():
    with pytest.raises(ValueError, match="implicit dtype promotion"):
        jnp.ones(2, jnp.bfloat16) + jnp.ones(2, jnp.float32)


@pytest.mark.usefixtures("strict_jax")
def test_strict_jax_refuses_mixed_ranks():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


def test_promotion_is_as_usual_without_strict_jax():
    assert (jnp.ones((2, 2), jnp.bfloat16) + jnp.ones(2, jnp.float32)).dtype == jnp.float32
