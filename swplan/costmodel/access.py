"""How fast core groups read and write memory: streams of requests that meet at the memory controllers of a chip.

A closed form for chips like the SW26010-Pro: core groups of 64 cores, a memory controller beside each, a ring between
them, and no caches, so that each implementation chooses who asks for what, in blocks of which size. A controller spends

    1 / (share * controller_bytes_per_s) + (own * own_s + foreign * foreign_s) / block_bytes

seconds on a byte while it serves, in turn, `own` streams of its own group and `foreign` ones that come over the ring. A
request to load is short, so a large block makes up for its wait; a store carries its data along, in packets, and waits
the same whatever its block (measured; PACKET_BYTES is the size at which the chip file states it). A group's port
is as wide as its controller. Plain loads and stores wait for each other instead: one word a core and latency.

The parameters are fitted to published bandwidths by `benchmarks/fit_sunway_access.py`, which prints every error. The
price of an op is the business of `compute`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from swplan.costmodel.schema import Number, choices_text
from swplan.errors import ChipError

CLASSES = ("matmul", "vector")
"""Classes of ops that may differ in their access mode: matrix products, and all others."""
PACKET_BYTES = 512
"""Block of the published bandwidths of whole chips (BaGuaLu, Fig. 12); waits of stores are stated for it."""
WORD_BYTES = 8
"""What a plain load or store moves."""


class Mode(NamedTuple):
    """An access mode: a way to bring data between memory and the cores of a group.

    Attributes:
        requesters: "every" core of a group asks, or only those on the "diagonal" of its square of cores, which hand on
            what they get over the register network (RMA).
        placement: whose streams a controller serves: of its "own" group (a share segment: each group has its memory),
            of "all" groups (a cross segment, interleaved over the controllers), or of all groups, but "in turn".
        is_plain: Whether loads and stores of single words are meant, not DMA.
    """

    requesters: str
    placement: str
    is_plain: bool = False


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        "plain": Mode("every", "all", is_plain=True),
        "naive": Mode("every", "all"),
        "diagonal": Mode("diagonal", "all"),
        "rearranged": Mode("diagonal", "in turn"),
        "own": Mode("every", "own"),
    }
)
"""All access modes by name; the names are what chip files and plans say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controllers:
    """The memory side of a chip; each attribute is a number of its file under `memory.` or `memory.access.`.

    Attributes:
        controllers: How many there are, each beside a group of cores.
        controller_bytes_per_s: Nominal bandwidth of one.
        requesters: Cores of a group; a square, so that its diagonal has the root of that.
        share: Part of the nominal bandwidth that one endless stream gets.
        own_load_s: Wait of a block to load, for each stream of the controller's own group.
        own_store_s: The same of a packet to store.
        foreign_s: Wait of a block for each stream from another group, either way.
        load_latency_s: Of a plain load.
        store_latency_s: Of a plain store.
    """

    controllers: int
    controller_bytes_per_s: float
    requesters: int
    share: float
    own_load_s: float
    own_store_s: float
    foreign_s: float
    load_latency_s: float
    store_latency_s: float

    @classmethod
    def of(cls, numbers: Mapping[str, Number]) -> Controllers | None:
        """Those that the numbers of a chip describe; None where they describe none."""
        found = {field: numbers.get(key) for field, key in KEYS.items()}
        if any(number is None for number in found.values()):
            return None
        counts = ("controllers", "requesters")
        return cls(**{field: int(n.value) if field in counts else n.value for field, n in found.items()})

    def streams(self, mode: Mode, groups: int) -> tuple[float, float]:
        """How many streams of its own group, and of others, a controller serves in turn; mean over controllers."""
        asking = self.requesters if mode.requesters == "every" else self.requesters**0.5
        if mode.placement == "own":
            return asking, 0.0
        busy = asking * (groups if mode.placement == "all" else min(1.0, groups))
        return busy / self.controllers, busy * (1.0 - 1.0 / self.controllers)

    def bandwidth(
        self,
        mode: str,
        *,
        block_bytes: float | np.ndarray = PACKET_BYTES,
        groups: int | None = None,
        is_store: bool = False,
    ) -> float | np.ndarray:
        """Bytes per second of all groups together.

        Laws: grows with blocks up to `share` of the nominal bandwidth, falls with requesters at a controller, and no
        group gets more than its port lets through.

        Args:
            mode: One of `MODES`.
            block_bytes: Contiguous bytes that one request moves.
            groups: How many groups are at work; default: all.
            is_store: Whether data goes to memory.
        """
        kind, groups = MODES[mode], groups or self.controllers
        port = self.share * self.controller_bytes_per_s
        block = np.asarray(block_bytes, float) if not kind.is_plain else np.full(np.shape(block_bytes), WORD_BYTES)
        own, foreign = self.streams(kind, groups)
        wait_s = own * (self.own_store_s if is_store else self.own_load_s) + foreign * self.foreign_s
        each = 1.0 / (1.0 / port + wait_s / np.where(is_store, PACKET_BYTES, block))
        served = self.controllers if kind.placement != "own" else groups
        found = np.minimum(served * each, groups * port)
        if kind.is_plain:
            latency_s = self.store_latency_s if is_store else self.load_latency_s
            found = np.minimum(found, groups * self.requesters * WORD_BYTES / latency_s)
        return found if found.ndim else float(found)


KEYS: Mapping[str, str] = MappingProxyType(
    {
        "controllers": "memory.controllers",
        "controller_bytes_per_s": "memory.controller_bytes_per_s",
        "requesters": "memory.requesters",
        "share": "memory.access.share",
        "own_load_s": "memory.access.own_load_s",
        "own_store_s": "memory.access.own_store_s",
        "foreign_s": "memory.access.foreign_s",
        "load_latency_s": "memory.access.load_latency_s",
        "store_latency_s": "memory.access.store_latency_s",
    }
)
"""Attribute of `Controllers` -> its key in a chip file."""


def bandwidths(
    bytes_per_s: float, controllers: Controllers | None, access: Mapping[str, str], where: str
) -> Mapping[str, float]:
    """Bytes per second of each class of ops: `bytes_per_s` in the mode of products, others in proportion.

    Args:
        bytes_per_s: What products get.
        controllers: The memory side of the chip.
        access: The mode of each class; empty where hardware alone decides.
        where: The chip, for messages.

    Raises:
        ChipError: A class or a mode is unknown or missing, or numbers of the memory side are.
    """
    if not access:
        return MappingProxyType(dict.fromkeys(CLASSES, bytes_per_s))
    if set(access) != set(CLASSES):
        raise ChipError(f"{where}: access must give a mode to each of {', '.join(CLASSES)}; it has {sorted(access)}.")
    for mode in access.values():
        if mode not in MODES:
            raise ChipError(f"{where}: there is no access mode {mode!r}; {choices_text(mode, MODES)}")
    if controllers is None:
        raise ChipError(f"{where}: access names modes, which need all of {', '.join(KEYS.values())}.")
    by_mode = {name: controllers.bandwidth(mode) for name, mode in access.items()}
    return MappingProxyType({name: bytes_per_s * found / by_mode["matmul"] for name, found in by_mode.items()})
