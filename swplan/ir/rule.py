"""A Rule: what a primitive does to dims, written as factors, as an einsum does.

`dot_general` of `b m k, b n k -> b m n` has the factors b, m, n (parallel) and k (summed). From its rule follow every
legal way to shard the op (mesh axes laid on factors), what is left to be summed, local shapes, and work. A dim that
merges several factors lists them major to minor; only a factor that comes first in all its dims can be sharded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

PARALLEL, WHOLE = "parallel", "whole"
REDUCTIONS = ("sum", "max", "min")

Dims = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Factor:
    """One index of an op. `kind` is "parallel", "whole", or the reduction that joins its parts."""

    name: str
    size: int
    kind: str = PARALLEL

    @property
    def shardable(self) -> bool:
        """Whether a mesh axis may lie on this factor."""
        return self.kind != WHOLE and self.size > 1


@dataclass(frozen=True, slots=True)
class WorkKind:
    """What one point of the iteration space costs.

    Attributes:
      unit: "matmul", "vector", "special" (exp, log, tanh, ...) or "free" (registered as free, by name).
      per_point: flops (or special evaluations) for each point of the space spanned by all factors.
      matmul: for "matmul", names of the factors of (batch, m, n, k).
      traffic: "stream" (reads operands, writes results), "result" (reads only what it writes, as a gather), "none".
    """

    unit: str = "vector"
    per_point: float = 1.0
    matmul: tuple[tuple[str, ...], ...] = ()
    traffic: str = "stream"


FREE = WorkKind(unit="free", per_point=0.0, traffic="none")
MOVE = WorkKind(unit="vector", per_point=0.0)
VECTOR = WorkKind()
SPECIAL = WorkKind(unit="special")


@dataclass(frozen=True, slots=True)
class Rule:
    """The factors of one op.

    Attributes:
      factors: all indices of the op.
      operands: for each operand, for each dim, positions in `factors`, major to minor; () = a dim that stays whole.
      results: likewise.
      linear: groups of operand positions; the op is linear in each group jointly (add: ((0, 1),), mul: ((0,), (1,))),
        so operands of a group that wait for their sum may pass through to a result that waits for its sum.
      work: what a point of the iteration space costs.
      fusible: whether a compiler fuses this op into its consumer instead of writing its result to memory.
    """

    factors: tuple[Factor, ...]
    operands: tuple[Dims, ...]
    results: tuple[Dims, ...]
    linear: tuple[tuple[int, ...], ...] = ()
    work: WorkKind = VECTOR
    fusible: bool = False
    _hash: int = field(default=0, init=False, compare=False, repr=False)

    def __hash__(self) -> int:
        """Worked out once: all that is known of a rule is found by it."""
        if not self._hash:
            parts = (self.factors, self.operands, self.results, self.linear, self.work, self.fusible)
            object.__setattr__(self, "_hash", hash(parts) or 1)
        return self._hash

    @property
    def points(self) -> int:
        """Size of the iteration space."""
        return prod(factor.size for factor in self.factors)


def make_rule(
    operands: Sequence[Sequence[object]],
    results: Sequence[Sequence[object]],
    sizes: Mapping[str, int],
    *,
    kinds: Mapping[str, str] | None = None,
    linear: Sequence[Sequence[int]] = (),
    work: WorkKind = VECTOR,
    fusible: bool = False,
) -> Rule:
    """Builds a Rule from names.

    A dim is a factor name, a tuple of names (major to minor), or None for a dim that must stay whole and is not part of
    the iteration space. Factors that are not first in one of their dims, or that stand twice in one value, become
    whole.

    Args:
      operands: dims of each operand.
      results: dims of each result.
      sizes: size of every factor.
      kinds: kind of the factors that are not parallel.
      linear: groups of operands in which the op is linear.
      work: what a point of the iteration space costs.
      fusible: whether a compiler fuses the op into its reader.
    """
    names = list(sizes)
    index = {name: position for position, name in enumerate(names)}

    def encode(dims: Sequence[object]) -> Dims:
        parts = [() if dim is None else (dim,) if isinstance(dim, str) else tuple(dim) for dim in dims]
        return tuple(tuple(index[name] for name in part if sizes[name] != 1) for part in parts)

    encoded_operands = tuple(map(encode, operands))
    encoded_results = tuple(map(encode, results))
    blocked = set().union(*map(_blocked, encoded_operands + encoded_results), set())
    chosen = dict(kinds or {})
    factors = tuple(
        Factor(name, sizes[name], WHOLE if index[name] in blocked else chosen.get(name, PARALLEL)) for name in names
    )
    return Rule(factors, encoded_operands, encoded_results, tuple(map(tuple, linear)), work, fusible)


def _blocked(dims: Dims) -> set[int]:
    """Factors that cannot be sharded because of how one value holds them: not major in a dim, or there twice."""
    minor = {factor for dim in dims for factor in dim[1:]}
    heads = [dim[0] for dim in dims if dim]
    return minor | {factor for factor in heads if heads.count(factor) > 1}


def whole_rule(operand_ranks: Sequence[int], result_ranks: Sequence[int], work: WorkKind = VECTOR) -> Rule:
    """A rule that shards nothing: every operand is gathered first. Always right, never silently cheap."""
    return Rule(
        (), tuple(((),) * rank for rank in operand_ranks), tuple(((),) * rank for rank in result_ranks), (), work
    )


def without_linear(rule: Rule) -> Rule:
    """The same rule for an op through which no partial value may pass."""
    return replace(rule, linear=())
