"""The chip file to begin with: every key that `schema` knows, with its unit and meaning, and values to be replaced.

Made from the table of keys, so that it is never out of date. It loads as it is; its numbers are of no chip.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import groupby

from swplan.costmodel.access import MODES
from swplan.costmodel.algorithms import ALGORITHMS
from swplan.costmodel.schema import KINDS, Key, chip_keys

TIERS = ("node", "fabric")

_HEAD = """\
# A chip for swplan. Keep it as ~/.config/swplan/chips/NAME.toml, or name the file: --cluster ./NAME.toml:devices=8
# Every value here is an example: replace it, and its source by where yours is published, how it was measured, or from
# what it follows. Its kind is {kinds}; what is assumed is derived, too.
# Optional keys begin with #: take it away from those that you know.
name = {name}
description = "What it is, in one sentence"
# What one device is called: a cluster of 8 is written NAME:devices=8
device = "device"
# The levels of its network, innermost first; each has a section [network.<level>] below.
tiers = {tiers}
# The algorithms of collectives that its library has, if not all of them.
# algorithms = {algorithms}
# How ops reach memory, where programs decide that and not caches: one of {modes}
# for matrix products and for all other ops; needs the keys of memory.access and of controllers below.
# access = {{ matmul = "rearranged", vector = "naive" }}
"""


def chip_template(name: str = "my-chip") -> str:
    """A whole chip file in TOML, for a chip of that name, in which optional keys are commented out.

    Law: it loads, and so it does with any one optional key; every key of the schema is in it.
    """
    algorithms = sorted({key.partition("/")[2] for key in ALGORITHMS})
    head = _HEAD.format(
        name=json.dumps(name),
        kinds=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}",
        tiers=json.dumps(TIERS),
        algorithms=json.dumps(algorithms),
        modes=", ".join(MODES),
    )
    sections = groupby(chip_keys(TIERS).items(), key=lambda item: _section(item[0]))
    return head + "".join(f"\n[{section}]\n" + "\n".join(_lines(section, items)) + "\n" for section, items in sections)


def _section(name: str) -> str:
    """The table of a dotted key: "compute" of "compute.flops_per_s.fp64", "network.node" of "network.node.size"."""
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "network" else 1])


def _lines(section: str, items: Iterator[tuple[str, Key]]) -> Iterator[str]:
    """Each key below a comment on it; the same comment is written once for keys in a row."""
    last = ""
    for name, key in items:
        comment = f"# {'Required' if key.required else 'Optional'}, {key.unit}: {key.meaning}."
        if comment != last:
            yield comment
        last = comment
        words = f'unit = "{key.unit}", source = "replace by your source", kind = "datasheet"'
        mark = "" if key.required else "# "
        yield f"{mark}{name.removeprefix(section + '.')} = {{ value = {_number(key.example)}, {words} }}"


def _number(value: float) -> str:
    """A number as people write it in TOML: 100e12, 80_000_000_000, 0.8, 5e-6."""
    if isinstance(value, int):
        return f"{value:_}"
    exponent = 3 * math.floor(math.log10(value) / 3 + 1e-9)
    return f"{value:g}" if 0.01 <= value < 1000 else f"{value / 10.0**exponent:g}e{exponent}"
