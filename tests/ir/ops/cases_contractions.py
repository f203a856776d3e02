"""Cases of contractions, gather and scatter."""

import jax
import jax.numpy as jnp
from jax import lax

from .cases import case, integers, permutation, signed

case("dot_general", lambda x, y: jnp.einsum("abmk,anbk->bamn", x, y), signed(2, 4, 2, 6), signed(2, 4, 4, 6))
case("dot_general", lambda x, y: x @ y, integers(4, 6), integers(6, 2), label="integers")
case("dot_general", lambda x, y: jnp.einsum("mkl,lnk->nm", x, y), signed(4, 6, 2), signed(2, 4, 6), label="two sums")
case(
    "dot_general",
    lambda x, y: lax.dot(x, y, preferred_element_type="int32"),
    integers(4, 6, dtype="int8"),
    integers(6, 2, dtype="int8"),
    label="wider",
)


def _ragged_dot(left, right, sizes, contract, batch, ragged, group):
    numbers = lax.RaggedDotDimensionNumbers((contract, batch), [ragged], group)
    return lax.ragged_dot_general(left, right, sizes, numbers)


_RAGGED = integers(2, low=3, high=4)
case("ragged_dot_general", lax.ragged_dot, signed(6, 4), signed(2, 4, 2), _RAGGED)
case(
    "ragged_dot_general",
    lambda x, y, g: _ragged_dot(x, y, g, ([2], [2]), ([0], [0]), 1, [1]),
    signed(2, 6, 4),
    signed(2, 2, 4, 2),
    integers(2, 2, low=3, high=4),
    label="batch",
)
case(
    "ragged_dot_general",
    lambda x, y, g: _ragged_dot(x, y, g, ([0], [0]), ([], []), 0, []),
    signed(6, 4),
    signed(6, 2),
    _RAGGED,
    label="contracted",
)


def _convolve(**options):
    return lambda x, w: lax.conv_general_dilated(x, w, (1,), "SAME", **options)


case("conv_general_dilated", _convolve(), signed(4, 6, 8), signed(2, 6, 3))
case("conv_general_dilated", _convolve(feature_group_count=2), signed(4, 6, 8), signed(4, 3, 3), label="groups")
case("conv_general_dilated", _convolve(feature_group_count=6), signed(4, 6, 8), signed(6, 1, 3), label="depthwise")
case("conv_general_dilated", _convolve(batch_group_count=2), signed(4, 6, 8), signed(4, 6, 3), label="batch groups")
case(
    "conv_general_dilated",
    lambda x, w: lax.conv_general_dilated(x, w, (2, 1), ((1, 1), (0, 2)), (1, 2), (2, 1), ("NHWC", "HWIO", "NHWC")),
    signed(4, 8, 8, 2),
    signed(3, 3, 2, 4),
    label="image",
)
for _wrt, _name in ((0, "input"), (1, "weights")):
    case(
        "conv_general_dilated",
        lambda x, w, n=_wrt: jax.vjp(_convolve(feature_group_count=2), x, w)[1](jnp.ones((4, 4, 8)))[n],
        signed(4, 6, 8),
        signed(4, 3, 3),
        label=f"gradient of {_name}",
    )

MODES = ("clip", "fill", "promise_in_bounds")


def _lookup(mode):
    return lambda x, i: x.at[i].get(mode=mode)


for _mode in MODES:
    _reach = (0, 8) if _mode == "promise_in_bounds" else (-9, 12)
    _ids = integers(6, low=_reach[0], high=_reach[1])
    case("gather", _lookup(_mode), signed(8, 4), _ids, label=f"{_mode} rows")
    case("gather", _lookup(_mode), integers(8, 4), _ids, label=f"{_mode} integers")
    case(
        "gather",
        lambda x, i, m=_mode: jnp.take_along_axis(x, i[:, None], axis=-1, mode=m),
        signed(6, 8),
        _ids,
        label=f"{_mode} along axis",
    )
    case("gather", lambda x, i, j, m=_mode: x.at[i, j].get(mode=m), signed(8, 8, 2), _ids, _ids, label=f"{_mode} pairs")
case("gather", lambda x, i: jnp.take(x, i, axis=1), signed(4, 6, 2), integers(4, 2, high=6), label="middle")
case(
    "gather",
    jax.vmap(lambda x, i: lax.dynamic_slice(x, (i, 0), (2, 4))),
    signed(4, 6, 4),
    integers(4, high=7),
    label="windows",
)
case("gather", _lookup("clip"), signed(8, 4), integers(6, high=256, dtype="uint8"), label="uint8")
case("gather", _lookup("fill"), signed(8, 4), integers(6, high=10, dtype="uint32"), label="uint32")
case(
    "gather", lambda x, i: x.at[i].get(mode="fill", fill_value=0), signed(8, 4), integers(6, high=12), label="zero fill"
)

_SCATTERS = {"scatter": "set", "scatter-add": "add", "scatter-max": "max", "scatter-min": "min", "scatter-mul": "mul"}
for _primitive, _method in _SCATTERS.items():
    for _mode in MODES if _method == "add" else ("fill",):
        _ids = integers(6, high=8 if _mode == "promise_in_bounds" else 12)
        case(
            _primitive,
            lambda x, i, u, f=_method, m=_mode: getattr(x.at[i], f)(u, mode=m),
            integers(8, 4),
            permutation(6) if _method == "set" else _ids,
            integers(6, 4),
            label=f"{_mode} rows",
        )
case(
    "scatter-add",
    lambda x, i, u: x.at[i].add(u),
    signed(8, 4),
    integers(2, 3, high=8),
    signed(2, 3, 4),
    label="embedding",
)
case(
    "scatter-add",
    jax.grad(lambda x, i: jnp.sum(jnp.take_along_axis(x, i, -1) ** 2)),
    signed(6, 8),
    integers(6, 1, high=8),
    label="along axis",
)
case(
    "scatter-add",
    jax.vmap(lambda x, i, u: lax.dynamic_update_slice_in_dim(x, u, 0, 0).at[i].add(u[0])),
    signed(4, 6),
    integers(4, high=6),
    signed(4, 2),
    label="batch",
)
case("scatter-add", lambda x, i, u: x.at[i, i].add(u), signed(8, 8), integers(6, high=9), signed(6), label="diagonal")
case(
    "scatter-add", lambda x, i, u: x.at[i, 1:3].add(u), signed(8, 4), integers(6, high=9), signed(6, 2), label="windows"
)
case(
    "scatter-add",
    lambda x, i, u: x.at[i].add(u),
    integers(8, 4),
    integers(6, high=10, dtype="uint32"),
    integers(6, 4),
    label="uint32",
)
case("scatter-sub", lambda x, i, u: x.at[i].subtract(u), signed(8, 4), integers(6, high=8), signed(6, 4))
