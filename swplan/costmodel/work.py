"""What must be done, before anybody asks how long it takes.

`Work` is a resource vector: it adds up and multiplies by trip counts. `compute` turns it into time on a chip. Peak
memory does not add up and is not here; messages between devices are priced by `collectives`.

Every number is a Python int (exact) or a numpy array over strategies, broadcastable against the others (exact below
2**63, the range of int64).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

Count: TypeAlias = "int | float | np.ndarray"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul:
    """`count` separate products, each of `batch` matrices `[m, k]` times `[k, n]`.

    `batch` belongs to one call, `count` repeats the call: what a size does to efficiency does not depend on `count`.
    `fused`: it is part of a kernel of several products that keeps what lies between them on chip (attention).
    """

    batch: Count = 1
    m: Count
    n: Count
    k: Count
    precision: str
    count: Count = 1
    fused: bool = False

    @property
    def flops(self) -> Count:
        """Multiplications and additions: 2 m n k a matrix (Golub and Van Loan, Matrix Computations, chapter 1)."""
        return 2 * self.batch * self.m * self.n * self.k * self.count

    def __mul__(self, times: Count) -> Matmul:
        return replace(self, count=self.count * times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work of one op, or of many.

    Laws: `+` and `*` act on every resource as on vectors, so for each of `flops`, `special_flops`, `bytes` and
    `launches`, resource(a + b) = resource(a) + resource(b) and resource(n * a) = n * resource(a). `Work()` is zero.

    Attributes:
        matmuls: Kept with their dims, since efficiency depends on size.
        vector_flops: Elementwise operations and reductions, by precision.
        special_flops: Evaluations of exp, log, rsqrt, tanh and the like.
        read_bytes: From the device's main memory.
        written_bytes: To the device's main memory.
        launches: Ops that the device starts.
        matmul_bytes: Those of the bytes read and written that are of products.
    """

    matmuls: tuple[Matmul, ...] = ()
    vector_flops: Mapping[str, Count] = field(default_factory=dict)
    special_flops: Count = 0
    read_bytes: Count = 0
    written_bytes: Count = 0
    launches: Count = 0
    matmul_bytes: Count = 0

    @property
    def flops(self) -> dict[str, Count]:
        """Operations by precision, of matmuls and vectors together."""
        matmuls = ({matmul.precision: matmul.flops} for matmul in self.matmuls)
        return _sum(*matmuls, self.vector_flops)

    @property
    def bytes(self) -> Count:
        """Traffic of the main memory, in both directions."""
        return self.read_bytes + self.written_bytes

    def __add__(self, other: Work) -> Work:
        return Work(
            matmuls=self.matmuls + other.matmuls,
            vector_flops=_sum(self.vector_flops, other.vector_flops),
            special_flops=self.special_flops + other.special_flops,
            read_bytes=self.read_bytes + other.read_bytes,
            written_bytes=self.written_bytes + other.written_bytes,
            launches=self.launches + other.launches,
            matmul_bytes=self.matmul_bytes + other.matmul_bytes,
        )

    def __mul__(self, times: Count) -> Work:
        return Work(
            matmuls=tuple(matmul * times for matmul in self.matmuls),
            vector_flops={precision: flops * times for precision, flops in self.vector_flops.items()},
            special_flops=self.special_flops * times,
            read_bytes=self.read_bytes * times,
            written_bytes=self.written_bytes * times,
            launches=self.launches * times,
            matmul_bytes=self.matmul_bytes * times,
        )

    __rmul__ = __mul__
    # Without this, `array * work` would make numpy build an object array of Works.
    __array_ufunc__ = None


def _sum(*tables: Mapping[str, Count]) -> dict[str, Count]:
    total: dict[str, Count] = {}
    for table in tables:
        for key, value in table.items():
            total[key] = total.get(key, 0) + value
    return total
