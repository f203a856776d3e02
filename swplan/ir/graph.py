"""The Graph: a training step as values and ops, before and after decisions are made about it.

A Graph is what the reader makes of a jaxpr and what passes rewrite. Calls are inlined and loops keep a body
`Region`. A body refers to values of the enclosing scopes directly, so only what changes from trip to trip (carries,
scanned slices, stacked results) crosses its border. Values are numbered over the whole graph. This module knows no
JAX: `params` is opaque here and only `runtime/` binds it.

Values of which a program has tens of thousands are `msgspec.Struct`s, here and in what is made of a Graph: one takes a
tenth of the time of a frozen dataclass to make, and nothing to look through for garbage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from msgspec import Struct

from swplan.ir.pin import Pin
from swplan.ir.rule import Rule

ITEM_BITS = {
    "bool": 8, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32,
    "int64": 64, "uint64": 64, "float16": 16, "bfloat16": 16, "float32": 32, "float64": 64, "complex64": 64,
    "complex128": 128, "float8_e4m3fn": 8, "float8_e5m2": 8, "float0": 0,
}  # fmt: skip
PRECISION = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float8_e4m3fn": "fp8",
             "float8_e5m2": "fp8", "int8": "int8", "uint8": "int8", "complex64": "fp32",
             "complex128": "fp64"}  # fmt: skip


@dataclass(frozen=True)
class Aval:
    """Shape and dtype of a value; `dtype` is a numpy-style name, or `key<impl>` for a typed PRNG key.

    Few are shared by many values, so each keeps its sizes.
    """

    shape: tuple[int, ...]
    dtype: str

    @cached_property
    def is_key(self) -> bool:
        """Whether this is an array of typed PRNG keys."""
        return self.dtype.startswith("key<")

    @property
    def item_bytes(self) -> float:
        """Bytes of one element (a threefry key: 8)."""
        return 8 if self.is_key else ITEM_BITS[self.dtype] / 8

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @cached_property
    def bytes(self) -> int:
        """Bytes of the whole value."""
        return int(self.size * self.item_bytes)

    @property
    def precision(self) -> str:
        """Key of the chip's peak table that arithmetic on this dtype uses."""
        return PRECISION.get(self.dtype, "fp32")

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Region:
    """The body of a loop or branch. `inputs` and `outputs` are values that cross its border on every trip."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    ops: tuple[Op, ...]


class Op(Struct, frozen=True, gc=False):
    """One equation.

    `kind` is "op", or "scan", "while", "cond" for ops with regions:
      scan:  operands = init carries + scanned arrays; region inputs = carries + slices; outputs = carries + ys.
      while: operands = init carries; regions = (condition, body), both with the carries as inputs.
      cond:  operands = (branch index,); a region a branch, without inputs.
    `handle` is what `runtime/` binds (a jax Primitive); it is opaque here.
    `trips` is the trip count; None where it cannot be known, which makes every price a lower bound.
    `whole` are the shapes of (operands, results) of which `params` speak, where this op does a part of a larger one.
    `after` is a value that must be there before this op runs, whatever a device holds of it.
    `layer` is the module that it belongs to, by named scopes ("Llama/layer_0/mlp").
    """

    primitive: str
    operands: tuple[int, ...]
    results: tuple[int, ...]
    params: Mapping[str, Any] = {}
    handle: Any = None
    rule: Rule | None = None
    source: str = ""
    stage: str = "forward"
    kind: str = "op"
    regions: tuple[Region, ...] = ()
    carries: int = 0
    trips: int | None = 1
    whole: tuple[tuple[Aval, ...], tuple[Aval, ...]] | None = None
    after: int | None = None
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A whole program.

    Attributes:
      avals: shape and dtype of every value, by its number.
      roles: "parameter", "optimizer", "batch", "activation", "gradient", "constant" or "output", by value.
      top: the program; its inputs are the flat arguments, its outputs the flat results.
      constants: concrete arrays that the program closes over, and its literals.
      aliases: position of an output -> position of the input in whose place it is returned.
      names: a readable path for every input ("params/layer_0/kernel").
      output_names: a readable path for every output.
      pins: layouts that a user asks for.
      kept: values that a user wants kept for the backward pass.
    """

    avals: tuple[Aval, ...]
    roles: Mapping[int, str]
    top: Region
    constants: Mapping[int, Any]
    aliases: Mapping[int, int]
    names: tuple[str, ...]
    output_names: tuple[str, ...]
    pins: tuple[Pin, ...] = ()
    kept: frozenset[int] = frozenset()

    def role(self, value: int) -> str:
        """The role of a value; what is not registered is an activation."""
        return self.roles.get(value, "activation")


def walk(region: Region, trips: int = 1) -> Iterator[tuple[Op, int]]:
    """Every op of a region and of the regions inside it, with how often it runs (an unknown count is 1)."""
    for op in region.ops:
        yield op, trips
        for body in op.regions:
            yield from walk(body, trips * (op.trips or 1))


def free_values(region: Region) -> set[int]:
    """Values of enclosing scopes that a region reads."""
    defined: set[int] = set(region.inputs)
    used: set[int] = set(region.outputs)
    for op in region.ops:
        used.update(op.operands if op.after is None else (*op.operands, op.after))
        for body in op.regions:
            used |= free_values(body)
        defined.update(op.results)
    return used - defined


def reads(op: Op) -> tuple[int, ...]:
    """All values that an op reads, those that its regions take from outside included."""
    if not op.regions and op.after is None:
        return op.operands
    extra = sorted(set().union(*map(free_values, op.regions)) - set(op.operands)) if op.regions else []
    return (*op.operands, *extra) if op.after is None else (*op.operands, *extra, op.after)
