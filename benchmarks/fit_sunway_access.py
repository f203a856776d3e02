"""Fits the four waits of memory access on SW26010-Pro to published bandwidths, and to no other figure.

    python -m benchmarks.fit_sunway_access [bagualu.toml] [--write]

The figures: bandwidth of whole chips in three access modes (BaGuaLu, Fig. 12; all for fitting) and the curve of one
core group by block size (public DMA micro-benchmark). The misfit is the squared log of the ratio, figures of one curve
counting together as one. The latencies of plain loads and stores follow each from one figure. Prints every error.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

import swplan.validation
from benchmarks.fit_chips import write
from swplan.costmodel import load_chip
from swplan.costmodel.access import KEYS, WORD_BYTES, Controllers

CHIPS = ("sw26010pro", "sw26010pro-cg")
FITTED = ("share", "own_load_s", "own_store_s", "foreign_s")
MODES = {
    "plain load/store": "plain",
    "DMA from every CPE": "naive",
    "DMA from 8 diagonal CPEs + RMA": "diagonal",
    "the same, DMA calls rearranged over the 6 controllers": "rearranged",
}
"""Names of `bagualu.toml` -> access modes."""


class Figure(NamedTuple):
    """One published bandwidth, in byte/s, and how it was measured."""

    mode: str
    is_store: bool
    block_bytes: int
    groups: int
    measured: float
    weight: float

    def predicted(self, memory: Controllers) -> float:
        """The same by the model."""
        return memory.bandwidth(self.mode, block_bytes=self.block_bytes, groups=self.groups, is_store=self.is_store)


def figures(content: Mapping[str, Any]) -> Iterator[Figure]:
    """All figures but those of plain loads and stores."""
    for row in content["memory_bandwidth"]:
        for way in ("load", "store"):
            if row["use"] == "fit" and MODES[row["access"]] != "plain":
                yield Figure(MODES[row["access"]], way == "store", 512, 6, row[way] * 1e9, 1.0)
    curve = content["dma"]
    for way in ("get", "put"):
        for block, measured in zip(curve["block_bytes"], curve[way], strict=True):
            yield Figure("own", way == "put", block, 1, measured * 1e9, len(curve[way]) ** -0.5)


def fit(memory: Controllers, rows: list[Figure]) -> Controllers:
    """The controllers with the waits that fit best."""

    def made(logs: np.ndarray) -> Controllers:
        return dataclasses.replace(memory, **dict(zip(FITTED, np.exp(logs).tolist(), strict=True)))

    def misfit(logs: np.ndarray) -> list[float]:
        return [row.weight * np.log(row.predicted(made(logs)) / row.measured) for row in rows]

    found = least_squares(misfit, np.log([0.9, 1e-10, 1e-10, 1e-10]))
    return dataclasses.replace(made(found.x), **{f: float(f"{getattr(made(found.x), f):.4g}") for f in FITTED})


def latencies(memory: Controllers, content: Mapping[str, Any]) -> Controllers:
    """The controllers with latencies of plain access: one word of each core of the chip is under way."""
    row = next(row for row in content["memory_bandwidth"] if MODES[row["access"]] == "plain")
    under_way = memory.controllers * memory.requesters * WORD_BYTES
    found = {f"{way}_latency_s": float(f"{under_way / row[way] / 1e9:.4g}") for way in ("load", "store")}
    return dataclasses.replace(memory, **found)


def report(memory: Controllers, rows: list[Figure]) -> None:
    """Prints every figure with its error."""
    for row in rows:
        way, value = "store" if row.is_store else "load", row.predicted(memory)
        print(
            f"{row.mode:11s}{way:6s}{row.block_bytes:6d} B {row.groups} groups {row.measured / 1e9:7.1f} GB/s, "
            f"predicted {value / 1e9:7.1f} ({value / row.measured - 1:+.1%})"
        )
    errors = [abs(row.predicted(memory) / row.measured - 1) for row in rows]
    print(f"{len(rows)} figures, {len(FITTED)} numbers: mean {np.mean(errors):.1%}, largest {max(errors):.1%}")


def main() -> None:
    """Fits, and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default=Path(swplan.validation.__file__).parent / "data" / "bagualu.toml")
    parser.add_argument("--write", action="store_true", help="put the numbers into the chip files")
    options = parser.parse_args()
    content = tomllib.loads(Path(options.file).read_text(encoding="utf-8"))
    rows = list(figures(content))
    whole = Controllers.of(load_chip(CHIPS[0]).numbers)
    memory = latencies(fit(whole, rows), content)
    report(memory, rows)
    found = {KEYS[f]: getattr(memory, f) for f in (*FITTED, "load_latency_s", "store_latency_s")}
    for key, value in found.items():
        print(f"{key} = {value:.4g}")
    for chip in CHIPS if options.write else ():
        write(chip, found)


if __name__ == "__main__":
    main()
