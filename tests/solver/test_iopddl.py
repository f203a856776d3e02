"""Files of the IOPDDL contest: read as written, mistakes named; and one of the contest's own where they are at hand."""

import gzip
import json
import math

import numpy as np
import pytest

from swplan.errors import UsageError
from swplan.solver.large.iopddl import read
from swplan.solver.large.solving import solve_instance
from tests.solver.instances import as_file, random_instance


@pytest.mark.parametrize("pack", [str.encode, lambda text: gzip.compress(text.encode())])
def test_a_file_is_read_as_written(tmp_path, pack):
    instance = random_instance(1)
    (tmp_path / "a.json").write_bytes(pack(as_file(instance)))
    found = read(tmp_path / "a.json")
    for name in ("first", "costs", "usages", "intervals", "pairs", "at", "table"):
        assert np.array_equal(getattr(found, name), getattr(instance, name)), name
    assert found.limit == instance.limit and np.isinf(found.table).any()


def test_a_file_without_limit(tmp_path):
    (tmp_path / "a.json").write_text(as_file(random_instance(1), usage_limit=None))
    assert read(tmp_path / "a.json").limit == math.inf


NODES = {"intervals": [[0, 1]], "costs": [[1, 2]], "usages": [[1, 2]]}
EDGES = {"nodes": [[0, 1]], "costs": [[1, 2, 3, 4]]}
TWO = {name: value * 2 for name, value in NODES.items()}


@pytest.mark.parametrize(
    ("nodes", "edges", "said"),
    [
        (NODES | {"costs": []}, EDGES, "1 intervals, 0 costs, 1 usages"),
        (NODES | {"usages": [[1]]}, EDGES, "node 0 has 2 costs and 1 usages"),
        (NODES | {"costs": [[]], "usages": [[]]}, EDGES, "node 0 has 0 costs"),
        (NODES | {"usages": [[1, -2]]}, EDGES, "node 0 has a negative usage"),
        (NODES, EDGES, "edge 0 joins"),
        (TWO, EDGES | {"nodes": [[1, 1]]}, "edge 0 joins"),
        (TWO, EDGES | {"costs": [[1, 2, 3]]}, "edge 0 has 3 costs; 4"),
        (TWO, EDGES | {"costs": []}, "1 pairs of nodes and 0 matrices"),
    ],
)
def test_parts_that_do_not_fit_are_named(tmp_path, nodes, edges, said):
    (tmp_path / "a.json").write_text(json.dumps({"problem": {"nodes": nodes, "edges": edges, "usage_limit": 9}}))
    with pytest.raises(UsageError, match=said):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("data", [b"", b"{", b'{"problem": 3}', b"\x1f\x8b\x08broken", b'{"problem": {"nodes": {}}}'])
def test_what_is_no_problem_is_refused(tmp_path, data):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.json"):
        read(tmp_path / "a.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"absent\.json"):
        read(tmp_path / "absent.json")


@pytest.mark.parametrize(("name", "published"), [("B", 532843), ("G", 217039)])
def test_a_contest_instance_is_solved_to_its_best_published_cost(name, published, validation_dir):
    instance = read(validation_dir / "iopddl" / f"{name}.json.gz")
    found = solve_instance(instance, time_limit_s=60.0)
    assert found.cost == found.bound == published and instance.fits(found.choice)
