"""How long a device takes for one op: the roofline.

Williams, Waterman and Patterson, "Roofline", CACM 2009 (doi 10.1145/1498765.1498785): computing and moving data overlap
perfectly inside an op, so the longer of the two counts; starting the op comes on top. Between devices: `collectives`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from swplan.costmodel.access import PACKET_BYTES
from swplan.costmodel.chip import Chip
from swplan.costmodel.work import Count, Matmul, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """Where the time of an op goes; each field is a float or an array over strategies.

    Attributes:
        compute_s: Arithmetic, as if memory were infinitely fast.
        memory_s: Traffic, as if arithmetic were free.
        overhead_s: Launches.
        access: How the op gets at memory, where the chip leaves that to its implementation; see `access`.
    """

    compute_s: float | np.ndarray
    memory_s: float | np.ndarray
    overhead_s: float | np.ndarray
    access: str = ""

    @property
    def time_s(self) -> float | np.ndarray:
        """`max(compute_s, memory_s) + overhead_s`."""
        total = np.maximum(self.compute_s, self.memory_s) + self.overhead_s
        return total if total.ndim else float(total)

    @property
    def binding(self) -> str | np.ndarray:
        """What a faster version of would help most: "compute", "memory" (with its access mode) or "overhead"."""
        memory = f"memory ({self.access})" if self.access else "memory"
        busy = np.where(self.compute_s >= self.memory_s, "compute", memory)
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
        memory_s=work.matmul_bytes / chip.class_bytes_per_s["matmul"]
        + (work.bytes - work.matmul_bytes) / chip.class_bytes_per_s["vector"],
        overhead_s=work.launches * chip.op_overhead_s,
        access=chip.access.get("matmul" if work.matmuls else "vector", ""),
    )


TURNED = ("all_gather", "reduce_scatter")
"""The exchanges that libraries may do along the first dim only."""


def turning_s(kind: str, dim: int, buffer_bytes: Count, members: Count, chip: Chip) -> Count:
    """Time of the copies around an exchange along an inner dim: the operand with that dim first, the result put back.

    XLA for CPU gathers and scatters blocks that lie together in memory, and copies what does not (openxla/xla: the
    layouts that it assigns to collectives). 0 on chips that state no `memory.turned_bytes_per_s`.

    Args:
        kind: Of exchange.
        dim: That is split or joined.
        buffer_bytes: Of the larger of operand and result, on one device.
        members: Of the group.
        chip: The device.
    """
    if kind not in TURNED or dim < 1 or not chip.turned_bytes_per_s:
        return 0.0
    read = buffer_bytes + buffer_bytes / members
    return (2 * read / chip.turned_bytes_per_s + 2 * chip.op_overhead_s) * (members > 1)


def _matmul_s(matmul: Matmul, chip: Chip) -> Count:
    """Flops over the rate that a large matmul reaches; in floats from the start, since arrays of int64 can overflow."""
    if matmul.fused and chip.attention_efficiency:
        rate = chip.flops_per_s[matmul.precision] * chip.attention_efficiency
        return 2.0 * matmul.batch * matmul.m * matmul.n * matmul.k * matmul.count / rate
    rate = chip.flops_per_s[matmul.precision] * chip.matmul_efficiency[matmul.precision]
    if chip.tiling is None:
        return 2.0 * matmul.batch * matmul.m * matmul.n * matmul.k * matmul.count / rate
    return chip.tiling.seconds(matmul, rate, functools.partial(_fetch_bytes_per_s, chip)) * matmul.count


def _fetch_bytes_per_s(chip: Chip, block_bytes: Count) -> Count:
    """What all units together get from memory for products, by blocks of this size at most."""
    whole = chip.class_bytes_per_s["matmul"]
    if chip.controllers is None or not chip.access:
        return whole
    by_block = functools.partial(chip.controllers.bandwidth, chip.access["matmul"])
    return whole * by_block(block_bytes=np.minimum(block_bytes, PACKET_BYTES)) / by_block()
