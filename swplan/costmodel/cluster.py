"""How many devices, and how they hang together: a chip with a network of tiers around it.

A `Cluster` is what the user writes as `"sw26010pro:nodes=96000,nodes_per_supernode=240"`. `network` places meshes on
it, `collectives` reads its tiers. It prices nothing itself.

The outermost tier may be partly filled: 1,000 nodes in supernodes of 256 are four supernodes, the last of 232. Its size
is rounded up, `devices` is exact. Fewer devices than one inner tier holds make that tier smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from swplan.costmodel.chip import Chip, load_chip
from swplan.costmodel.schema import COLLECTIVES, choices_text, key_units, rival_key
from swplan.errors import ChipError, ClusterError


class Link(NamedTuple):
    """What one device sees of a tier in one kind of collective: bandwidth and latency."""

    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One level of the network.

    Attributes:
        name: As in the chip file ("supernode").
        size: Members: devices for the innermost tier, units of the next inner tier for the others.
        bytes_per_s: What ONE device sustains towards peers across this tier while all its neighbours do the same.
        latency_s: Of one message.
        links: By kind of collective; equal to the two numbers above where the chip states nothing else.
        rendezvous_s: Until the devices of a group have met, however many they are; before every exchange.
    """

    name: str
    size: int
    bytes_per_s: float
    latency_s: float
    links: Mapping[str, Link]
    rendezvous_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A chip, how many of it, and the tiers between them, innermost first.

    Law: `Cluster.parse(cluster.spec) == cluster`.

    Attributes:
        chip: With the overrides of the spec applied.
        tiers: Innermost first; the product of their sizes is `devices`, or more if the outermost is partly filled.
        devices: How many there are, exactly.
        spec: The canonical text from which `parse` makes this cluster again.
    """

    chip: Chip
    tiers: tuple[Tier, ...]
    devices: int
    spec: str

    @classmethod
    def parse(cls, spec: str) -> Cluster:
        """Read a spec: a chip (name or .toml path), a colon, and settings `key=value` separated by commas.

        Settings are the number of devices (`nodes=`, `devices=`: as the chip calls them), the sizes of tiers
        (`nodes_per_supernode=`), and any number of the chip by its dotted key (`network.supernode.taper=1.0`).

        Raises:
            ClusterError: The chip or a key is unknown, a value is not a number or makes no sense, or the number of
                devices is missing.
        """
        reference, _, settings = spec.strip().partition(":")
        try:
            chip = load_chip(reference)
            return _build(reference, chip, _settings(settings, chip, spec))
        except ChipError as error:
            raise ClusterError(f"cluster {spec!r}: {error}") from error

    def replace(self, changes: Mapping[str, float | str]) -> Cluster:
        """The same cluster with other settings: `cluster.replace({"network.supernode.taper": 1.0, "nodes": 1024})`.

        A value may be text, as on a command line. A taper displaces the bandwidth of the tier outside it that an
        earlier setting stated, and the other way round.

        Raises:
            ClusterError: As for `parse`.
        """
        reference, _, text = self.spec.partition(":")
        changed = _checked(changes, self.chip, self.spec)
        displaced = {rival_key(key, self.chip.tiers) for key in changed}
        kept = {key: v for key, v in _settings(text, self.chip, self.spec).items() if key not in displaced}
        try:
            return _build(reference, self.chip, kept | changed)
        except ChipError as error:
            raise ClusterError(f"cluster {self.spec!r}: {error}") from error

    @property
    def memory_bytes(self) -> int:
        """Memory of one device."""
        return self.chip.memory_bytes

    def __str__(self) -> str:
        sizes = " x ".join(f"{tier.size:,} per {tier.name}" for tier in self.tiers)
        links = ", ".join(f"{t.name} {t.bytes_per_s / 1e9:.4g} GB/s {t.latency_s * 1e6:.3g} us" for t in self.tiers)
        return f"{self.chip.name}: {self.devices:,} {self.chip.device}s ({sizes}; {links})"

    def __hash__(self) -> int:
        return hash(self.spec)


def _build(reference: str, chip: Chip, settings: Mapping[str, float]) -> Cluster:
    """The cluster that checked settings make; their keys are aliases where there is one."""
    count = f"{chip.device}s"
    if count not in settings:
        raise ClusterError(f"cluster {reference!r}: how many {count}? Write {reference}:{count}=<number>.")
    keys = {alias: key for key, alias in _size_aliases(chip).items()}
    for key in {count, *keys} & set(settings):
        _check_count(key, settings[key], reference)
    chip = chip.replace({keys.get(key, key): value for key, value in settings.items() if key != count})
    devices = int(settings[count])
    words = (f"{key}={_text(settings[key])}" for key in [count, *sorted(set(settings) - {count})])
    return Cluster(chip=chip, tiers=_tiers(chip, devices), devices=devices, spec=f"{reference}:{','.join(words)}")


def _tiers(chip: Chip, devices: int) -> tuple[Tier, ...]:
    tiers, units, bytes_per_s = [], devices, math.inf
    for name in chip.tiers:
        size = units if name == chip.tiers[-1] else min(units, int(chip.numbers[f"network.{name}.size"].value))
        bytes_per_s = _number(chip, name, "bytes_per_s", bytes_per_s)
        tiers.append(_tier(chip, name, size, bytes_per_s))
        units = math.ceil(units / size)
        bytes_per_s *= _number(chip, name, "taper", 1.0)
    return tuple(tiers)


def _tier(chip: Chip, name: str, size: int, bytes_per_s: float) -> Tier:
    latency_s = chip.numbers[f"network.{name}.latency_s"].value
    links = {
        kind: Link(
            _number(chip, name, f"{kind}_bytes_per_s", bytes_per_s * _number(chip, name, f"{kind}_share", 1.0)),
            _number(chip, name, f"{kind}_latency_s", latency_s),
        )
        for kind in COLLECTIVES
    }
    met_s = _number(chip, name, "rendezvous_s", 0.0)
    return Tier(name=name, size=size, bytes_per_s=bytes_per_s, latency_s=latency_s, links=links, rendezvous_s=met_s)


def _number(chip: Chip, tier: str, name: str, default: float) -> float:
    number = chip.numbers.get(f"network.{tier}.{name}")
    return default if number is None else number.value


def _size_aliases(chip: Chip) -> dict[str, str]:
    """Dotted keys of tier sizes and what people write: `network.supernode.size` is `nodes_per_supernode`."""
    members = (chip.device, *chip.tiers)
    return {
        f"network.{tier}.size": f"{member}s_per_{tier}" for member, tier in zip(members, chip.tiers[:-1], strict=False)
    }


def _settings(text: str, chip: Chip, spec: str) -> dict[str, float]:
    """Parse `key=value,key=value`; keys are checked and replaced by their aliases."""
    settings: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = (word.strip() for word in part.partition("="))
        setting = _checked({key: value}, chip, spec)
        if settings.keys() & setting.keys():
            raise ClusterError(f"cluster {spec!r}: {key} is given twice; keep one.")
        settings |= setting
    return settings


def _checked(settings: Mapping[str, float | str], chip: Chip, spec: str) -> dict[str, float]:
    """The settings as numbers, keys that have an alias under their alias."""
    aliases = _size_aliases(chip)
    valid = {f"{chip.device}s", *aliases.values(), *key_units(chip.tiers)}
    for key in settings:
        if key not in valid:
            raise ClusterError(f"cluster {spec!r}: unknown key {key!r}; {choices_text(key, valid)}")
    return {aliases.get(key, key): _parsed(value, key, spec) for key, value in settings.items()}


def _parsed(value: float | str, key: str, spec: str) -> float:
    """A number, an int where it is written as one."""
    for number in (int, float):
        with suppress(ValueError):
            return number(value) if isinstance(value, str) else value
    raise ClusterError(f"cluster {spec!r}: {key}={value!r} is not a number; write {key}=<number>.")


def _check_count(key: str, value: float, reference: str) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or value != int(value) or value < 1:
        raise ClusterError(f"cluster {reference!r}: {key}={value} makes no sense; write a whole number of at least 1.")


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
