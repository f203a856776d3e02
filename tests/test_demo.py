"""The demo, shortened: two plans, a program that agrees, a loss that falls across the checkpoint between them."""

import subprocess
import sys

import jax
import pytest
from rich.console import Console

from swplan import Checkpointer, demo
from swplan.errors import UsageError


@pytest.mark.slow
def test_the_demo_trains_across_two_plans(tmp_path):
    console = Console(record=True, width=110)
    outcome = demo.main(steps=12, folder=tmp_path, console=console)
    assert outcome.agrees
    assert len(outcome.losses) == 12
    assert max(outcome.losses[6:]) < outcome.losses[0] - 1
    assert sum(outcome.losses[6:]) < sum(outcome.losses[:6])
    assert [t.spec for t in outcome.first.inputs] != [t.spec for t in outcome.second.inputs]
    assert outcome.folder == tmp_path / "run-1"
    assert sorted(path.name for path in outcome.folder.iterdir()) == ["checkpoint", "other-plan.html", "plan.html"]
    with Checkpointer(outcome.folder / "checkpoint") as checkpointer:
        assert checkpointer.steps() == (6,)
    text = console.export_text()
    for word in ("Alternatives", "tensor parallel", "every one compiled as planned", "step    7", "Done"):
        assert word in text


def test_every_run_has_its_own_folder(tmp_path):
    assert [demo._new_folder(tmp_path).name for _ in range(3)] == ["run-1", "run-2", "run-3"]


def test_too_few_devices_are_refused_once_jax_runs():
    demo.emulate(jax.device_count())
    with pytest.raises(UsageError, match=f"needs 99 devices.*{jax.device_count()}"):
        demo.emulate(99)


def test_devices_are_emulated_in_a_fresh_process():
    code = "from swplan.demo import emulate; emulate(3); import jax; assert jax.device_count() == 3, jax.devices()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
