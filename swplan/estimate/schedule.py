"""Schedule: how the parts of a step follow one another, on pipeline stages, with exchanges beside computing.

A step is `micro` forward and backward passes and one optimizer. With `p` pipeline stages of `v` chunks, 1F1B keeps a
stage busy for all micro-batches and idle for `(p - 1) / v` of them (Narayanan et al., SC 2021, arXiv 2104.04473,
section 2.2). An exchange beside computing costs what it takes longer, and its first piece, which nothing hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.estimate.batch import PIPE, Alike, Batch, parts_of
from swplan.estimate.groups import lines_of, members_per_tier
from swplan.estimate.pricing import Cause, Prices, Seconds, runs, seconds_of
from swplan.estimate.rows import GATHER, STEP
from swplan.estimate.waiting import waits_of

PARTS = (
    "data", "forward", "forward_communication", "backward", "backward_communication", "optimizer", "bubble",
)  # fmt: skip
"""Where the time of a step goes; they add up to it."""
SUMMED = ("data", "replica")
"""Axes over which gradients are summed once a step."""
Parts = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class _Schedule:
    """What a step is put together of.

    prices, batch: of what. seconds: of a step on the fullest stage, of all micro-batches [S], by cause. share: of the
    layers, what that stage holds [S]. transfer_s: see `transfer_s`. overlap: axes whose exchanges are hidden.
    """

    prices: Prices
    batch: Batch
    seconds: Seconds
    share: np.ndarray
    transfer_s: np.ndarray
    overlap: tuple[str, ...]

    @property
    def layers(self) -> int:
        """Layers, at least one."""
        return max(1, self.prices.rows.layers)

    def total(self, wanted: Callable[[Cause], bool]) -> np.ndarray:
        """Seconds of the causes wanted [S]."""
        return _sum((s for cause, s in self.seconds.items() if wanted(cause)), self.batch.count)

    def work(self, stage: str) -> np.ndarray:
        """Seconds in which the device itself works [S]."""
        return self.total(lambda cause: cause.stage == stage and cause.axis in ("", "local"))

    def exposed(self, stage: str, axis: str, beside: np.ndarray) -> np.ndarray:
        """Seconds of exchanges along an axis that computing does not hide [S]."""
        busy = self.total(lambda c: c.stage == stage and c.axis == axis and not self.is_once(c))
        return self.hidden(axis, busy, beside, self.pieces(axis))

    def hidden(self, axis: str, busy: np.ndarray, beside: np.ndarray, pieces: np.ndarray) -> np.ndarray:
        """What is left of exchanges beside computing: the first of their pieces, and what takes longer."""
        if not {axis, f"{axis}_half"} & set(self.overlap):
            return busy
        first = busy / pieces
        return np.minimum(busy, first + np.maximum(0.0, busy - first - beside))

    def pieces(self, axis: str) -> np.ndarray:
        """In how many pieces exchanges come [S]: one a layer; along the model axis one for each device of the ring.

        Where products are cut no finer than in two ("model_half"), half of an exchange waits for its product.
        """
        if axis == "model":
            halves = "model_half" in self.overlap
            return np.full(self.batch.count, 2.0) if halves else np.maximum(1.0, self.batch.degree("model"))
        return np.maximum(1.0, self.layers * self.share)

    def sums(self) -> np.ndarray:
        """Seconds of what is exchanged once a step over the axes of the batch, besides its computing [S].

        Gradients run beside the backward pass of the last micro-batch, parameters beside the next forward pass.
        """
        beside = (self.work("forward") + self.work("backward")) / self.batch.micro
        found = np.zeros(self.batch.count)
        for axis in SUMMED:
            busy = self.total(lambda c, axis=axis: c.axis == axis and self.is_once(c))
            found = found + self.hidden(axis, busy, beside, self.pieces(axis))
        return found

    def is_once(self, cause: Cause) -> bool:
        """Whether an exchange belongs to the update: sums of gradients, and parameters gathered once a step."""
        if cause.axis not in SUMMED or cause.stage == "optimizer":
            return cause.axis in SUMMED
        gathered = cause.rate == GATHER and self.batch.zero != 3
        return gathered or (cause.rate == STEP and cause.stage == "backward")


def step_parts(
    prices: Prices, batch: Batch, like: Alike, cluster: Cluster, overlap: tuple[str, ...], *, eager: bool
) -> Parts:
    """The parts of a step [S], by name; see `PARTS`.

    Args:
        prices: of the rows.
        batch: the strategies.
        like: those of them that differ.
        cluster: the network.
        overlap: axes whose exchanges run beside computing.
        eager: whether the host starts every op.
    """
    plan = _schedule(prices, batch, like, cluster, overlap, eager)
    found: Parts = {part: np.zeros(batch.count) for part in PARTS}
    for stage in ("forward", "backward"):
        found[stage] = plan.work(stage)
        axes = {c.axis for c in plan.seconds if c.stage == stage and c.axis not in ("", "local")}
        exposed = _sum((plan.exposed(stage, axis, found[stage]) for axis in sorted(axes)), batch.count)
        found[f"{stage}_communication"] = exposed + _transfers(plan)
        found[stage] = found[stage] + (_issue_s(plan, stage, found) if eager else 0.0)
    others = plan.total(lambda c: c.stage == "optimizer" and c.axis not in ("", "local", *SUMMED))
    found["optimizer"] = plan.work("optimizer") + others + plan.sums()
    found["data"] = np.full(batch.count, prices.chip.storage_s)
    found["bubble"] = _bubble(plan, eager)
    return found


def _schedule(
    prices: Prices, batch: Batch, like: Alike, cluster: Cluster, overlap: tuple[str, ...], eager: bool
) -> _Schedule:
    """Prices one of those that are alike, and hands its seconds on to the others."""
    small, which = like
    layers = max(1, prices.rows.layers)
    share = np.ceil(layers / (batch.degree(PIPE) * batch.interleave)) * batch.interleave / layers
    priced = seconds_of(prices, small, cluster)
    for cause, waited in (waits_of(prices, small) if eager else {}).items():
        priced[cause] = priced[cause] + waited
    seconds = {
        cause: one[which] * runs(cause, batch) * (share if cause.layered else 1.0) for cause, one in priced.items()
    }
    return _Schedule(prices, batch, seconds, share, transfer_s(prices, small, cluster)[which], overlap)


def _sum(arrays: Iterable[np.ndarray], count: int) -> np.ndarray:
    return sum(arrays, start=np.zeros(count))


def _transfers(plan: _Schedule) -> np.ndarray:
    """Seconds that one pass of all micro-batches waits for its neighbours in the pipeline [S]."""
    batch = plan.batch
    seconds = plan.transfer_s * batch.interleave * batch.micro
    return np.where(batch.degree(PIPE) > 1, 0.0 if PIPE in plan.overlap else seconds, 0.0)


def transfer_s(prices: Prices, batch: Batch, cluster: Cluster) -> np.ndarray:
    """Seconds to hand what goes from layer to layer to the next pipeline stage [S]."""
    if PIPE not in batch.degrees:
        return np.zeros(batch.count)
    members = members_per_tier(cluster, batch.degrees, batch.order, frozenset({PIPE}))
    alpha_s, beta_s_per_byte = lines_of("permute", members, cluster)
    return (alpha_s + beta_s_per_byte * border_bytes(prices, batch)).min(axis=0)


def border_bytes(prices: Prices, batch: Batch) -> np.ndarray:
    """Bytes that one device hands to the next stage for a micro-batch [S]; devices along the model axis share them."""
    found = np.zeros(batch.count)
    for whole, layout in prices.rows.border:
        axes = {axis for axis, entry in zip(prices.axes, layout, strict=True) if entry >= 0} - {"model"}
        found = found + whole / (parts_of(axes, batch, True) * batch.degree("model"))
    return found


def _issued_s(plan: _Schedule, stages: tuple[str, ...] = ("forward", "backward"), rest: bool = False) -> np.ndarray:
    """Seconds in which the host starts the ops and exchanges of the layers (with `rest`: of all) of a stage [S]."""
    started = np.zeros(plan.batch.count)
    for cause, count in plan.prices.sorted.issued.items():
        if cause.stage in stages and (cause.layered or rest):
            started = started + count * runs(cause, plan.batch) * (plan.share if cause.layered else 1.0)
    return started * plan.prices.chip.issue_s


def _issue_s(plan: _Schedule, stage: str, found: Parts) -> np.ndarray:
    """Seconds that a pass takes longer because the host has to start every op and exchange of it [S]."""
    busy = found[stage] + found[f"{stage}_communication"]
    return np.maximum(0.0, _issued_s(plan, (stage,), rest=True) - busy)


def _bubble(plan: _Schedule, eager: bool) -> np.ndarray:
    """Seconds that a stage is idle while the pipeline fills and drains [S]."""
    batch = plan.batch
    layered = plan.total(lambda c: c.layered and c.stage != "optimizer" and not plan.is_once(c)) / batch.micro
    layered = np.maximum(layered, _issued_s(plan) / batch.micro if eager else 0.0)
    waits = (batch.degree(PIPE) - 1) / batch.interleave
    return layered * waits + np.where(waits > 0, 2 * plan.transfer_s * waits, 0.0)
