"""The verb that prices a strategy, and `whatif` with one: on a small program, and with prices that are written down."""

import json
from pathlib import Path

import pytest

from swplan.errors import UsageError
from swplan.estimate.result import Estimate
from tests.views.estimates import FITTING, large, slower

CLUSTER = ("--cluster", "sw26010pro:nodes=8")
STRATEGY = ("--strategy", "mesh=data:8 micro_batches=2")


class Recorder:
    """Prices by micro-batches alone, and writes down what it is asked."""

    def __init__(self, args, calls):
        self.args, self.calls = args, calls

    def estimate(self, strategy, cluster):
        self.calls.append((self.args, [strategy], cluster))
        return self.price(strategy, cluster)

    def estimates(self, strategies, cluster):
        self.calls.append((self.args, strategies, cluster))
        return [self.price(strategy, cluster) for strategy in strategies]

    def price(self, strategy, cluster):
        if strategy.devices != cluster.devices:
            raise UsageError(f"strategy {strategy} has {strategy.devices} devices")
        if strategy.zero == 3:
            return large()
        return slower(strategy.micro_batches / 2, strategy=str(strategy))


@pytest.fixture
def priced(monkeypatch):
    """Replaces tracing and pricing; returns the list of what was asked as (args, strategies, cluster)."""
    import swplan.runtime.estimating

    calls = []

    def estimating(step, args, kwargs, cluster):
        return Recorder(args, calls)

    monkeypatch.setattr(swplan.runtime.estimating, "estimating", estimating)
    return calls


def test_a_small_program_end_to_end(run):
    mesh = ("--strategy", "mesh=data:4/model:2 zero=1 micro_batches=1 recompute=none precision=layered")
    code, out, err = run("estimate", "models.mlp:tiny", *CLUSTER, *mesh, "--html", "page.html", "--json", "new.json")
    assert (code, err) == (0, "") and "Dearest ops" in out and "step on 8 devices" in out
    assert "<svg" in Path("page.html").read_text()
    assert Estimate.load("new.json").step_time_s > 0
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("words", [("--json", "-"), ("--json",)])
def test_json_to_standard_output_is_nothing_but_json(run, priced, words):
    code, out, _ = run("estimate", "user:make", *CLUSTER, *STRATEGY, *words)
    assert code == 0 and json.loads(out)["step_time_s"] == FITTING.step_time_s
    code, out, _ = run("estimate", "user:make", *words, *CLUSTER, *STRATEGY)
    assert code == 0 and json.loads(out)["breakdown"] == FITTING.breakdown


def test_settings_reach_cluster_program_and_strategy(run, priced):
    settings = ("strategy.micro_batches=4", "width=8", "network.supernode.taper=1.0")
    words = [word for each in settings for word in ("--set", each)]
    assert run("estimate", "user:make", *CLUSTER, *STRATEGY, *words)[0] == 0
    ((args, (strategy,), cluster),) = priced
    assert args == (2, 8, False, 1) and str(strategy) == "mesh=data:8 micro_batches=4"
    assert cluster.spec == "sw26010pro:nodes=8,network.supernode.taper=1"


@pytest.mark.parametrize(
    ("strategy", "setting", "problem"),
    [
        ("mesh=data:8 micro=2", "", "micro_batches"),
        ("mesh=data:4", "", "has 4 devices"),
        ("mesh=data:8", "strategy.micro=2", "micro_batches"),
        ("mesh=data:8", "strategy.zero=9", "choose one of 0, 1, 2, 3"),
        ("mesh=data:8", "micro_batches=2", "strategy.micro_batches"),
        ("mesh=data:8", "widht=2", "near, of the program: width"),
    ],
)
def test_mistakes(run, priced, strategy, setting, problem):
    words = ("--set", setting) if setting else ()
    for verb in ("estimate", "whatif") if setting else ("estimate",):
        code, out, err = run(verb, "user:make", *CLUSTER, "--strategy", strategy, *words)
        assert code == 2 and not out and problem in err


def test_a_setting_of_a_strategy_needs_one(run, planned):
    code, _, err = run("whatif", "user:make", *CLUSTER, "--set", "strategy.micro_batches=2")
    assert code == 2 and "strategy.micro_batches, beside --strategy" in err


def test_whatif_compares(run, priced, planned):
    words = ("--set", "strategy.micro_batches=1", "--html", "page.html", "--json", "rows.json")
    code, out, _ = run("whatif", "user:make", *CLUSTER, *STRATEGY, *words)
    assert code == 0 and "2 s a step as given, 1 s with strategy.micro_batches=1: -50.0 %" in out
    assert not planned and "<svg" in Path("page.html").read_text()
    assert [row["estimate"]["step_time_s"] for row in json.loads(Path("rows.json").read_text())] == [2.0, 1.0]


def test_whatif_plans_without_a_strategy(run, priced, planned):
    assert run("whatif", "user:make", *CLUSTER, "--sweep", "cluster.nodes=4,16", "--html", "page.html")[0] == 0
    assert len(planned) == 3 and not priced and "<svg" in Path("page.html").read_text()


@pytest.mark.parametrize("words", [("--baseline", "data_parallel"), ("--precision", "bf16")])
def test_options_of_planning_do_not_go_with_a_strategy(run, priced, words):
    code, _, err = run("whatif", "user:make", *CLUSTER, *STRATEGY, "--set", "width=8", *words)
    assert code == 2 and "precision= in its text" in err


def test_sweeps_of_strategies_are_priced_together(run, priced):
    values = ",".join(map(str, range(1, 1001)))
    words = ("--sweep", f"strategy.micro_batches={values}", "--json", "rows.json", "--html", "page.html")
    code, out, _ = run("whatif", "user:make", *CLUSTER, *STRATEGY, *words)
    assert code == 0 and len(priced) == 1 and "fastest of 1,000" in out
    rows = json.loads(Path("rows.json").read_text())
    assert len(rows) == 1001 and rows[1]["estimate"]["step_time_s"] == 1.0
    assert "<svg" in Path("page.html").read_text()


def test_two_sweeps_are_a_grid(run, priced):
    sweeps = ("--sweep", "strategy.micro_batches=1,4", "--sweep", "strategy.zero=0,3", "--html", "page.html")
    code, out, _ = run("whatif", "user:make", *CLUSTER, *STRATEGY, *sweeps)
    assert code == 0 and "1 s*" in out and "2 sx" in out and "lacks 10 GiB" in out
    assert 'class="grid"' in Path("page.html").read_text()


def test_what_does_not_go_together_is_a_row(run, priced):
    sweeps = ("--sweep", "cluster.nodes=4,8", "--sweep", "strategy.mesh=data:4,data:8")
    code, out, _ = run("whatif", "user:make", *CLUSTER, *STRATEGY, *sweeps)
    assert code == 0 and "has 8 devices" in " ".join(out.split())


def test_a_sweep_of_which_nothing_goes_is_a_mistake(run, priced):
    code, out, err = run(
        "whatif", "user:make", "--cluster", "sw26010pro:nodes=3", *STRATEGY, "--sweep", "strategy.zero=0,1"
    )
    assert code == 2 and not out and "has 8 devices" in err
