"""Cases of the elementwise family."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import primitives

from .cases import bools, case, complexes, integers, keys, real, signed

UNARY = """abs ceil floor round sign square is_finite stop_gradient acos asin asinh atan atanh bessel_i0e bessel_i1e
    cbrt cos cosh digamma erf erf_inv erfc exp exp2 expm1 lgamma log log1p logistic rsqrt sin sinh sqrt tan tanh neg"""
BINARY = "add sub mul div max min rem nextafter eq ne ge gt le lt atan2 igamma igammac igamma_grad_a pow"
INTEGER = "and or xor shift_left shift_right_arithmetic shift_right_logical"

for _name in UNARY.split():
    case(_name, getattr(lax, _name), real(4, 6))
for _name in BINARY.split():
    case(_name, getattr(lax, _name), real(4, 6), real(4, 6))
for _name in INTEGER.split():
    _function = getattr(lax, {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}.get(_name, _name))
    case(_name, _function, integers(4, 6), integers(4, 6, high=8))
for _name in ("eq_to", "le_to", "lt_to"):
    case(_name, getattr(primitives, f"{_name}_p").bind, signed(4, 6), signed(4, 6))
case("add_any", primitives.add_jaxvals_p.bind, signed(4, 6), signed(4, 6))

case("not", lax.bitwise_not, bools(4, 6))
case("acosh", lax.acosh, real(4, 6, low=1.1, high=1.9))
case("population_count", lax.population_count, integers(4, 6))
case("clz", lax.clz, integers(4, 6))
case("polygamma", lax.polygamma, integers(4, 6, low=1, high=3, dtype="float32"), real(4, 6), tolerance=2e-5)
case("zeta", lax.zeta, real(4, 6, low=1.5, high=3), real(4, 6), tolerance=2e-5)
case("regularized_incomplete_beta", lax.betainc, real(4, 6), real(4, 6), real(4, 6), tolerance=2e-5)
case("add", lambda x: x + 2.0, signed(4, 6), label="scalar")
case("add", lambda x, y: x + y[None], integers(4, 6), integers(6), label="broadcast")
case("mul", lambda x, y: x * y, signed(4, 6), signed(), label="scalar")
case("mul", lambda x, y: x * y, integers(4, 6), integers(4, 6), label="integers")
case("div", lax.div, integers(4, 6), integers(4, 6, low=1), label="integers")
case("clamp", lambda x: lax.clamp(-0.5, x, 0.5), signed(4, 6))
case("clamp", lax.clamp, signed(4, 6), signed(4, 6), signed(4, 6), label="arrays")
case("reduce_precision", lambda x: lax.reduce_precision(x, 8, 7), signed(4, 6))
case("complex", lax.complex, signed(4, 6), signed(4, 6))
case("real", lax.real, complexes(4, 6))
case("imag", lax.imag, complexes(4, 6))
case("conj", lax.conj, complexes(4, 6))
case("mul", lax.mul, complexes(4, 6), complexes(4, 6), label="complex")
case("copy", lambda x: primitives.copy_p.bind(x), signed(4, 6))
case("name", lambda x: checkpoint_name(x, "kept"), signed(4, 6))
case("integer_pow", lambda x: x**3, signed(4, 6))
case("integer_pow", lambda x: lax.integer_pow(x, -2), real(4, 6), label="negative")
case("integer_pow", lambda x: lax.integer_pow_p.bind(x, y=1), real(4, 6), label="first")
case("convert_element_type", lambda x: x.astype("float16"), signed(4, 6))
case("convert_element_type", lambda x: x.astype("int32"), real(4, 6, high=99), label="round")
case("convert_element_type", lambda x: x.astype("float32"), bools(4, 6), label="bool")
case("select_n", lambda w, x, y: lax.select(w, x, y), bools(4, 6), signed(4, 6), signed(4, 6))
case("select_n", lax.select_n, integers(4, 6, high=3), *[integers(4, 6)] * 3, label="three")
case("select_n", lax.select_n, bools(), signed(4, 6), signed(4, 6), label="scalar")
case("optimization_barrier", lambda x, y: lax.optimization_barrier((x, y)), signed(4, 6), integers(2))
case("device_put", lambda x, y: jax.device_put((x, y)), signed(4, 6), integers(2))
case("sharding_constraint", lambda x: lax.with_sharding_constraint(x, _one_device()), signed(4, 6))
case("bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, "int32"), signed(4, 6))
case("bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, "int8"), signed(4, 6), label="narrower")
case(
    "bitcast_convert_type", lambda x: lax.bitcast_convert_type(x, "int32"), integers(6, 2, dtype="int16"), label="wider"
)
case("log2", lambda x: lax.log2(x), real(4, 6), since=(0, 12))
case("one_minus_square", lambda x: lax.one_minus_square(x), real(4, 6), since=(0, 12))
case("polynomial", lambda x: lax.polynomial(x, [1.0, 2.0, 3.0]), real(4, 6), since=(0, 12))


def _one_device() -> jax.sharding.Sharding:
    mesh = jax.make_mesh((1,), ("x",), devices=jax.devices()[:1], axis_types=(jax.sharding.AxisType.Auto,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))


def _raw(shape: tuple[int, ...]) -> object:
    return integers(*shape, high=2**32, dtype="uint32")


case("random_bits", lambda k: jax.random.bits(k, (4, 6)), keys())
case("random_bits", lambda k: jax.random.bits(k, ()), keys(), label="scalar")
for _width in (8, 16):
    case("random_bits", lambda k, w=_width: jax.random.bits(k, (4, 6), f"uint{w}"), keys(), label=f"{_width} bits")
case("random_bits", jax.vmap(lambda k: jax.random.bits(k, (4, 6))), keys(2), label="batch")
case("random_bits", lambda k: jax.random.bits(k, (4, 6)), keys(impl="rbg"), label="rbg")
case("random_split", lambda k: jax.random.split(k, 3), keys())
case("random_split", jax.vmap(lambda k: jax.random.split(k, 3)), keys(4), label="batch")
case("random_fold_in", jax.vmap(lambda k: jax.random.fold_in(k, 7)), keys(4))
case("random_fold_in", jax.vmap(jax.random.fold_in), keys(4), integers(4, dtype="uint32"), label="both")
case("random_seed", lambda s: jax.vmap(jax.random.key)(s), integers(4))
case("random_wrap", jax.random.wrap_key_data, _raw((4, 2)))
case("random_unwrap", jax.random.key_data, keys(4))
case("random_clone", jax.random.clone, keys(4))
case("random_gamma", lambda k, a: jax.random.gamma(k, a), keys(), real(4, 6), tolerance=1e-4)
case("threefry2x32", primitives.threefry2x32_p.bind, *[_raw((4, 6))] * 4)
case("rng_bit_generator", lambda k: lax.rng_bit_generator(k, (4, 6)), _raw((4,)))
case("rng_uniform", lambda a, b: lax.rng_uniform(a, b, (4, 6)), real(), real())
case("empty2", lambda: primitives.empty2_p.bind(dtype=jnp.dtype("float32"), memory_space=jax.memory.Space.Device))
