"""How a chip cuts matrix products into tiles, and what that costs.

Three kinds of chips. Where hardware brings operands (caches, copy engines), a tile loses a little time along its edges
and at the ends of its pipeline, in numbers that the chip file states. Where no tile is stated (CPUs), the whole product
is one, of whatever sides. Where programs bring operands by DMA into local memory (SW26010-Pro), the size of that memory
and the bandwidth say what a tile loses; nothing is fitted. Which share of the peak an endless product reaches is the
business of `compute`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from swplan.costmodel.schema import Number
from swplan.costmodel.work import Count, Matmul

ITEM_BYTES = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
SUM_BYTES = 4
"""Sums of a tile are kept in fp32."""
SQUARE = 8
"""Cores along a side of the square that makes a tile, where programs fetch operands (SW26010-Pro: 64 a core group)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How a chip cuts matrix products.

    Attributes:
        units: How many tiles are made at once (streaming multiprocessors, matrix units, core groups).
        tile: Side of the square tile that a unit makes; tiles of twice that on one side, or half of it, are tried too.
            0 where a product is one tile.
        edge: What a tile loses to reading its operands, as elements along a side.
        depth: What a tile loses to filling and draining its pipeline, as elements along k.
        misaligned: Share of the rate where a dim is no multiple of 8, so that rows do not begin where loads of 16 bytes
            can.
        local_bytes: Memory of a unit into which programs bring operands by DMA; 0 where hardware does.
    """

    units: int
    tile: int
    edge: float
    depth: float
    misaligned: float = 1.0
    local_bytes: int = 0

    @classmethod
    def of(cls, numbers: Mapping[str, Number]) -> Tiling | None:
        """What the numbers of a chip say; None if nothing."""
        values = {key.removeprefix("compute."): number.value for key, number in numbers.items()}
        local_bytes = int(values.get("local_bytes", 0))
        if not local_bytes and not values.keys() & {"matmul_tile", "matmul_edge", "matmul_depth"}:
            return None
        return cls(
            units=int(values.get("units", 1)),
            tile=int(values.get("matmul_tile", 0)) or (_local_tile(local_bytes) if local_bytes else 0),
            edge=values.get("matmul_edge", 0.0),
            depth=values.get("matmul_depth", 0.0),
            misaligned=values.get("matmul_misaligned", 1.0),
            local_bytes=local_bytes,
        )

    def seconds(self, matmul: Matmul, rate: float, bytes_per_s: Callable[[Count], Count]) -> Count:
        """Seconds of one call of a product.

        Laws: never faster than `rate`, which an endless product reaches; never slower on more bandwidth.

        Args:
            matmul: The product.
            rate: Operations per second of all units on an endless product.
            bytes_per_s: What all units together get from memory, by the size of the blocks that they ask for.
        """
        sides = ((1, 2), (2, 1), (1, 1), (0.5, 0.5))
        if not self.tile:
            tried = [self._tiled(matmul, matmul.m, matmul.n) / rate]
        elif self.local_bytes:
            blocks = [self._blocks(matmul, self.tile * r, self.tile * c) for r, c in sides]
            tried = [self._fetched_s(matmul, rate, bytes_per_s, *block) for block in blocks]
        else:
            tried = [self._tiled(matmul, self.tile * r, self.tile * c) / rate for r, c in sides]
        return functools.reduce(np.minimum, tried) * self._misalignment(matmul)

    def _misalignment(self, matmul: Matmul) -> Count:
        """How many times longer a product takes whose rows are not aligned (NVIDIA DU-09799, section 2.2.1)."""
        odd = np.mod(matmul.m, 8) + np.mod(matmul.n, 8) + np.mod(matmul.k, 8) > 0
        return np.where(odd, 1.0 / self.misaligned, 1.0)

    def _waves(self, tiles: Count) -> tuple[Count, Count]:
        """How often all units make a tile, and into how many parts along k tiles are cut, if they are too few."""
        return np.ceil(tiles / self.units), np.maximum(1.0, np.floor(self.units / tiles))

    def _tiled(self, matmul: Matmul, rows: float, columns: float) -> Count:
        """Operations that all units have time for while one product is made of tiles of these sides.

        Tiles come in waves of `units`, the last one partly filled (NVIDIA, "Matrix Multiplication Background User's
        Guide", DU-09799, sections 3.1 and 3.2: tile and wave quantization). Where there are fewer tiles than units,
        each is cut along k ("split-k"). A tile also loses `edge / side` to reading its operands and `depth / k` to its
        pipeline.
        """
        tiles = matmul.batch * np.ceil(matmul.m / rows) * np.ceil(matmul.n / columns)
        waves, cuts = self._waves(tiles)
        loss = 1.0 + self.edge * (1.0 / rows + 1.0 / columns)
        return 2.0 * waves * self.units * rows * columns * (matmul.k / cuts + self.depth) * loss

    def _blocks(self, matmul: Matmul, rows: float, columns: float) -> tuple[Count, Count]:
        """Into how many blocks of at most these sides programs cut m and n: equal ones, so that all are filled."""
        return np.maximum(1.0, np.ceil(matmul.m / rows)), np.maximum(1.0, np.ceil(matmul.n / columns))

    def _fetched_s(
        self, matmul: Matmul, rate: float, bytes_per_s: Callable[[Count], Count], across: Count, along: Count
    ) -> Count:
        """Seconds of one product, made of so many blocks, whose operands units fetch themselves.

        A square of cores shares a block: each asks for its part of a row, and passes on to its row and column what they
        need (at 55 GB/s between cores that takes 1 % of the time of multiplying, and is hidden). While a unit
        multiplies one pair of panels it fetches the next (two buffers), so the longer of the two counts; nothing hides
        that the finished block goes back. Law: for an endless k and large blocks, the rate of the units.
        """
        m, n = matmul.m / across, matmul.n / along
        waves, cuts = self._waves(np.maximum(1.0, matmul.batch * across * along))
        item_bytes = ITEM_BYTES[matmul.precision]
        byte_s = self.units / bytes_per_s(n / SQUARE * item_bytes)
        busy_s = np.maximum(2.0 * m * n * self.units / rate, (m + n) * item_bytes * byte_s) * matmul.k / cuts
        return waves * (busy_s + m * n * item_bytes * byte_s)


def _local_tile(local_bytes: int) -> int:
    """Side of a tile, a power of two: half of local memory holds sums of two tiles, the rest panels of operands."""
    return 2 ** math.floor(math.log2(local_bytes / 2 / 2 / SUM_BYTES) / 2)
