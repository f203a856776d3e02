"""Estimate: what one strategy costs, as a value: saved and loaded as JSON, shown without JAX or the program."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from swplan._planfile import write_whole
from swplan.errors import PlanFileError


class MeshAxis(msgspec.Struct, frozen=True, kw_only=True):
    """A mesh axis: `position` counts from the innermost, `tiers` are those that an exchange along it crosses."""

    name: str
    size: int
    position: int
    tiers: tuple[str, ...]


class OpPrice(msgspec.Struct, frozen=True, kw_only=True):
    """All runs in a step of one device of the ops of a source line; `binding` is what limits them."""

    primitive: str
    source: str
    stage: str
    count: int
    flops: float
    bytes: float
    time_s: float
    binding: str


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """Exchanges that are alike: `bytes` of one device in one run, `time_s` of all `count` runs, hidden or not."""

    kind: str
    axes: tuple[str, ...]
    group_size: int
    tiers: tuple[str, ...]
    bytes: int
    count: int
    algorithm: str
    time_s: float
    stage: str


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a step costs under a strategy.

    Attributes:
        step: its name.
        cluster, strategy: in their own words, from which they can be read again.
        devices: of the mesh.
        mesh: its axes, innermost first.
        step_time_s: seconds of a step: the sum of `breakdown`.
        breakdown: seconds by part of the step: see `schedule.PARTS`.
        flops_per_s: of the whole machine, counting the matrix products that the step needs, not what is made again.
        precision: in which most of these run.
        share_of_peak: `flops_per_s` as a share of what all devices could do in this precision.
        peak_memory_bytes, memory: of one device at the peak, in all and by role.
        capacity_bytes: memory of a device.
        fitted_parameters: numbers of the chip that were fitted to whole runs.
        assumed: what neither the program nor the strategy says.
        ops, collectives: what a device does, dearest first; empty where many strategies were priced at once.
    """

    step: str
    cluster: str
    strategy: str
    devices: int
    mesh: tuple[MeshAxis, ...]
    step_time_s: float
    breakdown: dict[str, float]
    flops_per_s: float
    precision: str
    share_of_peak: float
    peak_memory_bytes: int
    memory: dict[str, int]
    capacity_bytes: int
    fitted_parameters: tuple[str, ...]
    assumed: tuple[str, ...] = ()
    ops: tuple[OpPrice, ...] = ()
    collectives: tuple[Exchange, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether a device has the memory."""
        return self.peak_memory_bytes <= self.capacity_bytes

    def to_json(self) -> bytes:
        """The estimate as JSON: equal ones give equal bytes."""
        return msgspec.json.encode(self, order="deterministic")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the estimate, whole or not at all."""
        write_whole(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Estimate:
        """Reads an estimate.

        Raises:
            PlanFileError: the file does not exist, or holds no estimate.
        """
        try:
            return cls.from_json(Path(path).read_bytes(), where=os.fspath(path))
        except OSError as error:
            raise PlanFileError(f"cannot read the estimate {os.fspath(path)!r}: {error.strerror or error}") from error

    @classmethod
    def from_json(cls, data: bytes, *, where: str = "estimate") -> Estimate:
        """An estimate from its JSON.

        Raises:
            PlanFileError: it is not valid; says where.
        """
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PlanFileError(f"{where}: not a valid estimate: {error}") from error

    def __str__(self) -> str:
        from swplan.views.estimate import estimate_text

        return estimate_text(self)

    def _repr_html_(self) -> str:
        from swplan.views.estimate import estimate_html

        return estimate_html(self)
