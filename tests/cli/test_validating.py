"""The verb that compares predictions with what was published: on a few rows, one of them priced for real."""

import json
from pathlib import Path

import pytest

from swplan.validation.running import Runner
from swplan.validation.tables import PACKAGED

TABLE = PACKAGED / "vtrain_single_node.csv"


@pytest.fixture
def small(run):
    """A table in the folder where `run` runs: two strategies of one group, and a row that cannot be read."""
    head, *rows = TABLE.read_text().splitlines()
    cells = dict(zip(head.split(","), rows[0].split(","), strict=True)) | {"use": "check"}
    other = cells | {"tp": "1", "dp": "4", "iter_ms": "250.0"}
    lines = [head, *(",".join(row.values()) for row in (cells, other, cells | {"tp": "x"}))]
    Path("small.csv").write_text("\n".join(lines) + "\n")
    return "small.csv"


@pytest.fixture
def fast(monkeypatch):
    """Predictions that are all a fifth above what was measured, without tracing anything."""
    monkeypatch.setattr(Runner, "together", lambda self, cases: [1.2 * case.measured for case in cases])


def test_a_table_end_to_end(run, small):
    code, out, err = run("validate", small, "--json")
    assert (code, err) == (0, "")
    data = json.loads(out)
    (table,), (ranking,) = data["tables"], data["ranking"]
    assert table["name"] == "small" and all(row["predicted"] > 0 for row in table["rows"])
    assert ranking["groups"] == 1 and data["fitted_parameters"]["a100-80g-sxm"] > 0
    assert data["left_out"] == ["small row 3: tp='x' is no number above 0"]


def test_errors_by_table_and_fitted_numbers_as_text(run, small, fast):
    code, out, err = run("validate", small, "--html", "page.html")
    assert (code, err) == (0, "") and "+20.0 %" in out and "Choosing the best strategy" in out
    assert "fitted numbers of the chips: a100-80g-sxm" in out and "tp='x'" in out
    assert "<table" in Path("page.html").read_text()


@pytest.mark.parametrize("words", [("--json", "small.csv"), ("small.csv", "--json")])
def test_json_takes_no_file(run, small, fast, words):
    before = Path(small).read_bytes()
    code, out, _ = run("validate", *words)
    assert code == 0 and json.loads(out)["tables"][0]["mean_abs_error_pct"] == pytest.approx(20)
    assert Path(small).read_bytes() == before


def test_several_files(run, small, fast):
    code, out, _ = run("validate", small, str(TABLE), str(PACKAGED / "bagualu.toml"), "--json")
    names = [table["name"] for table in json.loads(out)["tables"]]
    assert code == 0 and names[:3] == ["small", "vtrain_single_node", "bagualu sustained"]


def test_the_packaged_tables_are_the_default(run, fast):
    code, out, _ = run("validate", "--json")
    data = json.loads(out)
    assert code == 0 and {"mcore", "tt memory", "vtrain_multi_node"} <= {table["name"] for table in data["tables"]}
    assert [ranking["table"] for ranking in data["ranking"]] == ["vtrain_multi_node", "vtrain_single_node"]


@pytest.mark.parametrize(("name", "text"), [("absent.csv", None), ("user.py", None), ("a.csv", "a,b\n1,2\n")])
def test_mistakes(run, name, text):
    if text:
        Path(name).write_text(text)
    code, out, err = run("validate", name)
    assert code == 2 and not out and name in err
