"""The verbs that read, end to end: what they print, where, with which exit code; never a traceback, never JAX."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from swplan.costmodel import available_chips, chip_template
from swplan.plan import Plan
from tests.views import plans

ROOT = Path(__file__).resolve().parents[2]


def test_version(run):
    assert run("--version")[:2] == (0, "swplan 0.1.0\n")


def test_show(run):
    code, out, _ = run("show", "small.json")
    assert code == 0 and out == str(plans.small())
    assert max(map(len, out.splitlines())) <= 100 and "\x1b" not in out


def test_show_writes_json_and_html(run, tmp_path):
    code, _, _ = run("show", "small.json", "--json", "copy.json", "--html", "page.html")
    assert code == 0 and Plan.load(tmp_path / "copy.json") == plans.small()
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_top_limits_rows(run):
    assert len(run("show", "deep.json", "--top", "2")[1]) < len(run("show", "deep.json")[1])


def test_json_to_standard_output_is_nothing_but_json(run):
    assert json.loads(run("show", "small.json", "--json", "-")[1])["step"] == "train_step"
    assert json.loads(run("diff", "small.json", "deep.json", "--json", "-")[1])["equal"] is False
    assert json.loads(run("explain", "small.json", "tanh", "--json", "-")[1])["ops"]
    assert {chip["name"] for chip in json.loads(run("chips", "--json", "-")[1])} >= {"host", "sw26010pro"}
    assert json.loads(run("chips", "host", "--json", "-")[1])["numbers"]["memory.bytes"]["source"]


def test_diff(run):
    assert "equal" in run("diff", "small.json", "small.json")[1]
    out = run("diff", "small.json", "deep.json")[1]
    assert "small.json" in out and "deep.json" in out and "step time" in out


def test_explain(run):
    assert "split dim 1 over model (2)" in run("explain", "small.json", "weights/w1")[1]
    code, out, err = run("explain", "small.json", "w11")
    assert code == 2 and not out and "weights/w1" in err


def test_chips(run):
    out = run("chips")[1]
    assert max(map(len, out.splitlines())) <= 100
    row = next(line for line in out.splitlines() if line.startswith("gb200-nvl72"))
    assert row.split()[1:8] == ["gpu", "2.5", "Pflop/s", "1.25", "Pflop/s", "173", "GiB"]
    assert "NVIDIA GB200 NVL72" in out and "fitted" in out
    assert [line.split()[0] for line in out.splitlines() if "flop/s" in line] == list(available_chips())
    out = run("chips", "sw26010pro")[1]
    assert "0.1875 ratio" in out and "datasheet" in out and "BaGuaLu" in out
    assert run("chips", "sw26010")[0] == 2


def test_the_template_of_a_chip(run, tmp_path):
    code, out, _ = run("chips", "--template")
    assert code == 0 and out == chip_template()
    assert run("chips", "mine", "--template", "mine.toml") == (0, "", "")
    assert (tmp_path / "mine.toml").read_text() == chip_template("mine")
    assert "100 Tflop/s" in run("chips", "mine.toml")[1]
    code, _, err = run("chips", "--template", "mine.toml")
    assert code == 2 and "is there already" in err
    assert (tmp_path / "mine.toml").read_text() == chip_template("mine")


@pytest.mark.parametrize(
    ("content", "problem"), [("{", "not a plan"), ("{}", "not a plan"), ('{"format": 99}', "format 99")]
)
def test_files_that_are_no_plans(run, tmp_path, content, problem):
    (tmp_path / "bad.json").write_text(content)
    code, out, err = run("show", "bad.json")
    assert code == 2 and not out and "bad.json" in err and problem in err


@pytest.mark.parametrize(
    "arguments",
    [("show",), ("frob",), ("show", "small.json", "--top", "0"), ("show", "nope.json"), ("plan", "user:make")],
)
def test_mistakes_of_usage_are_2(run, arguments):
    code, out, err = run(*arguments)
    assert code == 2 and not out and err


def test_a_file_that_cannot_be_written(run):
    code, _, err = run("show", "small.json", "--json", "no/such/folder.json")
    assert code == 2 and "cannot write" in err


def test_reading_verbs_import_no_jax(tmp_path):
    plans.small().save(tmp_path / "p.json")
    path = str(tmp_path / "p.json")
    verbs = (["show", path], ["diff", path, path], ["explain", path, "tanh"], ["chips"], ["plan", "--help"])
    code = f"""
import sys
from swplan.cli import main
for verb in {verbs!r}:
    try:
        main(verb)
    except SystemExit as done:
        assert not done.code, verb
    assert not {{"jax", "jaxlib", "flax"}} & set(sys.modules), verb
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_closed_pipe_is_no_error(tmp_path):
    plans.deep().save(tmp_path / "p.json")
    command = f"{sys.executable} -c 'from swplan.cli import main; main()' show {tmp_path}/p.json | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
