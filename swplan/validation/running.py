"""Runs cases: traces each program once, prices all its strategies together."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from swplan.costmodel.cluster import Cluster
from swplan.errors import UsageError
from swplan.estimate.estimating import Costs, Estimator, Kind
from swplan.runtime.prepare import prepare
from swplan.runtime.trace import Statics
from swplan.validation.case import Case, Run

Progress = Callable[[int, int, str], None]


@dataclass(slots=True)
class Runner:
    """Prices runs.

    Attributes:
        progress: called with (done, total, text).
        overrides: numbers of chips that replace those of their files, by chip, for fitting.
    """

    progress: Progress | None = None
    overrides: dict[str, dict[str, float]] = field(default_factory=dict)
    estimators: dict = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)

    def cluster(self, spec: str) -> Cluster:
        """A cluster, with the overrides of its chip."""
        if spec not in self.clusters:
            self.clusters[spec] = Cluster.parse(spec)
        cluster = self.clusters[spec]
        numbers = self.overrides.get(cluster.chip.name)
        return cluster.replace({k: v for k, v in numbers.items() if k not in spec}) if numbers else cluster

    def estimator(self, run: Run) -> Estimator:
        """The estimator of a run's program on its chip; traced the first time."""
        chip = run.cluster.partition(":")[0]
        key = (run.model, run.keywords, chip)
        if key not in self.estimators:
            self.estimators[key] = Estimator(traced(run), self.cluster(run.cluster))
        return self.estimators[key]

    def predict(self, cases: Sequence[Case]) -> np.ndarray:
        """What is predicted for each case, in its quantity."""
        groups = defaultdict(list)
        for position, case in enumerate(cases):
            run = case.run
            groups[run.model, run.keywords, run.cluster, Kind.of(run.strategy)].append(position)
        found = np.zeros(len(cases))
        for done, ((model, *_), positions) in enumerate(groups.items()):
            if self.progress:
                self.progress(done, len(groups), f"{cases[positions[0]].table}: {model}")
            found[positions] = self.together([cases[p] for p in positions])
        return found

    def together(self, cases: Sequence[Case]) -> np.ndarray:
        """The same for cases of one program, cluster and kind of strategy."""
        run = cases[0].run
        costs = self.estimator(run).costs([case.run.strategy for case in cases], self.cluster(run.cluster))
        return np.array([_quantity(case, costs, at) for at, case in enumerate(cases)])


def traced(run: Run):
    """The graph of a run's program.

    Raises:
        UsageError: the model cannot be imported.
    """
    module, _, name = run.model.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import {run.model}: {error}; run this where the folder models/ is") from error
    step, args = function(**dict(run.keywords))
    return prepare(step, args, {}, Statics()).program.graph


def _quantity(case: Case, costs: Costs, at: int) -> float:
    if case.quantity == "mem_gib":
        return float(costs.peak_bytes[at]) / 2**30
    seconds = float(costs.step_time_s[at])
    return case.amount / seconds if case.amount else seconds
