"""Runs cases: traces each program once, prices all its strategies together."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from swplan.costmodel.chip import Chip, load_chip
from swplan.costmodel.cluster import Cluster
from swplan.errors import SwplanError, UsageError
from swplan.estimate.estimating import Costs, Estimator, Kind, product_flops
from swplan.estimate.template import examples
from swplan.ir.graph import Graph
from swplan.runtime.estimating import in_precision
from swplan.runtime.prepare import prepare
from swplan.runtime.trace import Statics
from swplan.validation.case import Case, Run
from swplan.validation.score import Scores, score
from swplan.validation.tables import FILES, PACKAGED, cases_of

SHAPES = ("batch", "seq", "layers", "hidden", "heads", "ffn", "vocab", "d_model", "kv_heads", "head_dim", "d_ff")
"""Keywords of programs that change shapes, not what is computed."""
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
    known: dict = field(default_factory=dict)

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
        key = (run.model, run.keywords, chip, run.strategy.precision)
        if key not in self.estimators:
            target = self.cluster(run.cluster)
            shapeless = tuple(pair for pair in run.keywords if pair[0] not in SHAPES)
            known = self.known.setdefault((run.model, shapeless, chip, run.strategy.precision), {})
            self.estimators[key] = Estimator(traced(run, target.chip), target, known)
        return self.estimators[key]

    def predict(self, cases: Sequence[Case]) -> np.ndarray:
        """What is predicted for each case, in its quantity.

        Raises:
            UsageError: a case cannot be priced.
        """
        found, problems = self.priced(cases)
        for problem in problems.values():
            raise problem
        return found

    def priced(self, cases: Sequence[Case]) -> tuple[np.ndarray, dict[int, UsageError]]:
        """What is predicted for each case, and why it cannot be priced, by position; such a one spoils no other."""
        groups = defaultdict(list)
        for position, case in enumerate(cases):
            run = case.run
            groups[run.model, run.keywords, run.cluster, run.strategy.precision, Kind.of(run.strategy)].append(position)
        found, problems = np.full(len(cases), np.nan), {}
        for done, ((model, *_), positions) in enumerate(groups.items()):
            if self.progress:
                self.progress(done, len(groups), f"{cases[positions[0]].table}: {model}")
            values, wrong = self.separated([cases[p] for p in positions])
            found[positions] = values
            problems |= {positions[at]: problem for at, problem in wrong.items()}
        return found, problems

    def separated(self, cases: Sequence[Case]) -> tuple[np.ndarray, dict[int, UsageError]]:
        """The same for cases of one group: together if that goes, else one by one."""
        try:
            values = np.asarray(self.together(cases))
        except Exception as error:  # A row may ask for any program, whose own errors are of any kind.
            if len(cases) == 1:
                return np.array([np.nan]), {0: _problem(cases[0], error)}
            pairs = [self.separated([case]) for case in cases]
            return np.concatenate([found for found, _ in pairs]), {
                at: wrong[0] for at, (_, wrong) in enumerate(pairs) if wrong
            }
        bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        return values, {int(at): UsageError(f"{cases[at].id}: predicted {values[at]}") for at in bad}

    def together(self, cases: Sequence[Case]) -> np.ndarray:
        """The same for cases of one program, cluster and kind of strategy."""
        run = cases[0].run
        costs = self.estimator(run).costs([case.run.strategy for case in cases], self.cluster(run.cluster))
        return np.array([self.figure(case, costs, at) for at, case in enumerate(cases)])

    def figure(self, case: Case, costs: Costs, at: int) -> float:
        """One figure of the run at a position."""
        seconds = float(costs.step_time_s[at])
        if case.against is not None:
            return float(self.seconds(case.against)) / seconds
        if case.quantity == "mem_gib":
            return (float(costs.peak_bytes[at]) + self.cluster(case.run.cluster).chip.reserved_bytes) / 2**30
        if case.quantity == "share":
            return float(costs.parts[case.part][at]) / seconds
        if case.quantity == "optimizer_s":
            return float(costs.parts["optimizer"][at])
        if case.quantity == "tflops_per_chip":
            flops = case.amount or self.useful_flops(case.run) / case.run.strategy.devices
            return flops / 1e12 / seconds
        return case.amount / seconds if case.amount else seconds

    def useful_flops(self, run: Run) -> float:
        """Products of a step as written, without what is recomputed."""
        graph = self.estimator(run).graph
        return product_flops(graph) * run.strategy.global_batch / examples(graph)

    def seconds(self, run: Run) -> float:
        """Step time of one run."""
        return self.estimator(run).costs([run.strategy], self.cluster(run.cluster)).step_time_s[0]


def _problem(case: Case, error: Exception) -> UsageError:
    """The error of a case in one line, its cause kept."""
    lines = str(error).strip().splitlines() or [""]
    kind = "" if isinstance(error, SwplanError) else f"{type(error).__name__}: "
    problem = UsageError(f"{case.id}: {kind}{lines[0]}")
    problem.__cause__ = error
    return problem


def traced(run: Run, chip: Chip) -> Graph:
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
    prepared = prepare(step, args, {}, Statics())
    return in_precision(prepared, run.strategy.precision, chip)[0]


def validated(files: Sequence[Path], progress: Progress | None = None) -> Scores:
    """Scores of tables; of those that come with swplan where no files are given.

    Rows that cannot be priced are left out with the reason.

    Raises:
        UsageError: a file cannot be read.
    """
    sources = list(files) or [PACKAGED / name for name in FILES]
    pairs = [cases_of(path) for path in sources]
    cases = [case for found, _ in pairs for case in found]
    predicted, problems = Runner(progress=progress).priced(cases)
    kept = [at for at in range(len(cases)) if at not in problems]
    priced = [cases[at] for at in kept]
    chips = {case.run.cluster.partition(":")[0] for case in priced}
    fitted = {name: len(load_chip(name).fitted) for name in sorted(chips)}
    left = [text for _, texts in pairs for text in texts] + [str(problem) for problem in problems.values()]
    return score(priced, predicted[kept], fitted, left)
