"""Quality of predictions, in short: the Sunway machine, Megatron-LM's first table, a few rows of vTrain."""

import numpy as np
import pytest

from swplan.errors import UsageError
from swplan.validation import bagualu
from swplan.validation.case import Case
from swplan.validation.running import Runner
from swplan.validation.tables import PACKAGED, cases_of

FIRST = {"hidden": 2048, "layers": 16, "heads": 16}
"""Of these sizes, which have the most rows, the first twenty: one program, many strategies."""
NODES = ("6000", "96000")
"""The two ends of the weak scaling."""


@pytest.fixture(scope="module")
def runner():
    return Runner()


def chosen(name, condition):
    return [case for case in cases_of(PACKAGED / name)[0] if condition(case)]


def errors_pct(runner, cases):
    """Errors in per cent; of shares, in points."""
    predicted = runner.predict(cases)
    measured = np.array([case.measured for case in cases])
    is_share = np.array([case.quantity == "share" for case in cases])
    return 100 * (predicted - measured) / np.where(is_share, 1.0, measured)


@pytest.mark.parametrize(
    ("table", "use", "limit"),
    [
        ("bagualu weak scaling", "check", 8),
        ("bagualu breakdown", "fit", 5),
        ("bagualu precision speed-up", "check", 10),
    ],
)
def test_the_sunway_machine(runner, table, use, limit):
    cases = chosen("bagualu.toml", lambda case: case.table == table and case.use == use)
    if "scaling" in table:
        cases = [case for case in cases if case.id.endswith(NODES)]
    assert cases and np.abs(errors_pct(runner, cases)).max() < limit


def test_data_inside_the_supernode_beats_data_across(runner):
    sizes = {"layers": 12, "d_ff": 49152, "experts": 240}
    inside, across = (runner.seconds(bagualu.run(sizes, 57600, "fp32", inside=axis)) for axis in ("data", "expert"))
    assert inside < across


def test_the_first_table_of_megatron(runner):
    cases = chosen("published_training.csv", lambda case: case.table == "sc21t1")
    assert np.abs(errors_pct(runner, cases)).mean() < 5


def test_some_rows_of_vtrain(runner):
    cases = chosen("vtrain_single_node.csv", lambda case: FIRST.items() <= dict(case.run.keywords).items())
    cases = [case for case in cases if case.run.cluster.endswith("gpus=8")][:20]
    assert len(cases) == 20 and np.abs(errors_pct(runner, cases)).mean() < 12


def test_one_that_cannot_be_priced_spoils_no_other(runner):
    (case,) = chosen("published_training.csv", lambda case: case.id == "sc21t1-GPT-1.7B")
    fields = {name: getattr(case, name) for name in Case.__slots__}
    keywords = {**dict(case.run.keywords), "nonsense": 1}
    run = type(case.run).of(case.run.model, keywords, cluster=case.run.cluster, strategy=case.run.strategy, tokens=1)
    found, problems = runner.priced([case, Case(**(fields | {"id": "bad", "run": run})), case])
    assert found[0] == found[2] > 0 and list(problems) == [1]
    assert str(problems[1]).startswith("bad: TypeError: ") and "nonsense" in str(problems[1])
    with pytest.raises(UsageError, match="nonsense"):
        runner.predict([Case(**(fields | {"run": run}))])


def test_cases_are_separated_only_where_they_must_be(monkeypatch):
    (case,) = chosen("published_training.csv", lambda case: case.id == "sc21t1-GPT-1.7B")
    fields = {name: getattr(case, name) for name in Case.__slots__}
    cases = [Case(**(fields | {"id": name})) for name in ("a", "bad", "c")]

    def together(self, cases):
        if any(case.id == "bad" for case in cases):
            raise ZeroDivisionError("by zero")
        return np.ones(len(cases))

    monkeypatch.setattr(Runner, "together", together)
    found, problems = Runner().priced(cases)
    assert list(found[[0, 2]]) == [1, 1] and str(problems[1]) == "bad: ZeroDivisionError: by zero"
    monkeypatch.setattr(Runner, "together", lambda self, cases: np.full(len(cases), np.nan))
    assert sorted(Runner().priced(cases)[1]) == [0, 1, 2]
