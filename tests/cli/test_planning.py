"""The verbs that plan, with a planner that only writes down what it is asked: programs, settings, sweeps, mistakes."""

import json
import sys
import types
from pathlib import Path

import pytest

from swplan.errors import TraceError
from swplan.plan import Plan

CLUSTER = ("--cluster", "sw26010pro:nodes=8")


def test_plan(run, planned, tmp_path):
    code, out, _ = run("plan", "user:make", *CLUSTER, "--json", "new.json", "--html", "new.html")
    assert code == 0 and "Plan of train_step" in out
    assert Plan.load(tmp_path / "new.json").devices == 8
    options = {"baseline": None, "precision": "auto", "micro_batches": None, "recompute": "auto"}
    options |= {"max_axes": None, "time_limit": None}
    assert planned == [((2, 4, False, 1), planned[0][1], options)]


def test_options_reach_the_planner(run, planned):
    asked = ("--baseline", "data_parallel", "--precision", "bf16", "--micro-batches", "4", "--recompute", "everything")
    run("plan", "user:make", *CLUSTER, *asked, "--max-axes", "1", "--time-limit", "2.5")
    wanted = {"baseline": "data_parallel", "precision": "bf16", "micro_batches": 4, "recompute": "everything"}
    assert planned[0][2] == wanted | {"max_axes": 1, "time_limit": 2.5}


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("user:make(3, width=-2)", (3, -2, False, 1)),
        ("user:make(flag=True)", (2, 4, True, 1)),
        ("user:make()", (2, 4, False, 1)),
        ("user:Nested.make(name='1.93T')", (4, "1.93T")),
        ("user:open_to_all(a=[1, (2, None)])", ((("a", [1, (2, None)]),),)),
    ],
)
def test_literal_arguments(run, planned, call, args):
    code, _, err = run("plan", call, *CLUSTER)
    assert (code, err) == (0, "") and planned[0][0] == args


def test_settings_reach_cluster_and_program(run, planned):
    settings = ("width=8", "network.supernode.taper=1.0", "flag=True", "cluster.nodes=16", "model.nodes=4")
    run("plan", "user:make", *CLUSTER, *(word for each in settings for word in ("--set", each)))
    assert planned[0][0] == (2, 8, True, 4)
    assert planned[0][1].spec == "sw26010pro:nodes=16,network.supernode.taper=1"


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("user", "names no program"),
        ("user.py:make", "cannot import user.py"),
        ("nope:make", "no module 'nope'"),
        ("user.nope:make", "user.nope"),
        ("user:mak", "near: make"),
        ("user:value", "a int, not a function"),
        ("user:make(", "cannot be read"),
        ("user:make(batch=f())", "must be literals"),
        ("user:make(**{})", "cannot be read"),
        ("user:make(__import__('os').system('false'))", "must be literals"),
        ("user:make(widht=3)", "it takes batch, width, flag, nodes"),
        ("user:fails", "ZeroDivisionError"),
        ("user:exits", "SystemExit"),
        ("user:returns_none", "must return (step, args)"),
        ("broken:f", "broken.py:2"),
        ("unparsable:f", "unparsable.py:1"),
    ],
)
def test_mistakes_in_naming_a_program(run, planned, model, problem):
    code, out, err = run("plan", model, *CLUSTER)
    assert code == 2 and not out and problem in err and not planned


def test_an_error_in_the_users_function_says_where(run, planned):
    assert "user.py:12 (fails)" in run("plan", "user:fails", *CLUSTER)[2]


def test_an_error_in_the_step_says_where(run, monkeypatch):
    import swplan.api

    def plan(*_, **__):
        import user

        try:
            user.broken_step(1)
        except NameError as error:
            raise TraceError("the step could not be traced") from error

    monkeypatch.setattr(swplan.api, "plan", plan)
    code, _, err = run("plan", "user:make", *CLUSTER)
    assert code == 2 and "user.py:18 (broken_step)" in err


def test_a_bad_cluster(run, planned):
    assert run("plan", "user:make", "--cluster", "sw26010:nodes=8")[0] == 2
    assert run("plan", "user:make", "--cluster", "sw26010pro:node=8")[0] == 2


def test_nothing_fits_is_1(run, planned):
    code, out, err = run("plan", "user:make", "--cluster", "sw26010pro:nodes=3")
    assert code == 1 and not out and "5 GiB more" in err


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("nodes=3", "write cluster.nodes or model.nodes"),
        ("widht=3", "near, of the program: width"),
        ("network.supernode.tapr=1", "network.supernode.taper"),
        ("width", "write KEY=VALUE"),
        ("memory.bytes=lots", "not a number"),
        ("cluster.width=3", "unknown key 'width'"),
    ],
)
def test_mistakes_in_settings(run, planned, setting, problem):
    for verb in ("plan", "whatif"):
        code, _, err = run(verb, "user:make", *CLUSTER, "--set", setting)
        assert code == 2 and problem in err


def test_whatif(run, planned):
    code, out, _ = run("whatif", "user:make", *CLUSTER, "--set", "cluster.nodes=16")
    assert code == 0 and "as given" in out and "-50.0 %" in out
    assert [call[1].devices for call in planned] == [8, 16]


def test_whatif_needs_a_change(run, planned):
    assert run("whatif", "user:make", *CLUSTER)[0] == 2


def test_whatif_where_nothing_fits(run, planned):
    assert run("whatif", "user:make", *CLUSTER, "--set", "cluster.nodes=3")[0] == 1
    code, out, _ = run("whatif", "user:make", "--cluster", "sw26010pro:nodes=3", "--set", "cluster.nodes=8")
    assert code == 0 and "As given, nothing fits: needs 5 GiB more" in out and "Plan of train_step" in out


def test_sweeps(run, planned):
    sweeps = ("--sweep", "cluster.nodes=3,16", "--sweep", "width=1,2")
    code, out, _ = run("whatif", "user:make", *CLUSTER, *sweeps, "--set", "batch=5", "--json", "sweep.json")
    assert code == 0 and len(planned) == 5 and planned[-1][0] == (5, 2, False, 1)
    assert "as given" in out and "0.50x" in out and "needs 5 GiB more" in " ".join(out.split())
    rows = json.loads(Path("sweep.json").read_text())
    assert rows[1]["problem"] and rows[3]["plan"]["devices"] == 16


def test_too_large_sweeps(run, planned):
    values = ",".join(map(str, range(20)))
    assert run("whatif", "user:make", *CLUSTER, "--sweep", f"width={values}", "--sweep", f"batch={values}")[0] == 2
    assert not planned


def test_calibrate_and_demo_are_passed_on(run, monkeypatch):
    calibration = types.ModuleType("swplan.runtime.calibrate")
    calibration.calibrate = lambda report: report(1, 2, "matmul") or "host.toml written"
    demonstration = types.ModuleType("swplan.demo")
    demonstration.main = lambda: print("demo ran")
    monkeypatch.setitem(sys.modules, "swplan.runtime.calibrate", calibration)
    monkeypatch.setitem(sys.modules, "swplan.demo", demonstration)
    assert run("calibrate")[:2] == (0, "host.toml written\n")
    assert run("demo")[:2] == (0, "demo ran\n")
