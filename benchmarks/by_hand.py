"""Steps sharded by hand: for each model, tables of PartitionSpecs by parameter path, as one writes them without swplan.

The step is jitted with NamedShardings for its state and batch, and XLA's partitioner does the rest. Axes: `data` splits
the batch, `model` splits weights as Megatron-LM does (Shoeybi et al. 2019, arXiv:1909.08053). Fully sharded tables
split weights over `data` too (ZeRO, Rajbhandari et al. 2020, arXiv:1910.02054); experts lie one by one on devices as in
GShard (Lepikhin et al. 2020, arXiv:2006.16668). The optimizer's moments lie as their parameters do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

Rules = Mapping[str, P]
"""The end of a parameter's path, a regular expression -> how it lies; the first that fits counts, others are whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandWritten:
    """One way to shard a model: sizes of the axes `data` and `model`, and the rules for its weights."""

    data: int
    model: int
    rules: Rules


def scanned(rules: Rules) -> Rules:
    """The same rules for layers that are stacked along a first dim."""
    stacked = {f"layers/.*{path}": P(None, *spec) for path, spec in rules.items() if not path.startswith("/")}
    return stacked | {path: spec for path, spec in rules.items() if path.startswith("/")}


def variants(tensor: Rules, fully: Rules, **more: HandWritten) -> dict[str, HandWritten]:
    """The usual ways: plain data parallel, fully sharded, and data x tensor on two meshes."""
    return {
        "data parallel": HandWritten(data=8, model=1, rules={}),
        "fully sharded": HandWritten(data=8, model=1, rules=fully),
        "data 4 x tensor 2": HandWritten(data=4, model=2, rules=tensor),
        "data 2 x tensor 4": HandWritten(data=2, model=4, rules=tensor),
        **more,
    }


VOCABULARY = {"/embed/embedding": P("model"), "/head/kernel": P(None, "model")}
ATTENTION = {
    "attention.*/(query|key|value)/kernel": P(None, "model"),
    "attention.*/(query|value)/bias": P("model"),
    "attention.*/out/kernel": P("model"),
}
FEED_FORWARD = {
    "mlp/(up|gate)/kernel": P(None, "model"),
    "mlp/up/bias": P("model"),
    "mlp/down/kernel": P("model"),
}
SPLIT_VOCABULARY = {"/embed/embedding": P("data"), "/head/kernel": P("data")}
SPLIT_LAYERS = {
    "attention.*/(query|key|value)/kernel": P("data"),
    "attention.*/out/kernel": P(None, None, "data"),
    "mlp/(up|gate)/kernel": P("data"),
    "mlp/down/kernel": P("data"),
}
SPLIT_LLAMA = SPLIT_VOCABULARY | SPLIT_LAYERS | {"attention.*/out/kernel": P(None, None, None, "data")}
SPLIT_EXPERTS = {"experts/(up|down)": P(None, "data"), "experts/router": P("data")}
EACH_EXPERT = {"experts/(up|down)": P("data")}
TENSOR_EXPERTS = {"experts/up": P(None, None, "model"), "experts/down": P(None, "model")}

MLP = {
    "Dense_0/kernel": P(None, "model"),
    "Dense_0/bias": P("model"),
    "Dense_1/kernel": P("model"),
}
SPLIT_MLP = {"Dense_./kernel": P("data")}
CHANNELS = {
    "Conv_1/kernel": P(None, None, None, "model"),
    "Conv_1/bias": P("model"),
    "GroupNorm_1/(scale|bias)": P("model"),
    "Conv_2/kernel": P(None, None, "model"),
}
SPLIT_CONVNET = {"Conv_./kernel": P(None, None, None, "data"), "Dense_0/kernel": P("data")}

BY_HAND: dict[str, dict[str, HandWritten]] = {
    "models.mlp:tiny": variants(MLP, SPLIT_MLP),
    "models.gpt:tiny_scanned": variants(
        scanned(ATTENTION | FEED_FORWARD | VOCABULARY), scanned(SPLIT_LAYERS | SPLIT_VOCABULARY)
    ),
    "models.vit:tiny": variants(ATTENTION | FEED_FORWARD, SPLIT_LAYERS | {"/embed/kernel": P("data")}),
    "models.llama:tiny": variants(ATTENTION | FEED_FORWARD | VOCABULARY, SPLIT_LLAMA),
    "models.moe:tiny_scanned": variants(
        scanned(ATTENTION | TENSOR_EXPERTS | VOCABULARY),
        scanned(SPLIT_LAYERS | SPLIT_EXPERTS | SPLIT_VOCABULARY),
        experts=HandWritten(data=8, model=1, rules=scanned(EACH_EXPERT)),
    ),
    "models.convnet:tiny": variants(CHANNELS, SPLIT_CONVNET),
}
"""Every model that `benchmarks.host` runs."""


def placed(step: Callable, args: tuple[Any, Any], way: HandWritten) -> tuple[Callable, Any, Any]:
    """The step, jitted for its state, which it is given for its own, and its batch; and both, sharded in one way."""
    at = shardings(args, way)
    made = jax.jit(step, in_shardings=at, out_shardings=(at[0], None), donate_argnums=0)
    return made, *jax.device_put(jax.device_get(args), at)  # from the host: between devices, each shape is a program


def shardings(args: tuple[Any, Any], way: HandWritten) -> tuple[Any, Any]:
    """How state and batch lie; their leaves may be shapes."""
    devices = np.array(jax.devices()).reshape(way.data, way.model)
    mesh = Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    state, batch = args
    state_at = jax.tree_util.tree_map_with_path(lambda path, _: NamedSharding(mesh, _spec(path, way.rules)), state)
    return state_at, jax.tree.map(lambda _: NamedSharding(mesh, P("data")), batch)


def _spec(path: tuple, rules: Rules) -> P:
    text = "/" + jax.tree_util.keystr(path, simple=True, separator="/")
    return next((spec for rule, spec in rules.items() if re.search(f"{rule}$", text)), P())
