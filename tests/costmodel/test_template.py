"""The template of a chip file: it loads, holds every key that there is, and its optional lines are right too."""

import inspect
import re
import tomllib

import pytest

from swplan.costmodel import PRECISIONS, Chip, Cluster, Number, chip_template, load_chip
from swplan.costmodel.schema import check_numbers, chip_keys, rival_key
from swplan.costmodel.template import TIERS
from swplan.errors import ChipError

KEYS = chip_keys(TIERS)
LINE = re.compile(r"(?m)^(# )?([a-z_0-9.]+)( = \{ value)")


def template(*, uncommented=(), removed=()):
    """The template with some optional keys taken in, and some keys left out."""
    section, lines = "", []
    for line in chip_template().splitlines():
        section = line.strip("[]") if line.startswith("[") else section
        found = LINE.match(line)
        key = f"{section}.{found[2]}" if found else ""
        if key not in removed:
            lines.append(line.removeprefix("# ") if key in uncommented else line)
    return "\n".join(lines)


def numbers_of(table, prefix=""):
    """Dotted keys and units of parsed TOML."""
    for name, entry in table.items():
        if isinstance(entry, dict):
            yield from [(prefix + name, entry["unit"])] if "value" in entry else numbers_of(entry, f"{prefix}{name}.")


@pytest.fixture
def load(tmp_path):
    """Loads a chip from text."""

    def call(text):
        (tmp_path / "my-chip.toml").write_text(text, encoding="utf-8")
        return load_chip(tmp_path / "my-chip.toml")

    return call


def test_the_template_is_a_chip(load, tmp_path):
    assert load(chip_template("other")).name == "other"
    assert Cluster.parse(f"{tmp_path}/my-chip.toml:devices=32").devices == 32
    assert set(load(chip_template()).numbers) == {name for name, key in KEYS.items() if key.required}
    assert set(load(chip_template()).fallbacks) == set(PRECISIONS) - {"fp64"}


def test_every_key_is_in_the_template_with_its_unit_and_meaning():
    assert dict(numbers_of(tomllib.loads(template(uncommented=KEYS)))) == {k: key.unit for k, key in KEYS.items()}
    text = chip_template()
    assert all(f", {key.unit}: {key.meaning}.\n" in text for key in KEYS.values())
    assert max(map(len, text.splitlines())) <= 120


def test_every_word_is_in_the_template():
    words = set(inspect.signature(Chip.of).parameters) - {"numbers", "where"}
    assert words == set(re.findall(r"(?m)^(?:# )?(\w+) = (?!\{ value)", chip_template()))


@pytest.mark.parametrize("key", [name for name, key in KEYS.items() if not key.required])
def test_every_optional_line_loads(load, key):
    chip = load(template(uncommented=[key], removed=[rival_key(key, TIERS)]))
    assert chip.numbers[key].value == pytest.approx(KEYS[key].example)
    assert chip.numbers[key].unit == KEYS[key].unit


@pytest.mark.parametrize("key", [name for name, key in KEYS.items() if key.required])
def test_every_required_line_is_missed(load, key):
    with pytest.raises(ChipError) as caught:
        load(template(removed=[key]))
    assert f"{key} is missing; add {key} = {{ value = ..., unit = {KEYS[key].unit!r}" in str(caught.value)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda number: number | {"value": -1}, "{key} = -1 {unit} makes no sense; write "),
        (
            lambda number: number | {"unit": "furlong"},
            "{key} is given in 'furlong'; convert it and write unit = '{unit}'",
        ),
        (lambda number: number | {"kind": "guess"}, "{key} has kind 'guess'; write one of datasheet, measured, "),
        (lambda number: number | {"source": ""}, "{key} has no source"),
    ],
)
def test_no_key_takes_nonsense(key, change, message):
    number = {"value": KEYS[key].example, "unit": KEYS[key].unit, "source": "imagined", "kind": "derived"}
    with pytest.raises(ChipError) as caught:
        check_numbers({key: Number(**change(number))}, TIERS, "x.toml")
    assert message.format(key=key, unit=KEYS[key].unit) in str(caught.value)


@pytest.mark.parametrize("key", KEYS)
def test_a_slip_of_the_pen_is_recognised(key):
    number = Number(value=KEYS[key].example, unit=KEYS[key].unit, source="imagined", kind="derived")
    with pytest.raises(ChipError, match=f"unknown key .*; did you mean .*{re.escape(key)}"):
        check_numbers({key[:-3] + key[-2:]: number}, TIERS, "x.toml")
