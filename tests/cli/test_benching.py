"""The verb that solves problems of the IOPDDL contest: JSON alone on standard output, mistakes with their place."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.solver.instances import as_file, instance_of, oracle, random_instance


@pytest.fixture
def problem(run):
    """A file in the folder where `run` runs, and its instance."""
    instance = random_instance(4)
    Path("problem.json").write_text(as_file(instance))
    return instance


@pytest.mark.parametrize("words", [("problem.json", "--time-limit", "30", "--json"), ("--json", "problem.json")])
def test_json(run, problem, words):
    code, out, err = run("bench", "iopddl", *words)
    data = json.loads(out)
    assert (code, err) == (0, "") and list(data) == ["cost", "bound", "seconds", "choices"]
    assert data["cost"] == data["bound"] == oracle(problem) == problem.cost(data["choices"])
    assert problem.fits(data["choices"]) and data["seconds"] > 0


def test_text(run, problem):
    code, out, err = run("bench", "iopddl", "problem.json")
    assert (code, err) == (0, "") and f"{oracle(problem):,.0f}" in out and "peak usage" in out


def test_a_limit_below_the_least_usage_is_explained(run):
    nodes = [((0, 5), [0, 0], [500, 600]), ((3, 7), [0, 0], [700, 800])]
    Path("tight.json").write_text(as_file(instance_of(nodes, [], limit=1000.0)))
    code, out, err = run("bench", "iopddl", "tight.json")
    assert (code, out) == (1, "") and "at time 3" in err and "200 more than the limit of 1,000" in err


def test_no_allowed_choice_is_explained(run):
    nodes = [((0, 5), [0, 0], [5, 6])] * 2
    edges = [(0, 1, [[float("inf")] * 2] * 2)]
    Path("never.json").write_text(as_file(instance_of(nodes, edges, limit=100.0)))
    code, out, err = run("bench", "iopddl", "never.json")
    assert (code, out) == (1, "") and "no choice has allowed costs" in err


@pytest.mark.parametrize(("name", "text"), [("absent.json", None), ("a.json", "{"), ("a.json", '{"problem": {}}')])
def test_mistakes(run, name, text):
    if text:
        Path(name).write_text(text)
    code, out, err = run("bench", "iopddl", name)
    assert code == 2 and not out and name in err


def test_no_jax_is_imported():
    code = "import sys, swplan.cli, swplan.solver.large.solving; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
