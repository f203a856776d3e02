"""The verb that prices a strategy, and what `whatif` does with one: nothing is searched, so many are priced at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from swplan.cli import programs
from swplan.cli.options import Html, Json, Model, Settings, Spec, Top
from swplan.cli.output import Report, emit, progress
from swplan.cli.settings import Pairs, apply, pairs, strategy_with, texts
from swplan.costmodel import Cluster
from swplan.errors import UsageError
from swplan.estimate.result import Estimate
from swplan.estimate.strategy import Strategy
from swplan.views.estimate import comparison_parts, estimate_parts
from swplan.views.report import TOP
from swplan.views.sweep import Trial, sweep_json, sweep_parts

StrategyText = Annotated[
    str, typer.Option("--strategy", metavar="TEXT", help="For example 'mesh=model:8/data:16 zero=1', innermost first.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """A program on a cluster under a strategy, and what was traced of it, by the arguments of the program."""

    program: programs.Program
    cluster: Cluster
    strategy: Strategy
    traced: dict[str, Any] = field(default_factory=dict)

    def point(self, settings: Pairs) -> tuple[str, Cluster, Strategy]:
        """What settings make: a traced program (by its key), a cluster and a strategy.

        Raises:
            SwplanError: a setting or the program is wrong.
        """
        from swplan.runtime.estimating import estimating

        strategy, others = strategy_with(self.strategy, settings)
        cluster, keywords = apply(others, self.cluster, self.program)
        key = repr(sorted(keywords.items()))
        if key not in self.traced:
            step, args = self.program.make(keywords)
            self.traced[key] = estimating(step, args, {}, self.cluster)
        return key, cluster, strategy

    def estimate(self, settings: Pairs) -> Estimate:
        """The estimate with some settings, in detail.

        Raises:
            SwplanError: a setting or the program is wrong, or the strategy does not go with it.
        """
        key, cluster, strategy = self.point(settings)
        return self.traced[key].estimate(strategy, cluster)

    def trials(self, asked: Sequence[Pairs], report: Report) -> list[Trial]:
        """One trial for each list of settings; those of one program and cluster are priced together."""
        groups: dict[tuple[str, str], list] = defaultdict(list)
        for position, settings in enumerate(asked):
            key, cluster, strategy = self.point(settings)
            groups[key, cluster.spec].append((position, cluster, strategy))
        found: dict[int, Trial] = {}
        for (key, _), points in groups.items():
            report(len(found), len(asked), "pricing")
            found |= self.group(key, points, asked)
        return [found[position] for position in range(len(asked))]

    def group(self, key: str, points: Sequence[tuple], asked: Sequence[Pairs]) -> dict[int, Trial]:
        """The trials of one program on one cluster by position; one by one where not all strategies go with it."""
        cluster = points[0][1]
        try:
            made = self.traced[key].estimates([strategy for _, _, strategy in points], cluster)
        except UsageError as error:
            if len(points) == 1:
                position = points[0][0]
                return {position: Trial(settings=asked[position], made=None, problem=str(error))}
            return {p: trial for point in points for p, trial in self.group(key, [point], asked).items()}
        return {
            position: Trial(settings=asked[position], made=estimate)
            for (position, _, _), estimate in zip(points, made, strict=True)
        }


def pricing(model: str, cluster: str, strategy: str) -> Pricing:
    """What is to be priced.

    Raises:
        SwplanError: one of the three texts is wrong.
    """
    target, wanted = Cluster.parse(cluster), Strategy.parse(strategy)
    return Pricing(program=programs.load(model), cluster=target, strategy=wanted)


def estimate(
    model: Model,
    cluster: Spec,
    strategy: StrategyText,
    json: Json = "",
    html: Html = "",
    top: Top = TOP,
    settings: Settings = [],  # noqa: B006 (typer reads it and never changes it)
) -> None:
    """Price one strategy for a model on a cluster: step time, where it goes, memory; nothing is searched."""
    asked = pricing(model, cluster, strategy)
    with progress():
        made = asked.estimate(pairs(settings, "--set"))
    parts = estimate_parts(made, top=top)
    emit(parts, json=json, data=made.to_json(), html=html, title=f"Estimate of {made.step}")


def compare(asked: Pricing, fixed: Pairs, json: str, html: str) -> None:
    """Shows a strategy as given beside the same with some settings."""
    with progress():
        before, after = asked.estimate(()), asked.estimate(fixed)
    trials = [Trial(settings=(), made=before), Trial(settings=fixed, made=after)]
    parts = comparison_parts(before, after, changed=texts(fixed))
    emit(parts, json=json, data=sweep_json(trials), html=html, title="What if")


def sweep(asked: Pricing, points: Sequence[Pairs], json: str, html: str) -> None:
    """Shows a strategy as given, and with each list of settings."""
    with progress() as report:
        trials = asked.trials([(), *points], report)
    problems = {trial.problem for trial in trials if trial.made is None}
    if all(trial.made is None for trial in trials):
        raise UsageError(sorted(problems)[0])
    emit(sweep_parts(trials), json=json, data=sweep_json(trials), html=html, title="What if")


VERBS = (estimate,)
