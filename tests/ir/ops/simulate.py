"""Runs one equation as several devices would, without a mesh: slices operands, binds locally, joins the results."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from swplan.ir.graph import Aval
from swplan.ir.ops import DEFINITIONS, Local, OpSpec, bind_local, rule_of
from swplan.ir.rule import Rule

# Hundreds of tiny programs: what these save in compile time (32 -> 12 ms each) is most of the suite's time.
FAST_COMPILE = {"xla_backend_optimization_level": 0}
if jax.__version_info__ < (0, 12):  # later versions have no such option
    FAST_COMPILE["xla_cpu_use_fusion_emitters"] = False
fast_jit = partial(jax.jit, compiler_options=FAST_COMPILE)


@dataclass(frozen=True, slots=True)
class Equation:
    """One equation of a traced function, with the values that its operands had."""

    handle: Any
    spec: OpSpec
    values: list[Any]
    results: list[Any]

    @property
    def rule(self) -> Rule:
        return rule_of(self.spec, "a test")


def find_equation(primitive: str, function: Callable[..., Any], args: Sequence[Any]) -> Equation:
    """The first equation of `primitive` in the trace of the function, looked for in nested calls too."""
    closed = jax.make_jaxpr(function)(*args)
    found = []

    def run(*leaves: Any) -> tuple[list[Any], list[Any]]:
        equation = _search(primitive, closed.jaxpr, closed.consts, leaves)
        assert isinstance(equation, Equation), f"no {primitive} in {closed}"
        found.append(equation)
        return equation.values, equation.results

    values, results = fast_jit(run)(*jax.tree.leaves(args))
    return Equation(found[0].handle, found[0].spec, values, results)


def _search(primitive: str, jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> Equation | list[Any]:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    for eqn in jaxpr.eqns:
        operands = [_read(values, var) for var in eqn.invars]
        if eqn.primitive.name == primitive:
            return _equation(eqn, operands)
        inner = eqn.params.get("jaxpr")
        if eqn.primitive.name == "jit":
            out = _search(primitive, inner.jaxpr, inner.consts, operands)
            if isinstance(out, Equation):
                return out
        else:
            out = _bind(eqn.primitive, eqn.params, operands)
        values.update(zip(eqn.outvars, out, strict=True))
    return [_read(values, var) for var in jaxpr.outvars]


def _read(values: dict[Any, Any], var: Any) -> Any:
    return np.asarray(var.val, var.aval.dtype) if isinstance(var, Literal) else values[var]


def _bind(handle: Any, params: Any, operands: Sequence[Any]) -> list[Any]:
    out = handle.bind(*operands, **handle.get_bind_params(params))
    return list(out) if handle.multiple_results else [out]


def _equation(eqn: Any, operands: list[Any]) -> Equation:
    avals = [[Aval(tuple(v.aval.shape), str(v.aval.dtype)) for v in vs] for vs in (eqn.invars, eqn.outvars)]
    spec = OpSpec(eqn.primitive.name, eqn.params, tuple(avals[0]), tuple(avals[1]))
    return Equation(eqn.primitive, spec, operands, _bind(eqn.primitive, eqn.params, operands))


Degrees = dict[int, int]


def strategies(spec: OpSpec, rule: Rule) -> list[Degrees]:
    """All shardable factors split at once by their smallest divisors.

    Where the local equation is another one than the global one, also each alone; where it is lowered, also fully.
    """
    smallest = {
        position: next(n for n in range(2, factor.size + 1) if factor.size % n == 0)
        for position, factor in enumerate(rule.factors)
        if factor.shardable
    }
    definition = DEFINITIONS[spec.primitive]
    chosen = [smallest] if smallest else []
    if definition.localize or definition.lower:
        chosen += [{position: degree} for position, degree in smallest.items()]
    if definition.lower:
        chosen += [{position: rule.factors[position].size} for position in smallest]
    return [degrees for at, degrees in enumerate(chosen) if degrees not in chosen[:at]]


def split_factor(dim: tuple[int, ...], degrees: Degrees) -> int | None:
    """The factor that splits this dim, if any does."""
    return dim[0] if dim and dim[0] in degrees else None


def local_block(shape: Sequence[int], dims: Sequence[tuple[int, ...]], degrees: Degrees) -> tuple[int, ...]:
    return tuple(size // degrees.get(split_factor(dim, degrees), 1) for size, dim in zip(shape, dims, strict=True))


def run_split(equation: Equation, degrees: Degrees) -> list[Any]:
    """The global results, put together from what each device computes on its part."""
    rule, spec = equation.rule, equation.spec
    shapes = [
        [local_block(aval.shape, dims, degrees) for aval, dims in zip(avals, all_dims, strict=True)]
        for avals, all_dims in ((spec.operands, rule.operands), (spec.results, rule.results))
    ]
    names = {factor.name: position for position, factor in enumerate(rule.factors)}

    @fast_jit
    def device(place: dict[int, Any], operands: list[Any]) -> list[Any]:
        def offset(result: int, dim: int) -> Any:
            factor = split_factor(rule.results[result][dim], degrees)
            return 0 if factor is None else place[factor] * shapes[1][result][dim]

        def part(name: str) -> Any:
            return place.get(names.get(name), 0)

        return bind_local(equation.handle, spec, Local(tuple(shapes[0]), tuple(shapes[1]), offset, part), operands)

    parts = {}
    for coordinates in itertools.product(*map(range, degrees.values())):
        place = dict(zip(degrees, coordinates, strict=True))
        operands = [
            value[_block(shape, dims, place)]
            for value, shape, dims in zip(equation.values, shapes[0], rule.operands, strict=True)
        ]
        parts[coordinates] = device({factor: jnp.int32(at) for factor, at in place.items()}, operands)
    return [_together(rule, degrees, parts, result) for result in range(len(spec.results))]


def _block(shape: Sequence[int], dims: Sequence[tuple[int, ...]], place: dict[int, int]) -> tuple[slice, ...]:
    starts = [place.get(split_factor(dim, place), 0) * size for dim, size in zip(dims, shape, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, shape, strict=True))


def run_whole(equation: Equation, values: Sequence[Any]) -> list[Any]:
    """The results of the local program on a single device, for other values of the operands."""
    shapes = [tuple(aval.shape for aval in avals) for avals in (equation.spec.operands, equation.spec.results)]
    local = Local(*shapes, lambda _result, _dim: 0, lambda _name: 0)
    return list(map(plain, fast_jit(partial(bind_local, equation.handle, equation.spec, local))(values)))


def _together(rule: Rule, degrees: Degrees, parts: dict[tuple[int, ...], list[Any]], result: int) -> Any:
    """Joins the parts of one result, along one split factor after the other, the last one first."""
    current = {coordinates: plain(values[result]) for coordinates, values in parts.items()}
    for factor in reversed(degrees):
        groups: dict[tuple[int, ...], list[Any]] = {}
        for coordinates in sorted(current):
            groups.setdefault(coordinates[:-1], []).append(current[coordinates])
        current = {rest: _join(rule, factor, result, values) for rest, values in groups.items()}
    return current[()]


def _join(rule: Rule, factor: int, result: int, values: list[Any]) -> Any:
    dims = [at for at, dim in enumerate(rule.results[result]) if dim[:1] == (factor,)]
    if dims:
        return np.concatenate(values, axis=dims[0])
    kind = rule.factors[factor].kind
    if kind in ("sum", "max", "min"):
        joined = {"sum": np.add, "max": np.maximum, "min": np.minimum}[kind].reduce(np.stack(values))
        return joined.astype(values[0].dtype)
    for value in values[1:]:
        np.testing.assert_array_equal(value, values[0])
    return values[0]


def plain(value: Any) -> np.ndarray:
    """A numpy array of the value; of keys, their data."""
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(value))
    return np.asarray(value)


def assert_same(actual: Any, expected: Any, tolerance: float) -> None:
    """Equal: exactly for integers, to a relative tolerance (of the largest entry) for the rest."""
    actual, expected = plain(actual), plain(expected)
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    if not jnp.issubdtype(expected.dtype, jnp.inexact):
        np.testing.assert_array_equal(actual, expected)
        return
    if expected.dtype.itemsize < 4:
        actual, expected, tolerance = actual.astype("float32"), expected.astype("float32"), 1e-2
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 1.0
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance * scale)
