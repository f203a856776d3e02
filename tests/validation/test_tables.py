"""Tables as files: all packaged rows become cases, others of the same sources do, mistakes spoil no other row."""

import csv
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel.cluster import Cluster
from swplan.errors import UsageError
from swplan.validation import bagualu, published
from swplan.validation.case import QUANTITIES
from swplan.validation.rows import Row
from swplan.validation.setup import CHIPS
from swplan.validation.shapes import NAMED
from swplan.validation.tables import FILES, PACKAGED, cases_of, packaged_cases

ROOT = Path(__file__).resolve().parents[2]
NOT_RUNS = ("memory_bandwidth", "partitioned_optimizer", "one_process_per_node")
"""Tables of bagualu.toml with figures of parts of the machine; until a run is known for one, it is left out."""

GPT = {"id": "sc21t1-x", "use": "check", "chip": "A100", "n_chips": "64", "model": "GPT-3.6B", "iter_time_s": "3.7"}
GPT |= {"hidden": "3072", "layers": "30", "heads": "32", "seq": "2048", "gbs": "512", "mbs": "2", "recompute": "full"}
NAMED_ROW = {"id": "mbridge-x", "chip": "H100", "n_chips": "64", "model": "LLAMA3_70B", "tok_s_chip": "1500"}
NAMED_ROW |= {"gbs": "128", "seq": "8192", "precision": "BF16"}


def one(row, **changes):
    """The cases of a row with changes."""
    found, left = published.cases([Row(row | changes)])
    assert not left
    return found


def write(path, rows):
    """A table of rows that all have the same columns."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(name):
    with (PACKAGED / name).open(newline="") as file:
        return list(csv.DictReader(file))


def has_rate(row):
    return any(row[key] for key in published.RATES)


@pytest.mark.parametrize("name", FILES[1:])
def test_every_packaged_row_is_a_case(name):
    found, left = cases_of(PACKAGED / name)
    rows = rows_of(name)
    assert not left and len(found) == len(rows) + sum(bool(row.get("mem_gib")) and has_rate(row) for row in rows)
    assert "iter_ms" in rows[0] or {case.id for case in found} == {row["id"] for row in rows}


def test_every_packaged_figure_of_the_sunway_machine_is_a_case_or_left_out():
    content = tomllib.loads((PACKAGED / "bagualu.toml").read_text())
    found, left = bagualu.cases(content)
    shares = 6 * len(content["breakdown"])
    assert len(found) >= len(content["sustained"]) + shares + len(content["weak_scaling"]["nodes"]) + 2
    assert {text.partition(":")[0] for text in left} <= set(NOT_RUNS)


def test_cases_make_sense():
    cases = packaged_cases()
    keys = [(case.table, case.id, case.quantity) for case in cases if "vtrain" not in case.table]
    assert len(set(keys)) == len(keys)
    devices = {spec: Cluster.parse(spec).devices for spec in {case.run.cluster for case in cases}}
    for case in cases:
        assert case.quantity in QUANTITIES and case.use in ("fit", "check") and case.measured > 0
        assert case.run.strategy.devices == devices[case.run.cluster]


@pytest.mark.parametrize("name", FILES)
def test_the_packaged_tables_are_the_published_ones(name, validation_dir):
    assert (PACKAGED / name).read_bytes() == (validation_dir / name).read_bytes()


@pytest.mark.parametrize("package", ["swplan/validation", "swplan/costmodel"])
def test_data_files_are_packaged(package):
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folder = ROOT / package
    packaged = {path for pattern in patterns[package.replace("/", ".")] for path in folder.glob(pattern)}
    assert {p for suffix in ("csv", "toml", "txt") for p in folder.rglob(f"*.{suffix}")} <= packaged


@pytest.mark.parametrize("name", FILES[1:])
def test_some_rows_and_columns_in_another_order(name, tmp_path):
    rows = rows_of(name)[::7]
    filled = [key for key in reversed(rows[0]) if any(row[key] for row in rows)]
    path = write(tmp_path / name, [{key: row[key] for key in filled} for row in rows])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n")
    found, left = cases_of(path)
    expected = cases_of(PACKAGED / name)[0]
    assert not left and len(found) >= len(rows) and all(case in expected for case in found)


@pytest.mark.parametrize(("chip", "file"), CHIPS.items())
def test_every_chip_has_a_file(chip, file):
    (case,) = one(NAMED_ROW, chip=chip.upper() if chip[0] != "v" else chip)
    assert Cluster.parse(case.run.cluster).chip.name == file


@pytest.mark.parametrize(
    ("model", "program"),
    [
        *NAMED.items(),
        ("LLAMA3.1_405B", "models.llama:llama3_405b"),
        ("Llama3-70B", "models.llama:llama3_70b"),
        ("Mixtral-8x7B", "models.mixtures:mixtral_8x7b"),
        ("Qwen3_30B_a3B", "models.mixtures:qwen3_30b_a3b"),
        ("DeepSeekV3", "models.mixtures:deepseek_v3"),
        ("GPT_OSS_20B", "models.mixtures:gpt_oss_20b"),
    ],
)
def test_models_by_name(model, program):
    assert one(NAMED_ROW, model=model)[0].run.model == program


@pytest.mark.parametrize("size", ["16B", "32b", "64B", "128B", "256B", "512B", "1024B", "22B", "52B"])
@pytest.mark.parametrize("chips", ["256", "4x256", "192 (v4-384)"])
def test_sizes_of_maxtext(size, chips):
    row = {"id": "maxtext-x", "chip": "v5p", "model": size, "tflops_per_chip": "200", "n_chips": chips}
    (case,) = one(row)
    assert case.run.strategy.devices == {"256": 256, "4x256": 1024}.get(chips, 192)
    assert case.run.strategy.degree("replica") == (4 if "x" in chips else 1)


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.sampled_from([1, 4, 64]))
def test_degrees_fill_the_machine(tp, pp, cp, ep):
    degrees = {"tp": str(tp), "pp": str(pp), "cp": str(cp), "ep": str(ep)}
    strategy = one(NAMED_ROW, **degrees)[0].run.strategy
    sizes = [strategy.degree(axis) for axis in ("model", "pipe", "context")]
    assert strategy.devices == 64 and sizes == [tp, pp, cp]
    assert strategy.degree("expert") == min(ep, 64 // (tp * pp * cp))


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"precision": "FP8-MX"}, "precision", "fp8"),
        ({"precision": "NVFP4"}, "precision", "fp8"),
        ({"precision": "BF16"}, "precision", "as_written"),
        ({"fsdp": "64"}, "zero", 3),
        ({"fsdp": "0"}, "zero", 1),
        ({"fsdp": ""}, "zero", 1),
        ({"pp": "4", "vp": "5"}, "interleave", 5),
        ({"pp": "4", "vp": ""}, "interleave", 1),
        ({"chip": "GB300"}, "launch", "compiled"),
        ({"chip": "B300"}, "launch", "eager"),
        ({"chip": "H100"}, "launch", "eager"),
        ({"model": "GPT_OSS_120B"}, "launch", "compiled"),
        ({"pp": "4", "vp": "2", "ep": "16"}, "overlap", ("data", "model", "pipe", "expert")),
        ({"pp": "4", "vp": "2", "ep": "8"}, "overlap", ("data", "model", "pipe")),
        ({"id": "seqpar-x", "recompute": "selective"}, "recompute", "attention"),
        ({"id": "seqpar-x", "recompute": "selective"}, "sequence", True),
        ({"id": "seqpar-x", "recompute": "full"}, "sequence", False),
        ({"id": "seqpar-x", "recompute": "full"}, "recompute", "full"),
        ({"id": "sc21t1-x", "recompute": "full"}, "recompute", "full"),
        ({"id": "maxtext-x", "chip": "v5e", "recompute": "full"}, "recompute", "none"),
        ({"id": "seqpar-x", "pp": "4", "vp": "3"}, "interleave", 3),
    ],
)
def test_what_a_row_says_of_its_strategy(changes, key, value):
    assert getattr(one(NAMED_ROW, **changes)[0].run.strategy, key) == value


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        ({}, "models.gpt:megatron"),
        ({"kv_heads": "32"}, "models.gpt:megatron"),
        ({"kv_heads": "8", "ffn": "8192"}, "models.llama:decoder"),
        ({"experts": "8", "topk": "2", "ffn": "8192"}, "models.mixtures:large"),
    ],
)
def test_models_by_their_sizes(changes, model):
    run = one(GPT, **changes)[0].run
    assert run.model == model and dict(run.keywords)["layers"] == 30


def test_a_rate_alone_counts_what_is_recomputed():
    (case,) = one(GPT, iter_time_s="", tflops_per_chip="138")
    assert case.amount / 3.697 / 1e12 == pytest.approx(138, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"chip": "Z80"}, "chip 'Z80' is not known; known: A100-80G"),
        ({"model": "Nemotron-H", "hidden": ""}, "no program for the model 'Nemotron-H'; known"),
        ({"id": "other-x"}, "source 'other' is not known"),
        ({"id": ""}, "a row without id: source ''"),
        ({"n_chips": "many"}, "n_chips='many'"),
        ({"n_chips": "0"}, "n_chips='0'"),
        ({"layers": ""}, "layers=''"),
        ({"tp": "two"}, "tp='two' is no"),
        ({"mbs": "1.5"}, "mbs='1.5' is no whole number"),
        ({"tp": "3"}, "63 devices, of 64"),
        ({"iter_time_s": "-1"}, "iter_time_s='-1'"),
        ({"iter_time_s": "nan"}, "iter_time_s='nan'"),
        ({"iter_time_s": ""}, "no figure in iter_time_s"),
        ({"n_chips": ""}, "n_chips=''"),
    ],
)
def test_a_bad_row_is_left_out_and_spoils_no_other(changes, problem):
    found, (text,) = published.cases([Row(GPT | changes), Row(GPT)])
    assert len(found) == 1 and problem in text


@pytest.mark.parametrize("changes", [{"tp": ""}, {"iter_ms": "soon"}, {"dp": "0"}, {"heads": "4.5"}])
def test_a_bad_row_of_vtrain_is_left_out(changes, tmp_path):
    rows = rows_of("vtrain_single_node.csv")[:3]
    found, (text,) = cases_of(write(tmp_path / "mine.csv", [rows[0], rows[1] | changes, rows[2]]))
    assert [case.table for case in found] == ["mine", "mine"] and text.startswith(f"mine row 2: {next(iter(changes))}")


@pytest.mark.parametrize(
    "row",
    [{"model": "9T", "precision": "fp32", "flops_per_s": 1, "use": "check"}, {"model": "1.93T"}, {"model": ["x"]}],
)
def test_a_bad_figure_of_the_sunway_machine_is_left_out(row):
    content = tomllib.loads((PACKAGED / "bagualu.toml").read_text())
    kept = {"models": content["models"], "sustained": [row, *content["sustained"][:1]]}
    found, (text,) = bagualu.cases(kept)
    assert [case.id for case in found] == ["1.93T-fp32"] and text.startswith("sustained ")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b"x,y\n1,2\n", "columns x, y are those of no known table"),
        ("a.csv", b"", "columns none"),
        ("a.csv", b"x\n1,2,3\n", "columns x are"),
        ("a.csv", b"\xff\xfe\x00", "cannot read"),
        ("a.toml", b"a = [", "cannot read"),
        ("a.toml", b"[node]\na = 1\n", "none of the tables sustained"),
        ("absent.csv", None, "cannot read"),
    ],
)
def test_files_that_cannot_be_read(name, content, problem, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=problem):
        cases_of(tmp_path / name)


def test_a_folder_is_no_table(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        cases_of(tmp_path)


def test_a_table_without_rows(tmp_path):
    (tmp_path / "a.csv").write_text("id,use,chip,n_chips,model\n")
    assert cases_of(tmp_path / "a.csv") == ([], [])


@pytest.mark.parametrize(("schedule", "chunks"), [("1f1b", 1), ("int1f1b", 2)])
def test_pipelines_of_torchtitan_have_as_many_micro_batches_as_ranks(schedule, chunks):
    changes = {"id": f"tt-x-{schedule}", "pp": "4", "mbs": "16", "gbs": "", "fsdp": "16"}
    strategy = one(NAMED_ROW, **changes)[0].run.strategy
    assert (strategy.micro_batches, strategy.interleave) == (4, chunks)
