"""Damaged, lost and half-written checkpoints: what was saved comes back, or an error says that it cannot."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from swplan.errors import CheckpointError
from swplan.runtime.checkpoint import Checkpointer

State = dict[str, jax.Array | int | float]


@pytest.fixture
def checkpointer(tmp_path: Path):
    with Checkpointer(tmp_path / "checkpoints") as made:
        yield made


def files(checkpointer: Checkpointer) -> list[Path]:
    return sorted(path for path in checkpointer.directory.rglob("*") if path.is_file() and path.stat().st_size)


def test_damage_never_goes_unnoticed(checkpointer):
    """Whatever bit of whatever file is altered: the restored state is as saved, or there is an error."""
    random = np.random.default_rng(0)
    state = {"w": jnp.asarray(random.normal(size=(64, 64)), jnp.float32), "n": 1, "rate": 0.25}
    checkpointer.save(1, state)
    checkpointer.close()
    noticed = 0
    for path in files(checkpointer):
        whole = path.read_bytes()
        for place in random.integers(0, len(whole), 3):
            altered = bytearray(whole)
            altered[place] ^= 1 << int(random.integers(0, 7))
            path.write_bytes(altered)
            noticed += not restores(checkpointer, state)
            path.write_bytes(whole)
    assert noticed >= 6
    assert restores(checkpointer, state)


def restores(checkpointer: Checkpointer, state: State) -> bool:
    """Whether the state comes back as saved; if not, the error must say so."""
    with Checkpointer(checkpointer.directory) as fresh:
        try:
            restored = fresh.restore(state, step=1)
        except CheckpointError as error:
            assert "damaged" in str(error) or "no whole checkpoint" in str(error)
            return False
    for name, value in state.items():
        np.testing.assert_array_equal(restored[name], value)
    return True


def test_lost_files_are_noticed(checkpointer):
    state = {"w": jnp.ones((8, 8))}
    checkpointer.save(1, state)
    checkpointer.close()
    for path in files(checkpointer):
        whole = path.read_bytes()
        path.unlink()
        restores(checkpointer, state)
        path.write_bytes(whole)
    assert restores(checkpointer, state)


KILLED = """
import os, sys
import jax.numpy as jnp
import orbax.checkpoint as ocp
from swplan.runtime.checkpoint import Checkpointer

made = Checkpointer(sys.argv[1])
made.save(1, {"w": jnp.ones(9)})
ocp.StandardCheckpointHandler.finalize = lambda *a, **k: os._exit(9)
made.save(2, {"w": jnp.ones(9) * 2})
"""


def test_a_save_that_is_killed_leaves_the_step_before(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    assert len(list(tmp_path.iterdir())) == 2, "the killed save had begun"
    with Checkpointer(tmp_path) as checkpointer:
        assert checkpointer.steps() == (1,)
        assert checkpointer.restore({"w": jnp.zeros(9)})["w"][0] == 1
        checkpointer.save(2, {"w": jnp.ones(9) * 3})
        assert checkpointer.restore({"w": jnp.zeros(9)})["w"][0] == 3
