"""How long a device takes for one op: the roofline.

Williams, Waterman and Patterson, "Roofline", CACM 2009 (doi 10.1145/1498765.1498785): computing and moving data overlap
perfectly inside an op, so the longer of the two counts; starting the op comes on top. Between devices: `collectives`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from swplan.costmodel.chip import Chip, Tiling
from swplan.costmodel.work import Count, Matmul, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of an op goes; each field is a float or an array over strategies.

    Attributes:
        compute_s: Arithmetic, as if memory were infinitely fast.
        memory_s: Traffic, as if arithmetic were free.
        overhead_s: Launches.
    """

    compute_s: float | np.ndarray
    memory_s: float | np.ndarray
    overhead_s: float | np.ndarray

    @property
    def time_s(self) -> float | np.ndarray:
        """`max(compute_s, memory_s) + overhead_s`."""
        total = np.maximum(self.compute_s, self.memory_s) + self.overhead_s
        return total if total.ndim else float(total)

    @property
    def binding(self) -> str | np.ndarray:
        """What a faster version of would help most: "compute", "memory" or "overhead"."""
        busy = np.where(self.compute_s >= self.memory_s, "compute", "memory")
        longest = np.where(self.overhead_s > np.maximum(self.compute_s, self.memory_s), "overhead", busy)
        return longest if longest.ndim else str(longest)


def time_s(work: Work, chip: Chip) -> float | np.ndarray:
    """Time of one op.

    Laws: never shorter than any of its parts; time(n * work) = n * time(work); time(a + b) <= time(a) + time(b), since
    two ops fused into one overlap better than two ops one after the other. So sum the times of ops, not their work.
    """
    return breakdown(work, chip).time_s


def breakdown(work: Work, chip: Chip) -> Breakdown:
    """Time of one op, resource by resource."""
    vector_s = sum(flops / chip.vector_flops_per_s[precision] for precision, flops in work.vector_flops.items())
    return Breakdown(
        compute_s=sum(_matmul_s(matmul, chip) for matmul in work.matmuls)
        + vector_s
        + work.special_flops / chip.special_flops_per_s,
        memory_s=work.bytes / chip.memory_bytes_per_s,
        overhead_s=work.launches * chip.op_overhead_s,
    )


def _matmul_s(matmul: Matmul, chip: Chip) -> Count:
    """Flops over the rate that a large matmul reaches; in floats from the start, since arrays of int64 can overflow."""
    rate = chip.flops_per_s[matmul.precision] * chip.matmul_efficiency[matmul.precision]
    if chip.tiling is None:
        return 2.0 * matmul.batch * matmul.m * matmul.n * matmul.k * matmul.count / rate
    seconds = [_tiled_s(matmul, chip.tiling, sides) / rate for sides in _sides(chip.tiling.tile)]
    return functools.reduce(np.minimum, seconds) * matmul.count * _misalignment(matmul, chip.tiling)


def _misalignment(matmul: Matmul, tiling: Tiling) -> Count:
    """How many times longer a product takes whose rows are not aligned (NVIDIA DU-09799, section 2.2.1)."""
    odd = np.mod(matmul.m, 8) + np.mod(matmul.n, 8) + np.mod(matmul.k, 8) > 0
    return np.where(odd, 1.0 / tiling.misaligned, 1.0)


def _sides(tile: int) -> tuple[tuple[float, float], ...]:
    return ((tile, 2 * tile), (2 * tile, tile), (tile, tile), (tile / 2, tile / 2))


def _tiled_s(matmul: Matmul, tiling: Tiling, sides: tuple[float, float]) -> Count:
    """Operations that all units have time for while one product is made of tiles of these sides.

    Tiles come in waves of `units`, the last one partly filled (NVIDIA, "Matrix Multiplication Background User's Guide",
    DU-09799, sections 3.1 and 3.2: tile and wave quantization). Where there are fewer tiles than units, each is cut
    along k ("split-k"). A tile also loses `edge / side` to reading its operands and `depth / k` to its pipeline.
    """
    rows, columns = sides
    tiles = matmul.batch * np.ceil(matmul.m / rows) * np.ceil(matmul.n / columns)
    cuts = np.maximum(1.0, np.floor(tiling.units / tiles))
    waves = np.ceil(tiles / tiling.units)
    loss = 1.0 + tiling.edge * (1.0 / rows + 1.0 / columns)
    return 2.0 * waves * tiling.units * rows * columns * (matmul.k / cuts + tiling.depth) * loss
