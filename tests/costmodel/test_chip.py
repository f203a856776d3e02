"""Chip files: enumeration, round trips, fallbacks, provenance, and one clear message for every mistake."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import (
    PRECISIONS,
    Number,
    available_chips,
    calibrated_chip,
    calibrated_chip_toml,
    chip_toml,
    load_chip,
    write_chip,
)
from swplan.costmodel.chip import PACKAGED
from swplan.costmodel.schema import KINDS
from swplan.errors import ChipError

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
SUNWAY = load_chip("sw26010pro")


@pytest.mark.parametrize("name", available_chips())
def test_every_chip_loads_and_every_number_says_where_it_comes_from(name):
    chip = load_chip(name)
    assert chip.name == name
    assert chip.description
    assert all(len(number.source) > 5 and number.kind in KINDS for number in chip.numbers.values())


@pytest.mark.parametrize("name", available_chips())
def test_every_precision_has_a_rate(name):
    chip = load_chip(name)
    for table in (chip.flops_per_s, chip.matmul_efficiency, chip.vector_flops_per_s):
        assert set(table) == set(PRECISIONS)
    for precision, other in chip.fallbacks.items():
        assert chip.flops_per_s[precision] == chip.flops_per_s[other]


@pytest.mark.parametrize("name", available_chips())
def test_a_chip_survives_being_written(name, tmp_path):
    write_chip(tmp_path / "new folder" / "copy.toml", load_chip(name))
    assert load_chip(tmp_path / "new folder" / "copy.toml") == load_chip(name)


@given(description=TEXT, source=TEXT, value=st.floats(min_value=1e-300, allow_infinity=False))
def test_any_text_and_number_survive_being_written(tmp_path_factory, description, source, value):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    number = Number(value=value, unit="s", source=source, kind="measured")
    chip = SUNWAY.with_numbers({"compute.op_overhead_s": number})
    write_chip(path, chip)
    assert load_chip(path) == chip
    path.write_text(chip_toml(chip).replace(SUNWAY.description, "x"), encoding="utf-8")
    assert load_chip(path).numbers == chip.numbers


def test_sunway_is_the_machine_of_the_paper(validation_dir):
    import tomllib

    node = tomllib.loads((validation_dir / "bagualu.toml").read_text(encoding="utf-8"))["node"]
    assert SUNWAY.flops_per_s["fp64"] == node["fp64_flops_per_s"]
    assert SUNWAY.flops_per_s["bf16"] == SUNWAY.flops_per_s["fp16"] == node["fp16_flops_per_s"]
    assert SUNWAY.tiling.local_bytes == node["ldm_bytes_per_cpe"] * node["cpes_per_cg"]
    assert SUNWAY.controllers.requesters == node["cpes_per_cg"]
    nominal = SUNWAY.controllers.controllers * SUNWAY.controllers.controller_bytes_per_s
    assert nominal == pytest.approx(node["nominal_memory_bytes_per_s"])
    assert SUNWAY.memory_bytes == node["memory_bytes"]
    assert SUNWAY.numbers["network.supernode.size"].value == node["nodes_per_supernode"]
    assert SUNWAY.numbers["network.supernode.taper"].value == node["supernode_taper"]
    assert SUNWAY.memory_bytes_per_s < node["nominal_memory_bytes_per_s"]


def test_a_missing_precision_computes_in_the_next_wider_one(laboratory):
    assert laboratory.fallbacks == {"int8": "fp16", "fp8": "fp16", "bf16": "fp64", "fp32": "fp64"}
    assert laboratory.flops_per_s["int8"] == 4e12
    assert laboratory.flops_per_s["bf16"] == 1e12
    assert laboratory.matmul_efficiency["fp16"] == 0.5


def test_replace_changes_one_number_and_says_so():
    chip = SUNWAY.replace({"memory.bytes_per_s": 300e9})
    assert chip.memory_bytes_per_s == 300e9
    assert chip.numbers["memory.bytes_per_s"].source == "set by the user"
    assert chip.numbers["memory.bytes"] is SUNWAY.numbers["memory.bytes"]
    assert SUNWAY.memory_bytes_per_s == 240.2e9


def test_numbers_cannot_be_changed_in_place():
    with pytest.raises(TypeError):
        SUNWAY.numbers["memory.bytes"] = SUNWAY.numbers["memory.bytes_per_s"]
    with pytest.raises(TypeError):
        SUNWAY.flops_per_s["fp32"] = 1.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"memory.byte": 1}, "no number 'memory.byte'; did you mean memory.bytes or"),
        ({"memory.bytes": 0}, "memory.bytes = 0 byte makes no sense; write a positive integer"),
        ({"memory.bytes": 1.5}, "write a positive integer"),
        ({"compute.op_overhead_s": -1.0}, "write zero or a positive number"),
        ({"compute.matmul_efficiency.fp16": 1.1}, "write a number above 0 and up to 1"),
        ({"memory.bytes_per_s": float("inf")}, "write a positive number"),
        ({"memory.bytes_per_s": "fast"}, "write a positive number"),
    ],
)
def test_an_impossible_override_is_refused(overrides, message):
    with pytest.raises(ChipError) as caught:
        SUNWAY.replace(overrides)
    assert message in str(caught.value)


def test_the_users_folder_comes_first(chips_folder):
    assert set(available_chips()) == {"laboratory"} | {path.stem for path in PACKAGED.glob("*.toml")}
    assert list(available_chips()) == sorted(available_chips())
    assert load_chip("host").numbers["memory.bytes_per_s"].kind == "derived"
    (chips_folder / "host.toml").write_text(calibrated_chip_toml({"memory.bytes_per_s": 9e9}), encoding="utf-8")
    assert load_chip("host").memory_bytes_per_s == 9e9
    assert load_chip("host").numbers["memory.bytes_per_s"].kind == "measured"


def test_calibration_keeps_what_was_not_measured():
    given_number = Number(value=3e-5, unit="s", source="a stopwatch", kind="measured")
    chip = calibrated_chip({"network.host.all_reduce_latency_s": given_number, "network.host.bytes_per_s": 1e9})
    assert chip.numbers["network.host.all_reduce_latency_s"] == given_number
    assert chip.numbers["network.host.latency_s"] == load_chip("host").numbers["network.host.latency_s"]
    assert "calibrated" in chip.description
    with pytest.raises(ChipError, match=r"no number 'memory\.speed' to calibrate"):
        calibrated_chip({"memory.speed": 1.0})


BROKEN = [
    ('description = "an imaginary chip"', "", "description is missing"),
    ('tiers = ["node", "rack", "hall"]', "tiers = []", "tiers is missing"),
    ("memory.bytes = {", "memory.size = {", "unknown key 'memory.size'"),
    ("memory.bytes = {", "memory.byte = {", "unknown key 'memory.byte'; did you mean memory.bytes or "),
    ("network.node.size", "network.nod.size", "unknown key 'network.nod.size'; did you mean network.node.size or "),
    (
        "network.node.size",
        "#",
        "network.node.size is missing; add network.node.size = { value = ..., unit = 'device', ",
    ),
    ("value = 1000000000,", "value = -1,", "memory.bytes = -1 byte makes no sense; write a positive integer"),
    ("value = 100000000000.0,", "value = -2e9,", "makes no sense; write a positive number"),
    ('unit = "byte/s"', 'unit = "GB/s"', "is given in 'GB/s'; convert it and write unit = 'byte/s'"),
    ('kind = "derived"', 'kind = "guess"', "has kind 'guess'; write one of datasheet, measured, fitted, derived"),
    ('source = "imagined"', 'source = ""', "has no source; say where its value comes from"),
    (
        ', source = "imagined"',
        "",
        "needs exactly value (a number), unit, source and kind (strings); its unit is 'flop/s'",
    ),
    ("tiers = [", 'tiers = ["node", ', "tiers = ['node', 'node', 'rack', 'hall'] names one twice"),
    ("tiers = [", 'algorithms = "ring"\ntiers = [', "algorithms must be a list of names"),
    ("tiers = [", 'algorithms = ["rings"]\ntiers = [', "algorithms names 'rings'; did you mean ring? Valid: ring, "),
    (
        "tiers = [",
        'algorithms = ["ring"]\ntiers = [',
        "algorithms has none for all_to_all in groups of any size; add direct",
    ),
    ("value = 1000000000,", 'value = "large",', "memory.bytes = 'large' byte makes no sense"),
    ("value = 1000000000,", "value = true,", "memory.bytes = True byte makes no sense"),
    ("value = 1000000000,", "value = nan,", "memory.bytes = nan byte makes no sense"),
    (
        "memory.bytes = {",
        "memory.bytes = 5 # {",
        "memory.bytes = 5 must be a table { value, unit, source, kind }; its unit is 'byte'",
    ),
    (
        "network.node.taper",
        "#",
        "network.rack.bytes_per_s is missing; add network.rack.bytes_per_s = { value = ..., unit = 'byte/s', ... } "
        "(or network.node.taper), what a device sends",
    ),
    ("compute.op_overhead_s", "#", "compute.op_overhead_s is missing"),
    ("name =", "name", "cannot be read as TOML"),
]


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_every_mistake_in_a_file_gets_one_clear_message(old, new, message, chips_folder, laboratory):
    path = chips_folder / "broken.toml"
    assert old in chip_toml(laboratory)
    path.write_text(chip_toml(laboratory).replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ChipError) as caught:
        load_chip("broken")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_importing_needs_nothing_that_takes_time():
    slow = ("jax", "numba", "scipy", "highspy", "rich")
    code = f"import sys, swplan.costmodel; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
