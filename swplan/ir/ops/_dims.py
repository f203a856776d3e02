"""What the rule families share: names for dims, and the rules of ops whose dims simply correspond.

Not for users: it registers nothing.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from swplan.ir.graph import Aval
from swplan.ir.ops._definitions import OpSpec
from swplan.ir.rule import VECTOR, WHOLE, Rule, WorkKind, make_rule

Names = tuple[str, ...]


def dim_names(prefix: str, rank: int) -> Names:
    """Factor names for `rank` dims: `d0, d1, ...`."""
    return tuple(f"{prefix}{dim}" for dim in range(rank))


def is_number(aval: Aval) -> bool:
    """Whether values of this dtype can be added across devices: no bool, no PRNG key, no float0."""
    return not aval.is_key and aval.dtype not in ("bool", "float0")


def is_inexact(aval: Aval) -> bool:
    """Whether the dtype is a floating-point or complex one."""
    return aval.dtype.startswith(("float", "bfloat", "complex")) and aval.dtype != "float0"


def numeric(spec: OpSpec, linear: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """The linear groups, or none where the results are no numbers (an and of bools is not linear)."""
    return linear if all(map(is_number, spec.results)) else ()


def corresponding(
    spec: OpSpec,
    *,
    whole: Container[int] = (),
    linear: Sequence[Sequence[int]] = (),
    work: WorkKind = VECTOR,
    fusible: bool = True,
) -> Rule:
    """The rule of an op in which dim i of every value is dim i of the first result.

    An operand of rank 0 has no dims and a dim of size 1 that stands against a larger one is broadcast.

    Dims in `whole` cannot be split; where an operand's size differs there, the result's size counts.
    """
    shape = spec.results[0].shape
    names = dim_names("d", len(shape))

    def dims(aval: Aval) -> list[str | None]:
        return [name if size == full else None for name, size, full in zip(names, aval.shape, shape, strict=False)]

    return make_rule(
        [dims(aval) for aval in spec.operands],
        [dims(aval) for aval in spec.results],
        dict(zip(names, shape, strict=True)),
        kinds={name: WHOLE for dim, name in enumerate(names) if dim in whole},
        linear=numeric(spec, linear),
        work=work,
        fusible=fusible,
    )


def unsplit(spec: OpSpec, *, work: WorkKind = VECTOR) -> Rule:
    """The rule of an op that runs whole: every operand is gathered first. Its work counts the largest value."""
    values = (*spec.operands, *spec.results)
    largest = max(range(len(values)), key=lambda position: values[position].size)
    names = dim_names("d", len(values[largest].shape))
    dims = [names if at == largest else (None,) * len(value.shape) for at, value in enumerate(values)]
    sizes = dict(zip(names, values[largest].shape, strict=True))
    split = len(spec.operands)
    return make_rule(dims[:split], dims[split:], sizes, kinds=dict.fromkeys(names, WHOLE), work=work)
