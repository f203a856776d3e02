"""Finds the numbers of a chip with which the cost model comes nearest to measured times.

Nearest in the mean square of the logarithm of the ratio: a factor of two counts alike for short and long runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from swplan.costmodel.chip import PACKAGED
from swplan.costmodel.cluster import Cluster
from swplan.costmodel.collectives import collective_time_s
from swplan.costmodel.network import Group
from swplan.costmodel.tiling import Tiling
from swplan.costmodel.work import Matmul

Shape = tuple[int, int, int, int]
"""Of products: `batch` times `[m, k] x [k, n]`, in this order."""


def shortest(seconds: Sequence[float]) -> list[float]:
    """Times of growing buffers, none longer than that of a larger one: what is, something else has lengthened."""
    return np.minimum.accumulate(np.array(seconds)[::-1])[::-1].tolist()


def fit_link(
    kind: str, members: int, buffer_bytes: Sequence[int], seconds: Sequence[float], *, rendezvous_s: float = 0.0
) -> tuple[float, float]:
    """The latency and bandwidth of a link.

    Args:
      kind: of collective.
      members: of its group, all in the tier `host`.
      buffer_bytes: of the measured exchanges.
      seconds: of each.
      rendezvous_s: how much of that is not of messages.

    Returns:
      (latency in seconds, bytes per second).
    """
    chip = PACKAGED / "host.toml"
    cluster = Cluster.parse(f"{chip}:devices={members},network.host.rendezvous_s={rendezvous_s!r}")
    sizes, measured = np.array(buffer_bytes, float), np.array(seconds)
    keys = [f"network.host.{kind}_{what}" for what in ("latency_s", "bytes_per_s")]

    def misfit(logs: np.ndarray) -> float:
        priced = cluster.replace(dict(zip(keys, np.exp(logs).tolist(), strict=True)))
        predicted, _ = collective_time_s(kind, Group(per_tier=(members,)), sizes, priced)
        return float(np.mean(np.log(predicted / measured) ** 2))

    starts = [np.log([measured.min() / steps, sizes.max() / measured.max()]) for steps in (1, members)]
    found = min((minimize(misfit, start, method="Nelder-Mead") for start in starts), key=lambda result: result.fun)
    latency_s, bytes_per_s = np.exp(found.x).tolist()
    return latency_s, bytes_per_s


def fit_products(shapes: Sequence[Shape], rates: Sequence[float]) -> tuple[float, float]:
    """What products lose to their sides and to a short sum, each being one tile (`costmodel.tiling`).

    Args:
      shapes: of the measured products.
      rates: operations per second of each.

    Returns:
      (edge, depth), elements.
    """
    measured = np.log(rates)

    def misfit(logs: np.ndarray) -> float:
        edge, depth = np.exp(logs).tolist()
        return float(np.var(measured + np.log(losses(shapes, edge, depth))))  # the rate of an endless product is free

    starts = [np.log([edge, depth]) for edge in (1.0, 10.0) for depth in (1.0, 30.0)]
    found = min((minimize(misfit, start, method="Nelder-Mead") for start in starts), key=lambda result: result.fun)
    edge, depth = np.exp(found.x).tolist()
    return edge, depth


def losses(shapes: Sequence[Shape], edge: float, depth: float) -> np.ndarray:
    """How many times longer each product takes than at the rate of an endless one."""
    batch, m, k, n = np.array(shapes, float).T
    matmul = Matmul(batch=batch, m=m, k=k, n=n, precision="fp32")
    tiling = Tiling(units=1, tile=0, edge=edge, depth=depth)
    return np.asarray(tiling.seconds(matmul, 1.0, lambda size: size)) / matmul.flops
