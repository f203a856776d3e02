"""The verbs that plan: plan, whatif, calibrate, demo. JAX is imported when one of them runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from swplan.cli import estimating, programs
from swplan.cli.options import Html, Json, Model, Settings, Spec, Top
from swplan.cli.output import Report, emit, progress
from swplan.cli.settings import MOST_ESTIMATES, MOST_PLANS, Pairs, apply, combinations, pairs, texts
from swplan.costmodel import Cluster
from swplan.errors import InfeasibleError, UsageError
from swplan.plan import Plan
from swplan.views.diff import diff_parts, difference
from swplan.views.parts import Section, Text
from swplan.views.report import TOP, plan_parts
from swplan.views.sweep import Trial, sweep_json, sweep_parts

Sweeps = Annotated[list[str], typer.Option("--sweep", metavar="KEY=V1,V2", help="One plan or estimate for each value.")]
Strategy = Annotated[
    str, typer.Option("--strategy", metavar="TEXT", help="Price this strategy, without planning; see estimate.")
]
Baseline = Annotated[str, typer.Option(help="Take the best plan of this kind instead, for example data_parallel.")]
MicroBatches = Annotated[
    int, typer.Option("--micro-batches", min=0, help="Run the batch in so many parts; 0: by time and memory.")
]
Recompute = Annotated[
    str,
    typer.Option("--recompute", help="Of the forward pass in the backward pass: auto, nothing or everything."),
]
MaxAxes = Annotated[
    int,
    typer.Option(
        "--max-axes", min=0, help="Look at meshes of so many axes in any case; 0: of two, of three if need be."
    ),
]
TimeLimit = Annotated[
    float | None, typer.Option("--time-limit", min=0, help="Seconds after which the best plan so far is taken.")
]
PrecisionName = Annotated[
    str, typer.Option("--precision", help="auto, fp32, bf16 or fp16; or by class and layer: dense=bf16,*/head=fp32.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be planned: a program on a cluster, with the options of `swplan.plan`."""

    program: programs.Program
    cluster: Cluster
    options: dict[str, Any]

    def answer(self, settings: Pairs, report: Report) -> Plan:
        """The plan with some numbers changed.

        Raises:
          InfeasibleError: nothing fits.
          SwplanError: a setting or the program is wrong.
        """
        from swplan.api import plan

        cluster, keywords = apply(settings, self.cluster, self.program)
        step, args = self.program.make(keywords)
        return plan(step, *args, cluster=cluster, progress=report, **self.options)

    def trial(self, settings: Pairs, report: Report) -> Trial:
        """The plan, or why there is none."""
        try:
            return Trial(settings=settings, made=self.answer(settings, report))
        except InfeasibleError as error:
            return Trial(settings=settings, made=None, problem=str(error))


def _question(model: str, cluster: str, baseline: str, precision: str, **variant: Any) -> Question:
    target = Cluster.parse(cluster)
    by_name = dict(pairs(precision.split(","), "--precision")) if "=" in precision else precision
    options = {"baseline": baseline or None, "precision": by_name, **variant}
    return Question(program=programs.load(model), cluster=target, options=options)


def plan(
    model: Model,
    cluster: Spec,
    json: Json = "",
    html: Html = "",
    top: Top = TOP,
    baseline: Baseline = "",
    precision: PrecisionName = "auto",
    micro_batches: MicroBatches = 0,
    recompute: Recompute = "auto",
    max_axes: MaxAxes = 0,
    time_limit: TimeLimit = None,
    settings: Settings = [],  # noqa: B006 (typer reads it and never changes it)
) -> None:
    """Plan a model on a cluster and show the plan; --json FILE keeps it for the other verbs."""
    variant = {"micro_batches": micro_batches or None, "recompute": recompute}
    variant |= {"max_axes": max_axes or None, "time_limit": time_limit}
    question = _question(model, cluster, baseline, precision, **variant)
    with progress() as report:
        made = question.answer(pairs(settings, "--set"), report)
    emit(plan_parts(made, top=top), json=json, data=made.to_json(), html=html, title=f"Plan of {made.step}")


def whatif(
    model: Model,
    cluster: Spec,
    settings: Settings = [],  # noqa: B006
    sweep: Sweeps = [],  # noqa: B006
    json: Json = "",
    html: Html = "",
    strategy: Strategy = "",
    baseline: Baseline = "",
    precision: PrecisionName = "auto",
) -> None:
    """Plan a model, or price a strategy, with other numbers of chip, network or model, and show the difference."""
    fixed, varied = pairs(settings, "--set"), combinations(sweep, MOST_ESTIMATES if strategy else MOST_PLANS)
    if not fixed and not varied:
        raise UsageError("whatif needs --set KEY=VALUE or --sweep KEY=V1,V2,...")
    if strategy:
        _price(estimating.pricing(model, cluster, strategy), fixed, varied, json, html, baseline, precision)
        return
    question = _question(model, cluster, baseline, precision)
    with progress() as report:
        given = question.trial((), _stage(report, "as given"))
        asked = [fixed + each for each in varied] or [fixed]
        trials = [question.trial(each, _stage(report, texts(each))) for each in asked]
    if varied:
        every = [given, *trials]
        emit(sweep_parts(every), json=json, data=sweep_json(every), html=html, title="What if")
    else:
        _emit_difference(given, trials[0], json, html)


def _price(
    asked: estimating.Pricing,
    fixed: Pairs,
    varied: tuple[Pairs, ...],
    json: str,
    html: str,
    baseline: str,
    precision: str,
) -> None:
    if baseline or precision != "auto":
        raise UsageError("--baseline and --precision are for planning; with --strategy, write precision= in its text")
    if varied:
        estimating.sweep(asked, [fixed + each for each in varied], json, html)
    else:
        estimating.compare(asked, fixed, json, html)


def _stage(report: Report, text: str) -> Report:
    """The same progress with a text in front."""
    return lambda done, total, what: report(done, total, f"{text}: {what}")


def _emit_difference(given: Trial, changed: Trial, json: str, html: str) -> None:
    if changed.made is None:
        raise InfeasibleError(f"with {texts(changed.settings)}: {changed.problem}")
    if given.made is None:
        problem = Text(text=f"As given, nothing fits: {given.problem}")
        parts = Section(title="What if", parts=(problem, plan_parts(changed.made)))
        emit(parts, json=json, data=sweep_json([given, changed]), html=html, title="What if")
        return
    parts = diff_parts(given.made, changed.made, names=("as given", texts(changed.settings)))
    emit(parts, json=json, data=difference(given.made, changed.made).to_json(), html=html, title="What if")


def calibrate() -> None:
    """Measure the machine at hand and keep its numbers as the chip `host`."""
    from swplan.runtime.calibrate import calibrate as measure

    with progress() as report:
        result = measure(report)
    if result is not None:
        typer.echo(str(result))


def demo() -> None:
    """Plan a model, show the plan, and rehearse it on emulated devices."""
    from swplan.demo import main

    main()


VERBS: tuple[Callable[..., None], ...] = (plan, whatif, calibrate, demo)
