"""Cases of the shape, reduction, sorting, window and linear algebra families."""

import jax
import jax.numpy as jnp
from jax import lax

from .cases import bools, case, complexes, integers, positive, real, signed

case("transpose", lambda x: jnp.transpose(x, (2, 0, 1)), integers(4, 6, 2))
case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (4, 6, 2), (1, 2)), signed(6, 2))
case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (4, 6), (0, 1)), signed(4, 1), label="stretch")
case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (4, 6), ()), signed(), label="scalar")
case("squeeze", lambda x: lax.squeeze(x, (1,)), signed(4, 1, 6))
case("iota", lambda: lax.broadcasted_iota("int32", (4, 6), 1))
case("iota", lambda: lax.broadcasted_iota("bfloat16", (4, 600), 1), label="bfloat16")
case("rev", lambda x: lax.rev(x, (1,)), signed(4, 6, 2))
case("concatenate", lambda x, y: lax.concatenate([x, y], 1), signed(4, 6), signed(4, 2))
case("pad", lambda x: lax.pad(x, 3.0, ((0, 0, 0), (1, 2, 1))), signed(4, 6))
case("pad", lambda x, v: lax.pad(x, v, ((1, -1, 0), (0, 0, 0))), integers(4, 6), integers(), label="cut")
case("split", lambda x: lax.split(x, (2, 4), axis=1), integers(4, 6))
case("tile", lambda x: lax.tile(x, (1, 2, 1)), signed(4, 6, 2))
case("stack", lambda x, y: jnp.stack([x, y], 1), signed(4, 6), signed(4, 6))
case("unstack", lambda x: list(jnp.unstack(x, axis=1)), signed(4, 3, 6))
case("reshape", lambda x: x.reshape(32, 6), signed(8, 4, 6))
case("reshape", lambda x: x.reshape(4, 8, 6), integers(32, 6), label="apart")
case("reshape", lambda x: x.reshape(8, 3, 4), integers(6, 4, 4), label="partly")
case("reshape", lambda x: x.reshape(3, 5, 4), integers(5, 3, 4), label="coprime")
case("reshape", lambda x: x.reshape(4, 1, 6), integers(1, 4, 6, 1), label="units")
case("reshape", lambda x: x.reshape(24), integers(4, 6), label="flat")

for _name in ("sum", "max", "min", "prod"):
    case(f"reduce_{_name}", lambda x, n=_name: getattr(jnp, n)(x, axis=(0, 2)), signed(4, 6, 2))
    case(f"reduce_{_name}", lambda x, n=_name: getattr(jnp, n)(x, axis=1), integers(4, 6), label="integers")
for _name in ("and", "or", "xor"):
    _reduce = {"and": lax.reduce_and, "or": lax.reduce_or, "xor": lax.reduce_xor}[_name]
    case(f"reduce_{_name}", lambda x, f=_reduce: f(x, (1,)), integers(4, 6))
case("reduce_and", lambda x: jnp.all(x, 1), bools(4, 6), label="bool")
case("reduce", lambda x: lax.reduce(x, 1.0, lambda a, b: a * b + a, (1,)), real(4, 6))
case("reduce", lambda x, y: lax.reduce((x, y), (0, 0), _best, (0,)), integers(6, 4), integers(6, 4), label="pair")
case("argmax", lambda x: jnp.argmax(x, 1), signed(4, 6, 2))
case("argmin", lambda x: jnp.argmin(x, 0), signed(4, 6, 2))
case("sort", lambda x: lax.sort(x, dimension=1), signed(4, 6))
case("sort", lambda x, y: lax.sort((x, y), dimension=0, num_keys=1), integers(6, 4, high=3), signed(6, 4), label="pair")
case("top_k", lambda x: lax.top_k(x, 2), signed(4, 6))
case("approx_top_k", lambda x: lax.approx_max_k(x, 2, reduction_dimension=0), signed(6, 4))

for _name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"):
    case(_name, lambda x, n=_name: getattr(lax, n)(x, axis=1, reverse=True), signed(4, 6, 2))
case("reduce_window_sum", lambda x: lax.reduce_window(x, 0.0, lax.add, *_WINDOW), signed(4, 6, 2))
case("reduce_window_max", lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *_WINDOW), signed(4, 6, 2))
case("reduce_window_min", lambda x: lax.reduce_window(x, jnp.inf, lax.min, *_WINDOW), signed(4, 6, 2))
case("reduce_window", lambda x: lax.reduce_window(x, 1.0, lax.mul, *_WINDOW), signed(4, 6, 2))
case("select_and_scatter_add", jax.grad(lambda x: jnp.sum(_pooled(x) ** 2)), signed(4, 6, 2))
case("select_and_gather_add", lambda x, t: jax.jvp(_pooled, (x,), (t,)), signed(4, 6, 2), signed(4, 6, 2))
case(
    "select_and_scatter",
    lambda x, y: lax.select_and_scatter_p.bind(x, y, jnp.float32(1), **_scatter_windows()),
    signed(4, 6),
    signed(4, 3),
)
_WINDOW = ((1, 3, 1), (1, 2, 1), ((0, 0), (1, 0), (0, 0)))


def _best(left, right):
    return jnp.maximum(left[0], right[0]), jnp.where(left[0] >= right[0], left[1], right[1])


def _pooled(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 1), (1, 2, 1), "VALID")


def _scatter_windows():
    select, scatter = (jax.make_jaxpr(f)(jnp.float32(0), jnp.float32(0)) for f in (lax.ge, lax.mul))
    windows = {"window_dimensions": (1, 2), "window_strides": (1, 2), "padding": ((0, 0), (0, 0))}
    consts = {"select_consts": (), "scatter_consts": ()}
    return {"select_jaxpr": select.jaxpr, "scatter_jaxpr": scatter.jaxpr, **windows, **consts}


MATRICES = {
    "cholesky": lambda x: lax.linalg.cholesky(x),
    "lu": lambda x: lax.linalg.lu(x),
    "qr": lambda x: lax.linalg.qr(x),
    "eigh": lambda x: lax.linalg.eigh(x),
    "eig": lambda x: lax.linalg.eig(x),
    "svd": lambda x: lax.linalg.svd(x),
    "schur": lambda x: lax.linalg.schur(x),
    "hessenberg": lambda x: lax.linalg.hessenberg(x),
    "tridiagonal": lambda x: lax.linalg.tridiagonal(x),
}
for _name, _function in MATRICES.items():
    case(_name, _function, positive(4, size=3), tolerance=1e-5)
case("householder_product", lax.linalg.householder_product, signed(4, 3, 3), real(4, 3), tolerance=1e-5)
case("ormqr", lax.linalg.ormqr, signed(4, 3, 3), real(4, 3), signed(4, 3, 2), tolerance=1e-5)
case("cholesky_update", lambda x: lax.linalg.cholesky_update(jnp.linalg.cholesky(x), x[0]), positive(size=3))
case("symmetric_product", lambda x, y: lax.linalg.symmetric_product(x, y), signed(4, 3, 2), positive(4, size=3))
case("lu_pivots_to_permutation", lambda p: lax.linalg.lu_pivots_to_permutation(p, 6), integers(4, 3, low=3, high=6))
case(
    "triangular_solve",
    lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True),
    positive(4, size=3),
    signed(4, 3, 2),
)
case("triangular_solve", lax.linalg.triangular_solve, positive(4, size=3), signed(4, 2, 3), label="right")
case("tridiagonal_solve", lax.linalg.tridiagonal_solve, *[real(4, 6)] * 3, signed(4, 6, 2), tolerance=1e-3)
case("fft", lambda x: jnp.fft.fft(x, axis=-1), complexes(4, 8))
case("fft", lambda x: jnp.fft.rfftn(x, axes=(-2, -1)), signed(4, 8, 6), label="rfft2")
case("fft", lambda x: jnp.fft.irfft(x), complexes(4, 5), label="irfft")
case("dynamic_slice", lambda x, i: lax.dynamic_slice(x, (0, i, 0), (4, 2, 2)), signed(4, 6, 2), integers(high=8))
case(
    "dynamic_update_slice",
    lambda x, u, i: lax.dynamic_update_slice(x, u, (0, i)),
    *[signed(4, 6), signed(4, 2)],
    integers(high=8),
)
case("slice", lambda x: x[:, 1:5:2], signed(4, 6, 2))
case("slice", lambda x: lax.slice(x, (1, 0), (3, 6)), signed(4, 6), label="rows")
