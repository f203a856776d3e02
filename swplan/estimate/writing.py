"""Writes down what strategies cost as Estimates; those of one kind are priced together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from swplan.costmodel.cluster import Cluster
from swplan.estimate.assumed import assumptions
from swplan.estimate.detail import Detail, exchanges_of, mesh_of, ops_of
from swplan.estimate.estimating import Costs, Estimator, Kind, product_flops
from swplan.estimate.result import Estimate
from swplan.estimate.strategy import Strategy
from swplan.estimate.template import examples
from swplan.ir.graph import Graph, walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """A program that is ready to be priced.

    Attributes:
        name: of the step.
        estimator: of the program in its precision.
        flops: of the matrix products that a traced step needs.
        precision: in which most of them run.
        assumed: what is assumed of it under any strategy.
    """

    name: str
    estimator: Estimator
    flops: float
    precision: str
    assumed: tuple[str, ...] = ()

    def estimates(self, strategies: Sequence[Strategy], cluster: Cluster) -> list[Estimate]:
        """Estimates of many strategies, in their order, without details.

        Raises:
            UsageError: one does not go with the program or the cluster.
        """
        kinds: dict[Kind, list[int]] = defaultdict(list)
        for position, strategy in enumerate(strategies):
            kinds[Kind.of(strategy)].append(position)
        found: dict[int, Estimate] = {}
        for kind, positions in kinds.items():
            costs = self.estimator.costs([strategies[p] for p in positions], cluster)
            flops = self.flops_at(kind.capacity)
            found |= {p: self._estimate(strategies[p], cluster, costs, i, flops) for i, p in enumerate(positions)}
        return [found[position] for position in range(len(strategies))]

    def flops_at(self, capacity: float) -> float:
        """Operations that a step needs where experts have other slots than those traced."""
        graph = self.estimator.graph
        return self.flops * product_flops(graph, capacity) / product_flops(graph) if capacity else self.flops

    def detailed(self, strategy: Strategy, cluster: Cluster) -> Estimate:
        """The estimate of one strategy with its ops, exchanges and assumptions.

        Raises:
            UsageError: the strategy does not go with the program or the cluster.
        """
        (estimate,) = self.estimates([strategy], cluster)
        prices = self.estimator.prices(strategy, cluster.chip)
        detail = Detail(prices, self.estimator.batch([strategy]), cluster)
        return msgspec.structs.replace(
            estimate,
            mesh=mesh_of(detail),
            ops=ops_of(detail),
            collectives=exchanges_of(detail),
            assumed=(*self.assumed, *assumptions(detail, strategy, self.estimator.cluster)),
        )

    def _estimate(self, strategy: Strategy, cluster: Cluster, costs: Costs, at: int, flops: float) -> Estimate:
        graph, chip = self.estimator.graph, cluster.chip
        breakdown = {part: float(seconds[at]) for part, seconds in costs.parts.items()}
        step_time_s = sum(breakdown.values())
        scale = strategy.global_batch / examples(graph) if strategy.global_batch else 1.0
        flops_per_s = flops * scale / step_time_s
        return Estimate(
            step=self.name,
            cluster=cluster.spec,
            strategy=str(strategy),
            devices=cluster.devices,
            mesh=(),
            step_time_s=step_time_s,
            breakdown=breakdown,
            flops_per_s=flops_per_s,
            precision=self.precision,
            share_of_peak=flops_per_s / (cluster.devices * chip.flops_per_s[self.precision]),
            peak_memory_bytes=int(costs.peak_bytes[at]),
            memory={role: int(held[at]) for role, held in sorted(costs.by_role.items())},
            capacity_bytes=chip.memory_bytes,
            fitted_parameters=chip.fitted,
            assumed=self.assumed,
        )


def dominant_precision(graph: Graph) -> str:
    """The precision of the operands of most matrix products, by operations; "fp32" where there are none."""
    totals: dict[str, int] = defaultdict(int)
    for op, trips in walk(graph.top):
        if op.rule is not None and op.rule.work.unit == "matmul":
            totals[graph.avals[op.operands[0]].precision] += op.rule.points * int(op.rule.work.per_point) * trips
    return max(sorted(totals), key=totals.__getitem__, default="fp32")
