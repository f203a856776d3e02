"""A user's folder in which the command line is run, and a planner that only writes down what it is asked."""

import sys

import pytest

from swplan.cli import main
from swplan.errors import InfeasibleError
from tests.views import plans

PROGRAM = '''
"""A user's module."""
class Nested:
    @staticmethod
    def make(*, width=4, name="a"):
        return (lambda state: state), (width, name)
def make(batch: int = 2, *, width=4, flag=False, nodes=1):
    return (lambda state: state), (batch, width, flag, nodes)
def open_to_all(**options):
    return (lambda state: state), (tuple(options.items()),)
def fails():
    return 1 // 0
def exits():
    raise SystemExit("no")
def returns_none():
    return None
def broken_step(state):
    return undefined
value = 3
'''


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command line in a folder with `user.py`; returns (exit code, output, error output)."""
    (tmp_path / "user.py").write_text(PROGRAM)
    (tmp_path / "broken.py").write_text("import json\nx = json.nothing\n")
    (tmp_path / "unparsable.py").write_text("def f(:\n")
    plans.small().save(tmp_path / "small.json")
    plans.deep(6).save(tmp_path / "deep.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("user", "broken", "unparsable"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return caught.value.code or 0, out, err

    return call


@pytest.fixture
def planned(monkeypatch):
    """Replaces the planner; returns the list of its calls as (args, cluster, options)."""
    import swplan.api

    calls = []

    def plan(step, *args, cluster, progress, **options):
        calls.append((args, cluster, options))
        progress(1, 2, "mesh 2 x 4")
        if cluster.devices == 3:
            raise InfeasibleError("needs 5 GiB more on each device")
        return plans.small(cluster=cluster.spec, devices=cluster.devices, step_time_s=1.0 / cluster.devices)

    monkeypatch.setattr(swplan.api, "plan", plan)
    return calls
