"""Estimates strategies of a step: traces it, puts it in the precision that a strategy names, and prices it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swplan.costmodel.chip import Chip
from swplan.costmodel.cluster import Cluster
from swplan.errors import UsageError
from swplan.estimate.estimating import Estimator, check, product_flops
from swplan.estimate.result import Estimate
from swplan.estimate.strategy import Strategy
from swplan.estimate.writing import Priced, dominant_precision
from swplan.ir.graph import Graph
from swplan.passes.precision import WIDER_THAN_FP8, classes_of
from swplan.plan import Precision
from swplan.runtime.options import cluster_of, parsed
from swplan.runtime.precise import applied, chosen
from swplan.runtime.prepare import Prepared, prepare
from swplan.runtime.trace import Statics

POLICY = {"as_written": "fp32", "layered": "auto"}
"""Words of strategies that `swplan.plan` has other words for."""


@dataclass(slots=True)
class Estimating:
    """A traced step, of which many strategies are asked; what they share is made once.

    Attributes:
        prepared: the step.
        cluster: on which what strategies leave open is decided.
    """

    prepared: Prepared
    cluster: Cluster
    _priced: dict[tuple[str, str], Priced] = field(default_factory=dict)

    def estimate(self, strategy: Strategy, cluster: Cluster | None = None) -> Estimate:
        """The estimate of one strategy, in detail, on this cluster or another of the same chip.

        Raises:
            UsageError: the strategy does not go with the program or the cluster.
        """
        target = cluster or self.cluster
        check(strategy, target)
        return self.priced(strategy.precision, target).detailed(strategy, target)

    def estimates(self, strategies: Sequence[Strategy], cluster: Cluster | None = None) -> list[Estimate]:
        """Estimates of many strategies, without details.

        Raises:
            UsageError: as `estimate`.
        """
        target = cluster or self.cluster
        found: dict[int, Estimate] = {}
        for precision in sorted({strategy.precision for strategy in strategies}):
            own = [p for p, strategy in enumerate(strategies) if strategy.precision == precision]
            made = self.priced(precision, target).estimates([strategies[p] for p in own], target)
            found |= dict(zip(own, made, strict=True))
        return [found[position] for position in range(len(strategies))]

    def priced(self, precision: str, cluster: Cluster) -> Priced:
        """The program in a precision, ready for the chip of a cluster."""
        key = (precision, cluster.chip.name)
        if key not in self._priced:
            own = self.cluster if self.cluster.chip.name == cluster.chip.name else cluster
            graph, assumed = in_precision(self.prepared, precision, own.chip)
            step = self.prepared.step
            self._priced[key] = Priced(
                name=getattr(step, "__name__", type(step).__name__),
                estimator=Estimator(graph, own),
                flops=product_flops(self.prepared.program.graph),
                precision=dominant_precision(graph),
                assumed=assumed,
            )
        return self._priced[key]


def in_precision(prepared: Prepared, precision: str, chip: Chip) -> tuple[Graph, tuple[str, ...]]:
    """The program in the precision of a strategy, and what is assumed of it.

    Args:
        prepared: the step as written.
        precision: one of `strategy.PRECISIONS`.
        chip: whose prices decide, for "auto" and "layered".
    """
    graph = prepared.program.graph
    if precision == "fp8":
        present = sorted(set(classes_of(graph, WIDER_THAN_FP8).values()) - {"attention"})
        decided = Precision(policy=precision, classes=dict.fromkeys(present, "fp8"), loss_scaling=False, why="")
        return applied(decided, prepared.program).graph, () if present else (_unchanged(precision),)
    policy = POLICY.get(precision, precision)
    if policy == "fp32":
        return graph, ()
    decided = chosen(graph, chip, policy, unscalable=prepared.scalable)
    if not decided.classes:
        return graph, (_unchanged(precision),)
    return prepared.exact(decided).graph, (f"precision {precision}: {decided.why}",)


def _unchanged(precision: str) -> str:
    return f"precision {precision} changes nothing: the program has no products that are wide enough for it"


def estimate(
    step: Callable,
    *args: Any,
    cluster: Cluster | str,
    strategy: Strategy | str,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    **kwargs: Any,
) -> Estimate:
    """Prices one strategy for a step; nothing is allocated, searched or run.

    Args:
        step: a function of pytrees, as for `swplan.plan`.
        *args: its arguments: arrays, or `jax.ShapeDtypeStruct`s.
        cluster: the target: a spec such as "sw26010pro:nodes=8", or a `Cluster`.
        strategy: a `Strategy`, or its text: "mesh=model:8/data:16 zero=1"; axes are innermost first.
        static_argnums: positions of static arguments, as for `jax.jit`.
        static_argnames: names of static arguments, as for `jax.jit`.
        **kwargs: keyword arguments of the step.

    Raises:
        UsageError: the strategy makes no sense, or does not go with the step or the cluster.
        SwplanError: the step cannot be traced.
    """
    target, wanted = cluster_of(cluster), as_strategy(strategy)
    check(wanted, target)
    return estimating(step, args, kwargs, target, static_argnums, static_argnames).estimate(wanted)


def estimating(
    step: Callable,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    cluster: Cluster,
    argnums: int | Sequence[int] = (),
    argnames: str | Sequence[str] = (),
) -> Estimating:
    """Traces a step, to be asked for many strategies.

    Raises:
        SwplanError: it cannot be traced.
    """
    step = getattr(step, "undecorated", step)
    if not callable(step):
        raise UsageError(f"a step is a function of pytrees, not {type(step).__name__}")
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
    return Estimating(prepare(step, args, kwargs, Statics(argnums=numbers, argnames=names)), cluster)


def as_strategy(strategy: Strategy | str) -> Strategy:
    """A strategy, read if it is a text.

    Raises:
        UsageError: the text is wrong; says how.
    """
    return parsed(Strategy, strategy, "mesh=data:8 zero=1")
