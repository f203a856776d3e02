"""Access modes: every published bandwidth within its stated error; laws of requests that meet at controllers."""

import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.costmodel import Chip, Work, available_chips, breakdown, load_chip
from swplan.costmodel.access import CLASSES, KEYS, MODES, PACKET_BYTES
from swplan.errors import ChipError

SUNWAY, GROUP = load_chip("sw26010pro"), load_chip("sw26010pro-cg")
MEMORY = SUNWAY.controllers
WAYS = pytest.mark.parametrize("is_store", [False, True], ids=["load", "store"])
EVERY_MODE = pytest.mark.parametrize("mode", MODES)

PUBLISHED = {
    "plain": ("plain load/store", 0.001),
    "naive": ("DMA from every CPE", 0.05),
    "diagonal": ("DMA from 8 diagonal CPEs + RMA", 0.035),
    "rearranged": ("the same, DMA calls rearranged over the 6 controllers", 0.045),
}
"""Mode -> its name in the paper, and the error that we own up to."""


@pytest.fixture(scope="module")
def content(validation_dir):
    return tomllib.loads((validation_dir / "bagualu.toml").read_text(encoding="utf-8"))


@EVERY_MODE
@WAYS
def test_every_mode_comes_out_as_published(mode, is_store, content):
    if mode == "own":
        curve = content["dma"]
        measured = np.array(curve["put" if is_store else "get"]) * 1e9
        predicted = MEMORY.bandwidth(mode, block_bytes=np.array(curve["block_bytes"]), groups=1, is_store=is_store)
        assert predicted == pytest.approx(measured, rel=0.115)
        return
    name, error = PUBLISHED[mode]
    row = next(row for row in content["memory_bandwidth"] if row["access"] == name)
    assert MEMORY.bandwidth(mode, is_store=is_store) == pytest.approx(
        row["store" if is_store else "load"] * 1e9, rel=error
    )


def test_no_number_is_fitted_but_four_waits_and_two_latencies():
    fitted = {key for key in SUNWAY.fitted if key.startswith("memory.")}
    assert len(fitted) == 6
    assert fitted <= set(KEYS.values())
    assert all(SUNWAY.numbers[key] == GROUP.numbers[key] for key in fitted)


@pytest.mark.parametrize("chip", [SUNWAY, GROUP], ids=lambda chip: chip.name)
def test_the_bandwidth_of_a_chip_is_that_of_its_mode(chip):
    by_mode = chip.controllers.bandwidth(chip.access["matmul"])
    assert chip.memory_bytes_per_s == chip.class_bytes_per_s["matmul"] == pytest.approx(by_mode, rel=0.025)


@EVERY_MODE
@WAYS
def test_larger_blocks_are_never_slower_and_never_faster_than_the_controllers(mode, is_store):
    found = MEMORY.bandwidth(mode, block_bytes=2.0 ** np.arange(3, 24), is_store=is_store)
    assert (np.diff(found) >= 0).all()
    assert (found <= MEMORY.share * MEMORY.controllers * MEMORY.controller_bytes_per_s).all()


@EVERY_MODE
@WAYS
@given(groups=st.integers(1, 5))
def test_a_group_gets_no_more_among_others(mode, is_store, groups):
    alone, beside = (MEMORY.bandwidth(mode, groups=n, is_store=is_store) / n for n in (groups, groups + 1))
    assert beside <= alone * (1 + 1e-9)
    assert alone <= MEMORY.share * MEMORY.controller_bytes_per_s


@WAYS
def test_fewer_requesters_at_a_controller_are_faster(is_store):
    rates = [MEMORY.bandwidth(mode, is_store=is_store) for mode in ("plain", "naive", "diagonal", "rearranged")]
    assert rates == sorted(rates)


@EVERY_MODE
def test_streams_are_conserved(mode):
    own, foreign = MEMORY.streams(MODES[mode], MEMORY.controllers)
    assert own > 0
    assert foreign >= 0
    assert MEMORY.streams(MODES[mode], 1)[0] <= MEMORY.requesters


def test_a_block_of_a_store_does_not_matter():
    rates = {MEMORY.bandwidth("naive", block_bytes=size, is_store=True) for size in (64, PACKET_BYTES, 65536)}
    assert len(rates) == 1


def changed(**access: str) -> Chip:
    """The node with other access modes."""
    return Chip.of(
        name="changed",
        description="a node",
        device="node",
        tiers=SUNWAY.tiers,
        numbers=SUNWAY.numbers,
        access=access,
    )


@EVERY_MODE
def test_each_class_of_ops_has_its_mode_and_plans_can_say_so(mode):
    chip = changed(matmul="rearranged", vector=mode)
    copy = Work(read_bytes=10**9, written_bytes=10**9)
    parts = breakdown(copy, chip)
    assert parts.binding == f"memory ({mode})"
    share = MEMORY.bandwidth(mode) / MEMORY.bandwidth("rearranged")
    assert parts.memory_s == pytest.approx(breakdown(copy, SUNWAY).memory_s / share)


def test_bandwidth_that_a_user_sets_holds_for_every_class():
    chip = changed(matmul="rearranged", vector="naive")
    doubled = chip.replace({"memory.bytes_per_s": 2 * chip.memory_bytes_per_s})
    assert doubled.access == chip.access
    for name in CLASSES:
        assert doubled.class_bytes_per_s[name] == pytest.approx(2 * chip.class_bytes_per_s[name])


@pytest.mark.parametrize("name", available_chips())
def test_chips_without_modes_have_one_bandwidth(name):
    chip = load_chip(name)
    assert set(chip.class_bytes_per_s) == set(CLASSES)
    if not chip.access:
        assert set(chip.class_bytes_per_s.values()) == {chip.memory_bytes_per_s}
        assert breakdown(Work(read_bytes=10**12), chip).binding == "memory"


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"matmul": "naive"}, "access must give a mode to each of matmul, vector"),
        ({"matmul": "naive", "vector": "diagnal"}, "no access mode 'diagnal'; did you mean diagonal"),
    ],
)
def test_wrong_modes_are_refused(access, message):
    with pytest.raises(ChipError, match=message):
        changed(**access)


def test_modes_need_a_described_memory_side(laboratory):
    with pytest.raises(ChipError, match=r"need all of memory\.controllers"):
        Chip.of(
            name="laboratory",
            description="x",
            device="device",
            tiers=laboratory.tiers,
            numbers=laboratory.numbers,
            access={"matmul": "naive", "vector": "naive"},
        )
