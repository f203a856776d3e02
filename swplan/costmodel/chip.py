"""A chip as data: what one device can compute, hold and send, each number with its source.

A chip is one TOML file, in the package (`chips/*.toml`) or in the user's own folder. `load_chip` reads and checks it;
the rest of the cost model sees only the `Chip` value. Lookups by precision never fail: a precision that the chip lacks
computes in the next wider one, and `Chip.fallbacks` says so. How many chips there are is `cluster`'s matter.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from swplan.costmodel.access import Controllers, bandwidths
from swplan.costmodel.schema import PRECISIONS, WIDER, Number, check_numbers, choices_text, key_units, rival_key
from swplan.costmodel.tiling import Tiling
from swplan.errors import ChipError

PACKAGED = Path(__file__).parent / "chips"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One device of a cluster and the network it is made for; build it with `load_chip` or `Chip.of`.

    Attributes:
        name: What `load_chip` finds it by.
        description: One sentence for people.
        device: What one device is called ("node"): `nodes=8` in a cluster spec counts these.
        tiers: Names of the network tiers, innermost first; their numbers are under `network.<tier>.`
        flops_per_s: Dense matmul peak by precision (every one of `PRECISIONS`).
        matmul_efficiency: Share of that peak which a large matmul reaches, by precision.
        vector_flops_per_s: Elementwise additions and multiplications per second, by precision.
        special_flops_per_s: Evaluations of exp, log, rsqrt, tanh and the like per second.
        memory_bytes: Capacity of the device's main memory.
        memory_bytes_per_s: Achievable streaming bandwidth of that memory.
        class_bytes_per_s: The same for each class of ops, "matmul" and "vector", in its access mode.
        op_overhead_s: What every launched op costs besides its work.
        issue_s: What the host takes to start one op where a program runs op by op; 0 where it never limits.
        tiling: How products are cut into tiles, if that is known; see `tiling`.
        row_bytes: Longest row of a tensor that a kernel holds in local memory; 0 where compilers fuse no rows.
        turned_bytes_per_s: What copies reach that reorder dims; 0 where exchanges need none.
        reserved_bytes: Memory that libraries take, whatever the program.
        algorithms: Names of the algorithms of collectives that its library has; all that are known where empty.
        access: Access mode (see `access`) of each class of ops; empty where hardware alone decides.
        controllers: Its memory side, if that is described.
        numbers: Everything in the file by dotted key; the fields above are views of it.
    """

    name: str
    description: str
    device: str
    tiers: tuple[str, ...]
    flops_per_s: Mapping[str, float]
    matmul_efficiency: Mapping[str, float]
    vector_flops_per_s: Mapping[str, float]
    special_flops_per_s: float
    memory_bytes: int
    memory_bytes_per_s: float
    class_bytes_per_s: Mapping[str, float]
    op_overhead_s: float
    issue_s: float
    tiling: Tiling | None
    row_bytes: int
    turned_bytes_per_s: float
    reserved_bytes: int
    numbers: Mapping[str, Number]
    algorithms: tuple[str, ...] = ()
    access: Mapping[str, str] = field(default_factory=dict)
    controllers: Controllers | None = None

    @classmethod
    def of(
        cls,
        *,
        name: str,
        description: str,
        device: str,
        tiers: tuple[str, ...],
        numbers: Mapping[str, Number],
        algorithms: tuple[str, ...] = (),
        access: Mapping[str, str] | None = None,
        where: str | None = None,
    ) -> Chip:
        """The chip that these numbers make.

        Raises:
            ChipError: They do not make a whole chip; the message begins with `where` (default: the name).
        """
        where = where or f"chip {name!r}"
        check_numbers(numbers, tiers, where)
        controllers = Controllers.of(numbers)
        return cls(
            name=name,
            description=description,
            device=device,
            tiers=tiers,
            flops_per_s=_by_precision(numbers, "compute.flops_per_s"),
            matmul_efficiency=_by_precision(numbers, "compute.matmul_efficiency"),
            vector_flops_per_s=_by_precision(numbers, "compute.vector_flops_per_s"),
            special_flops_per_s=numbers["compute.special_flops_per_s"].value,
            memory_bytes=int(numbers["memory.bytes"].value),
            memory_bytes_per_s=numbers["memory.bytes_per_s"].value,
            class_bytes_per_s=bandwidths(numbers["memory.bytes_per_s"].value, controllers, access or {}, where),
            op_overhead_s=numbers["compute.op_overhead_s"].value,
            issue_s=_value(numbers, "compute.issue_s"),
            tiling=Tiling.of(numbers),
            row_bytes=int(_value(numbers, "compute.row_bytes")),
            turned_bytes_per_s=_value(numbers, "memory.turned_bytes_per_s"),
            reserved_bytes=int(_value(numbers, "memory.reserved_bytes")),
            numbers=MappingProxyType(dict(numbers)),
            algorithms=algorithms,
            access=MappingProxyType(dict(access or {})),
            controllers=controllers,
        )

    @property
    def fallbacks(self) -> dict[str, str]:
        """The precisions in which this chip cannot multiply matrices, and the one that computes instead."""
        used = {precision: _nearest(precision, self.numbers, "compute.flops_per_s") for precision in PRECISIONS}
        return {precision: other for precision, other in used.items() if other != precision}

    @property
    def attention_efficiency(self) -> float:
        """Share of the peak that the products of a fused attention reach, softmax and both passes included.

        0 where it is not known: then each product is priced alone, and the softmax between them on top.
        """
        return _value(self.numbers, "compute.attention_efficiency")

    @property
    def storage_s(self) -> float:
        """Seconds until the data of a step has been read, whose few bytes do not count."""
        return _value(self.numbers, "storage.latency_s")

    @property
    def fitted(self) -> tuple[str, ...]:
        """Keys of the numbers that are fitted to measurements of whole runs."""
        return tuple(sorted(key for key, number in self.numbers.items() if number.kind == "fitted"))

    def replace(self, overrides: Mapping[str, float]) -> Chip:
        """The same chip with other numbers, by dotted key: `chip.replace({"memory.bytes_per_s": 300e9})`.

        Raises:
            ChipError: A key is unknown (the message lists the valid ones, closest first) or a value makes no sense.
        """
        units = key_units(self.tiers)
        for key in overrides:
            if key not in units:
                raise ChipError(f"chip {self.name!r} has no number {key!r}; {choices_text(key, units)}")
        return self.with_numbers(
            {
                key: Number(value=value, unit=units[key], source="set by the user", kind="derived")
                for key, value in overrides.items()
            }
        )

    def with_numbers(self, numbers: Mapping[str, Number]) -> Chip:
        """The same chip with these numbers put in or exchanged.

        A tier's bandwidth and the taper below it say the same thing; the one given here displaces the other.

        Raises:
            ChipError: A key is unknown, or a number has the wrong unit, kind or range.
        """
        displaced = {other for key in numbers if (other := rival_key(key, self.tiers))} - set(numbers)
        kept = {key: number for key, number in self.numbers.items() if key not in displaced}
        return Chip.of(
            name=self.name,
            description=self.description,
            device=self.device,
            tiers=self.tiers,
            numbers={**kept, **numbers},
            algorithms=self.algorithms,
            access=self.access,
        )

    def __hash__(self) -> int:
        return hash(self.name)


def available_chips() -> tuple[str, ...]:
    """Names of all chips that `load_chip` finds: the packaged ones and those in the user's folder."""
    return tuple(sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")}))


def load_chip(name_or_path: str | os.PathLike[str]) -> Chip:
    """Read a chip by name, or from a TOML file.

    The user's folder (`$SWPLAN_CHIPS`, else `~/.config/swplan/chips`) comes before the package, so that a calibrated
    `host.toml` takes the place of the generic one.

    Raises:
        ChipError: There is no such chip, or its file is not valid: says file, key and unit, and what to write.
    """
    path = _find(name_or_path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ChipError(f"{path}: cannot be read as TOML: {error}.") from error
    return _chip(content, path)


def _folders() -> tuple[Path, Path]:
    """Where chips are looked for, first match first."""
    user = os.environ.get("SWPLAN_CHIPS")
    return Path(user) if user else Path.home() / ".config" / "swplan" / "chips", PACKAGED


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    text = os.fspath(name_or_path)
    candidates = [folder / f"{text}.toml" for folder in _folders()]
    if text.endswith(".toml"):
        candidates = [Path(text)]
    for path in candidates:
        if path.is_file():
            return path
    known = choices_text(text, available_chips())
    raise ChipError(f"there is no chip {text!r}: {known} A path to a chip file ending in .toml will do as well.")


def _chip(content: dict, path: Path) -> Chip:
    """The chip that a parsed TOML file describes."""
    from swplan.costmodel.collectives import check_algorithms  # Which needs chips itself.

    words = {key: content.pop(key, None) for key in ("name", "description", "device")}
    for key, word in words.items():
        if not isinstance(word, str):
            raise ChipError(f"{path}: {key} is missing or not a string; write it as a string in quotes.")
    tiers = content.pop("tiers", None)
    if not isinstance(tiers, list) or not tiers or not all(isinstance(tier, str) for tier in tiers):
        raise ChipError(f"{path}: tiers is missing; write the names of the network tiers, innermost first.")
    if len(set(tiers)) < len(tiers):
        raise ChipError(f"{path}: tiers = {tiers} names one twice; give each its own name.")
    algorithms, access = content.pop("algorithms", []), content.pop("access", {})
    if not isinstance(algorithms, list) or not all(isinstance(name, str) for name in algorithms):
        raise ChipError(f"{path}: algorithms must be a list of names of algorithms of collectives.")
    check_algorithms(tuple(algorithms), str(path))
    if not isinstance(access, dict) or not all(isinstance(mode, str) for mode in access.values()):
        raise ChipError(f'{path}: access must name access modes, as {{ matmul = "rearranged", vector = "naive" }}.')
    lists = {"tiers": tuple(tiers), "algorithms": tuple(algorithms), "access": access}
    return Chip.of(
        **words, **lists, numbers=dict(_numbers(content, "", key_units(tuple(tiers)), path)), where=str(path)
    )


def _numbers(table: Mapping[str, object], prefix: str, units: Mapping[str, str], path: Path):
    """Walk nested tables and yield `(dotted key, Number)`; a table with a `value` is a number."""
    for name, entry in table.items():
        key = f"{prefix}{name}"
        unit = f"; its unit is {units[key]!r}" if key in units else ""
        if not isinstance(entry, dict):
            raise ChipError(f"{path}: {key} = {entry!r} must be a table {{ {', '.join(_FIELDS)} }}{unit}.")
        if "value" not in entry:
            yield from _numbers(entry, f"{key}.", units, path)
        elif set(entry) != set(_FIELDS) or not all(isinstance(entry[field], str) for field in _FIELDS[1:]):
            raise ChipError(f"{path}: {key} needs exactly value (a number), unit, source and kind (strings){unit}.")
        else:
            yield key, Number(**entry)


_FIELDS = ("value", "unit", "source", "kind")


def _value(numbers: Mapping[str, Number], key: str) -> float:
    return numbers[key].value if key in numbers else 0.0


def _by_precision(numbers: Mapping[str, Number], table: str) -> Mapping[str, float]:
    return MappingProxyType(
        {precision: numbers[f"{table}.{_nearest(precision, numbers, table)}"].value for precision in PRECISIONS}
    )


def _nearest(precision: str, numbers: Mapping[str, Number], table: str) -> str:
    """The precision itself, or the next wider one for which the table has a number; `fp64` always has one."""
    while f"{table}.{precision}" not in numbers:
        precision = WIDER[precision]
    return precision
