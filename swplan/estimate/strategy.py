"""Strategy: how a program is to be run, in the words that people use for it, read from and written as one line.

    mesh=data:240/expert:400 zero=1 micro_batches=1 recompute=none precision=layered

A strategy prices nothing: `template` says what it means for a program, `pricing` what it costs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import prod

from swplan.errors import UsageError

AXES = ("data", "replica", "expert", "context", "model", "pipe")
"""What a mesh axis may split: the batch (and state, with ZeRO); the batch alone; experts, and the batch where there are
none; positions of a sequence; weights; layers."""
RECOMPUTE = ("none", "attention", "full")
PRECISIONS = ("as_written", "fp32", "auto", "layered", "bf16", "fp16", "fp8")
"""Of matrix products: as the program says ("fp32" is the same, as for `swplan.plan`), by price ("auto", "layered": low
where that is faster, all but products wide), or low: bf16 or fp16 all of them, fp8 those with weights."""
OVERLAPS = ("data", "replica", "model", "model_half", "pipe", "expert")
ATTENTION = ("plain", "fused")
LAUNCHES = ("compiled", "eager")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """One way to run a step.

    Attributes:
        mesh: (axis, degree), innermost on the network first; the same axis once at most.
        zero: what the data axis splits beside the batch: 0 nothing, 1 optimizer state, 2 gradients, 3 parameters too.
        micro_batches: parts of the local batch, one after the other.
        interleave: chunks of layers that each pipeline stage holds (virtual stages).
        recompute: "none" (as written), "attention" (what lies between its two products), "full" (whole layers).
        precision: see `PRECISIONS`.
        overlap: axes whose exchanges run beside computing as far as the schedule allows; "model_half": half of each.
        sequence: positions are split along the model axis between the products (sequence parallelism).
        attention: "plain", or "fused": scores never reach memory (FlashAttention).
        launch: "compiled", or "eager": the host starts every op, which may take longer than the op.
        global_batch: examples of a step, if not those of the traced program (0).
        capacity: slots of experts for each choice of a token, if not those of the traced program (0).
    """

    mesh: tuple[tuple[str, int], ...] = ()
    zero: int = 0
    micro_batches: int = 1
    interleave: int = 1
    recompute: str = "none"
    precision: str = "as_written"
    overlap: tuple[str, ...] = ()
    sequence: bool = True
    attention: str = "plain"
    launch: str = "compiled"
    global_batch: int = 0
    capacity: float = 0.0

    @property
    def devices(self) -> int:
        """How many devices the mesh has."""
        return prod(size for _, size in self.mesh)

    def degree(self, axis: str) -> int:
        """Size of an axis; 1 where the mesh does not have it."""
        return dict(self.mesh).get(axis, 1)

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """Read `key=value` separated by blanks.

        Raises:
            UsageError: a key or a value is unknown; lists what is valid.
        """
        words = [word.partition("=") for word in text.split()]
        keys = [key for key, _, _ in words]
        for key, sign, _ in words:
            if not sign or key not in _READERS:
                near = difflib.get_close_matches(key, _READERS, 3, 0.4) or list(_READERS)
                raise UsageError(f"strategy {text!r}: {key!r} is no setting; write KEY=VALUE with {', '.join(near)}")
            if keys.count(key) > 1:
                raise UsageError(f"strategy {text!r}: {key} is given twice; keep one")
        made = cls(**{key: _READERS[key](key, value) for key, _, value in words})
        if made.interleave > 1 and made.degree("pipe") == 1:
            raise UsageError(f"strategy {text!r}: interleave={made.interleave} needs a pipe axis in the mesh")
        return made

    def __str__(self) -> str:
        default = Strategy()
        shown = [f.name for f in fields(self) if getattr(self, f.name) != getattr(default, f.name) or f.name == "mesh"]
        return " ".join(f"{name}={_text(getattr(self, name))}" for name in shown)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(f"{v[0]}:{v[1]}" if isinstance(v, tuple) else str(v) for v in value) or "1"
    return str(int(value)) if isinstance(value, bool) else str(value)


def _mesh(key: str, value: str) -> tuple[tuple[str, int], ...]:
    if value == "1":
        return ()
    parts = [part.partition(":") for part in value.split("/")]
    for axis, _, size in parts:
        if axis not in AXES:
            raise UsageError(f"mesh={value}: {axis!r} is no axis; choose among {', '.join(AXES)}")
        _count(f"mesh={value}: {axis}", size)
    names = [axis for axis, _, _ in parts]
    if len(set(names)) < len(names):
        raise UsageError(f"mesh={value}: an axis is given twice; keep one of each")
    return tuple((axis, int(size)) for axis, _, size in parts)


def _count(key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{key}={value!r} makes no sense; write a whole number of at least 1")
    return int(value)


def _positive(key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UsageError(f"{key}={value!r} makes no sense; write a positive number")
    return number


def _choice(*valid: str) -> Callable[[str, str], str]:
    def read(key: str, value: str) -> str:
        if value not in valid:
            raise UsageError(f"{key}={value!r}: choose one of {', '.join(valid)}")
        return value

    return read


def _overlap(key: str, value: str) -> tuple[str, ...]:
    return tuple(_choice(*OVERLAPS)(key, part) for part in value.split("/") if part not in ("none", ""))


_READERS: Mapping[str, Callable[[str, str], object]] = {
    "mesh": _mesh,
    "zero": lambda key, value: int(_choice("0", "1", "2", "3")(key, value)),
    "micro_batches": _count,
    "interleave": _count,
    "recompute": _choice(*RECOMPUTE),
    "precision": _choice(*PRECISIONS),
    "overlap": _overlap,
    "sequence": lambda key, value: _choice("0", "1")(key, value) == "1",
    "attention": _choice(*ATTENTION),
    "launch": _choice(*LAUNCHES),
    "global_batch": _count,
    "capacity": _positive,
}
