"""What a compiler computes while compiling: constants, uniform values, and ops that change nothing.

XLA folds these, so a collective planned for one would never run. Folding before anything is decided keeps plan and
program the same. Small constants only: a mask of a large model is not written out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from swplan.ir.graph import Aval

if TYPE_CHECKING:
    from swplan.ir.reader import Reader

LARGEST = 1 << 16
"""Elements up to which a constant is computed while reading."""

KEEPS_UNIFORM = {"reshape", "transpose", "squeeze", "broadcast_in_dim", "slice", "rev", "reduce_max", "reduce_min"}
ELEMENTWISE = {
    "add", "sub", "mul", "div", "neg", "max", "min", "exp", "log", "sqrt", "rsqrt", "tanh", "abs", "sign", "pow",
    "integer_pow", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "convert_element_type", "select_n",
    "is_finite", "log1p", "expm1", "logistic", "square", "add_any",
}  # fmt: skip
COMPUTED = (KEEPS_UNIFORM | ELEMENTWISE) - {"broadcast_in_dim"}
UNITS = {"add": 0.0, "add_any": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "max": -np.inf, "min": np.inf}
ONE_SIDED = {"sub", "div"}
RESHAPES = {"reshape", "broadcast_in_dim", "squeeze", "expand_dims", "transpose"}
MOVEMENTS = {"reshape", "broadcast_in_dim", "squeeze", "transpose", "convert_element_type"}


def reshape_key(reader: Reader, eqn: Any, operands: Sequence[int]) -> tuple | None:
    """What two equations share that only put the same elements under the same shape: ("reshape", value, shape).

    XLA makes one reshape of a chain of them, or nothing where the value has that shape, so what reads them is equal.
    None for all else.
    """
    name = eqn.primitive.name
    if name not in RESHAPES or len(operands) != 1 or operands[0] in reader.constants:
        return None
    before, shape = reader.avals[operands[0]], tuple(eqn.outvars[0].aval.shape)
    moved = eqn.params.get("permutation") or eqn.params.get("dimensions") or ()
    long = [dim for dim in moved if before.shape[dim] > 1]
    if before.size != prod(shape) or (name in ("transpose", "reshape") and long != sorted(long)):
        return None
    return "reshape", reader.unshaped.get(operands[0], operands[0]), shape


def unchanged(reader: Reader, eqn: Any, operands: Sequence[int], result: Aval) -> int | None:
    """The operand that an equation merely passes on (x + 0, x ** 1, a transpose that moves nothing), or None."""
    name = eqn.primitive.name
    if name == "integer_pow" and eqn.params["y"] == 1:
        return operands[0]
    if name == "reduce_precision" and _PRECISIONS.get(result.dtype) == _bits(eqn):
        return operands[0]
    key = reshape_key(reader, eqn, operands)
    if key is not None and reader.avals[key[1]] == result:
        return key[1]
    if name in MOVEMENTS and len(operands) == 1 and reader.avals[operands[0]] == result:
        permutation = eqn.params.get("permutation", ())
        return operands[0] if tuple(permutation) == tuple(range(len(permutation))) else None
    if name not in UNITS or len(operands) != 2:
        return None
    left, right = operands
    if reader.avals[left] == result and _is(reader, right, UNITS[name]):
        return left
    if name not in ONE_SIDED and reader.avals[right] == result and _is(reader, left, UNITS[name]):
        return right
    return None


_PRECISIONS = {"float32": (8, 23), "bfloat16": (8, 7), "float16": (5, 10), "float64": (11, 52)}
"""Bits of exponent and mantissa: rounding to those that a value has anyway changes nothing."""


def _bits(eqn: Any) -> tuple[int, int]:
    return eqn.params["exponent_bits"], eqn.params["mantissa_bits"]


def _is(reader: Reader, value: int, number: float) -> bool:
    scalar = reader.uniform.get(value, value)
    aval = reader.avals[scalar]
    if scalar not in reader.constants or aval.shape or aval.is_key:
        return False
    return complex(np.asarray(reader.constants[scalar])) == number


def folded(reader: Reader, eqn: Any, operands: Sequence[int], result: Aval) -> int | None:
    """The value of an equation whose operands are all known, or all one known scalar; None if it must run."""
    if not operands or not all(v in reader.constants or v in reader.uniform for v in operands):
        return None
    if result.is_key or any(reader.avals[v].is_key for v in operands):
        return None
    name = eqn.primitive.name
    known = all(v in reader.constants for v in operands)
    if known and name in COMPUTED and result.size <= LARGEST:
        return reader.constant(_evaluate(reader, eqn, operands))
    return _uniform(reader, eqn, operands, result)


def _uniform(reader: Reader, eqn: Any, operands: Sequence[int], result: Aval) -> int | None:
    """Computes on the scalar instead, and broadcasts once."""
    name = eqn.primitive.name
    scalars = [v if v in reader.constants and not reader.avals[v].shape else reader.uniform.get(v) for v in operands]
    if any(scalar is None for scalar in scalars) or (name == "broadcast_in_dim" and scalars[0] == operands[0]):
        return None
    if name in KEEPS_UNIFORM:
        scalar = scalars[0]
    elif name in ELEMENTWISE and all(reader.avals[v].shape in ((), result.shape) for v in operands):
        scalar = reader.constant(_evaluate(reader, eqn, scalars))
    else:
        return None
    return broadcast(reader, scalar, result)


def _evaluate(reader: Reader, eqn: Any, operands: Sequence[int]) -> np.ndarray:
    with jax.ensure_compile_time_eval():
        arrays = [jnp.asarray(reader.constants[v]) for v in operands]
        return np.asarray(eqn.primitive.bind(*arrays, **eqn.params))


def broadcast(reader: Reader, scalar: int, result: Aval) -> int:
    """A scalar constant in a shape."""
    if not result.shape:
        return scalar
    return inline(reader, lambda x: lax.broadcast_in_dim(x, result.shape, ()), scalar)


def inline(reader: Reader, function: Any, value: int) -> int:
    """Reads a small function of one value in place."""
    aval = reader.avals[value]
    return reader.read_closed(jax.make_jaxpr(function)(jax.ShapeDtypeStruct(aval.shape, aval.dtype)), [value])[0]


def note_known(
    reader: Reader, eqn: Any, operands: Sequence[int], results: Sequence[int], key: tuple | None, fixed: bool
) -> None:
    """Remembers what is known of results.

    Of which value one is a reshape, by its key; that they depend on no input; that a broadcast of a scalar constant is
    that everywhere.
    """
    if key is not None:
        reader.unshaped[results[0]] = key[1]
    if fixed:
        reader.fixed.update(results)
    if (
        eqn.primitive.name == "broadcast_in_dim"
        and operands[0] in reader.constants
        and not reader.avals[operands[0]].shape
    ):
        reader.uniform[results[0]] = operands[0]


def is_fixed(reader: Reader, operands: Sequence[int]) -> bool:
    """Whether an equation of these operands depends on constants only."""
    return all(v in reader.constants or v in reader.fixed for v in operands)


def trip_count(reader: Reader, params: Any, operands: Sequence[int]) -> int | None:
    """Trips of a while loop that counts: `i < n` with a known n, `i + step` in the body; None where none is seen."""
    heads, tails = params["cond_nconsts"], params["body_nconsts"]
    condition, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    test = next((e for e in condition.eqns if condition.outvars[0] in e.outvars), None)
    if test is None or test.primitive.name not in ("lt", "le"):
        return None
    counter, limit = test.invars
    if hasattr(counter, "val") or counter not in condition.invars[heads:]:
        return None
    position = condition.invars.index(counter) - heads
    stop = _known(reader, limit, condition.invars[:heads], operands[:heads])
    start = reader.constants.get(operands[heads + tails + position])
    step = _increment(body, position + tails, body.outvars[position])
    if stop is None or start is None or not step:
        return None
    return max(0, -(-(int(stop) + (test.primitive.name == "le") - int(start)) // step))


def _known(reader: Reader, atom: Any, names: Sequence[Any], values: Sequence[int]) -> Any:
    if hasattr(atom, "val"):
        return atom.val
    return reader.constants.get(values[names.index(atom)]) if atom in names else None


def _increment(body: Any, position: int, outvar: Any) -> int:
    """What a loop body adds to a carry; 0 if it does anything else with it."""
    eqn = next((e for e in body.eqns if outvar in e.outvars), None)
    if eqn is None or eqn.primitive.name != "add":
        return 0
    left, right = eqn.invars
    if left is not body.invars[position] or not hasattr(right, "val"):
        return 0
    return max(0, int(right.val))
