"""The verbs: plan, auto, rehearse, verify.

They pair a step with its plan and run it. Everything they decide is decided below; everything they show is shown by
views.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from swplan._collecting import seldom_collected
from swplan.costmodel.cluster import Cluster
from swplan.errors import UsageError
from swplan.plan import Plan
from swplan.runtime.conformance import Conformance
from swplan.runtime.options import check_limits, cluster_of, deadline_of, policy
from swplan.runtime.planning import Wish, make_plan
from swplan.runtime.precise import chosen
from swplan.runtime.prepare import prepare
from swplan.runtime.rehearsal import rehearsed
from swplan.runtime.step import PlannedStep, check, planned_step
from swplan.runtime.trace import Statics, signature_of
from swplan.search.hunting import Progress


def at_hand() -> Cluster:
    """The devices that JAX sees, as a cluster of the chip `host`."""
    return Cluster.parse(f"host:devices={jax.device_count()}")


def as_cluster(cluster: Cluster | str | None) -> Cluster:
    """A cluster from a spec such as "sw26010pro:nodes=8"; the devices at hand if absent.

    Raises:
      ClusterError: the spec is wrong; says how.
    """
    return at_hand() if cluster is None else cluster_of(cluster)


@seldom_collected()
def plan(
    step: Callable,
    *args: Any,
    cluster: Cluster | str | None = None,
    baseline: str | None = None,
    precision: str | Mapping[str, str] = "auto",
    max_axes: int | None = None,
    time_limit: float | None = None,
    donate: bool | None = None,
    progress: Progress | None = None,
    micro_batches: int | None = None,
    recompute: str = "auto",
    pins: Mapping[str, Any] | None = None,
    like: Plan | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    **kwargs: Any,
) -> Plan:
    """Plans a step; nothing is allocated.

    Args:
      step: a function of pytrees, usually `(state, batch) -> (state, aux)`.
      *args: its arguments: arrays, or `jax.ShapeDtypeStruct`s.
      cluster: the target: a spec, a `Cluster`, or the devices at hand if absent.
      baseline: "data_parallel", "fully_sharded" or "tensor_parallel" takes the best plan of that kind instead.
      precision: "fp32" (as written), "bf16", "fp16", or "auto": by price, for each class and layer. Or by class of
        products ("attention", "dense", "expert") or pattern of layers, or both, as in {"*/head": "fp32",
        "dense in */mlp": "bf16"}: the first that fits counts, and prices decide about the rest. Layers have the names
        of modules and named scopes.
      max_axes: how many mesh axes to consider at most, and to look at meshes of so many in any case. If absent, meshes
        of three are looked at where none of two fits or comes near the bound, and none of four, which take minutes.
      time_limit: seconds after which the best plan so far is taken, with its gap, or else the first that is found.
      donate: whether the state is given up for its update; found out if absent.
      progress: called with (done, total, text) while searching.
      micro_batches: run the batch in so many parts; by time and memory if absent.
      recompute: "nothing" or "everything" of the forward pass in the backward pass, or "auto": by time and memory.
      pins: how inputs and results lie, by name (`*` stands for any part of one): specs as for `swplan.pin`.
      like: a plan of which the mesh and the layouts of inputs of the same name are kept; `pins` come before it.
      static_argnums: positions of static arguments, as for `jax.jit`.
      static_argnames: names of static arguments, as for `jax.jit`.
      **kwargs: keyword arguments of the step.

    Raises:
      SwplanError: the step cannot be traced or planned, or nothing fits; says why and what to do.
    """
    deadline = deadline_of(time_limit)
    step = _undecorated(step)
    check_limits(max_axes, micro_batches, recompute, baseline)
    target = as_cluster(cluster)
    prepared = prepare(step, args, kwargs, _statics(static_argnums, static_argnames), donate)
    decided = chosen(prepared.program.graph, target.chip, policy(precision), unscalable=prepared.scalable)
    return make_plan(
        prepared.exact(decided),
        target,
        name=getattr(step, "__name__", type(step).__name__),
        precision=decided,
        wish=Wish(
            baseline=baseline,
            max_axes=max_axes,
            deadline=deadline,
            progress=progress,
            micro_batches=micro_batches,
            recompute=recompute,
            pins=pins or {},
            like=like,
        ),
    )


def auto(
    step: Callable | None = None,
    *,
    cluster: Cluster | str | None = None,
    plan: Plan | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    **options: Any,
) -> Any:
    """Plans a step at its first call, for each signature of its arguments, and runs it as planned.

    Usable bare (`@swplan.auto`) or with the options of `plan`. Inputs are placed, the state is donated: use what comes
    back.

    Args:
      step: the step; absent when used with options.
      cluster: the target, as for `plan`.
      plan: run by this plan instead of making one.
      static_argnums: positions of static arguments, as for `jax.jit`.
      static_argnames: names of static arguments, as for `jax.jit`.
      **options: the other options of `plan`.
    """
    if step is None:
        _check_options(options)
        return lambda f: auto(
            f, cluster=cluster, plan=plan, static_argnums=static_argnums, static_argnames=static_argnames, **options
        )
    _check_options(options)
    _check_kinds(step, plan)
    return AutoStep(step, cluster, plan, _statics(static_argnums, static_argnames), options)


class AutoStep:
    """A step that plans itself.

    Call it as the step; `.plan(...)` shows what it would do; `.undecorated` is the step.
    """

    def __init__(
        self, step: Callable, cluster: Cluster | str | None, given: Plan | None, statics: Statics, options: dict
    ) -> None:
        """Use `swplan.auto`."""
        functools.update_wrapper(self, step, updated=())
        self.undecorated = step
        self._cluster, self._given, self._statics, self._options = cluster, given, statics, options
        self._steps: dict[Any, PlannedStep] = {}
        self._fast: Callable | None = None

    @property
    def donate(self) -> bool | None:
        """Whether the state is given up for its update; None: that is found out."""
        return self._options.get("donate")

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """A decorated method is bound to its object, as a function would be."""
        return self if owner is None else functools.partial(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the step as planned; plans it first if the signature of the arguments is new."""
        if self._fast is not None and not kwargs:
            done, out = self._fast(args)
            if done:
                return out
        return self._planned(args, kwargs)

    def _planned(self, args: tuple, kwargs: dict) -> Any:
        dynamic, named, rest = self._statics.split(self.undecorated, args, kwargs)
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves((dynamic, named))):
            raise UsageError("a step runs on arrays; for ShapeDtypeStructs ask for its plan: step.plan(...)")
        signature = _hashable(signature_of(dynamic, named, rest))
        if signature not in self._steps:
            self._steps[signature] = self._make(args, kwargs)
        step = self._steps[signature]
        self._fast = step.fast if not named and not rest else None
        return step(dynamic, named)

    def _make(self, args: tuple, kwargs: dict) -> PlannedStep:
        made = self._given if self._given is not None else self.plan(*args, **kwargs)
        return planned_step(made, prepare(self.undecorated, args, kwargs, self._statics, self.donate))

    def plan(self, *args: Any, **kwargs: Any) -> Plan:
        """The plan for these arguments (arrays or ShapeDtypeStructs); nothing is allocated."""
        return plan(
            self.undecorated,
            *args,
            cluster=self._cluster,
            static_argnums=self._statics.argnums,
            static_argnames=self._statics.argnames,
            **self._options,
            **kwargs,
        )

    def rehearse(self, plan: Plan, *args: Any, devices: int = 8, **kwargs: Any) -> Any:
        """Runs the decisions of a plan made for a bigger machine on smaller arguments and the devices at hand.

        Every mesh axis that was larger than one still is. Returns what the step returns.

        Raises:
          PlanMismatchError: the arguments have another structure, or no mesh of this many devices can hold the
            decisions.
        """
        prepared = prepare(self.undecorated, args, kwargs, self._statics, self.donate)
        return rehearsed(plan, prepared, devices)(*self._statics.split(self.undecorated, args, kwargs)[:2])


def verify(
    plan: Plan,
    step: Callable,
    *args: Any,
    donate: bool | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    **kwargs: Any,
) -> Conformance:
    """Compiles a step as planned and compares what XLA made of it with the plan.

    Memory is compared as predicted for the devices at hand, also where the plan is for another target. `donate` is as
    for `plan`, and that of a step that `auto` made if absent.

    Returns:
      a Conformance: truthy when every collective agrees; `.differences`, `.memory_ratio`, `.flops_ratio`.

    Raises:
      PlanMismatchError: the plan is for another step or for more devices than there are.
    """
    statics = _statics(static_argnums, static_argnames)
    asked = step.donate if donate is None and isinstance(step, AutoStep) else donate
    return check(plan, prepare(getattr(step, "undecorated", step), args, kwargs, statics, asked))


def _statics(argnums: int | Sequence[int], argnames: str | Sequence[str]) -> Statics:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    names = (argnames,) if isinstance(argnames, str) else tuple(argnames)
    return Statics(argnums=numbers, argnames=names)


def _check_kinds(step: Any, plan: Any) -> None:
    if not callable(step):
        raise UsageError(f"a step is a function of pytrees, not {type(step).__name__}")
    if plan is not None and not isinstance(plan, Plan):
        raise UsageError(f"plan= takes a swplan.Plan (Plan.load(path) reads one), not {type(plan).__name__}")


def _hashable(signature: Any) -> Any:
    try:
        hash(signature)
    except TypeError as error:
        raise UsageError(f"static arguments must be hashable: {error}") from error
    return signature


def _undecorated(step: Callable) -> Callable:
    step = getattr(step, "undecorated", step)
    _check_kinds(step, None)
    return step


_OPTIONS = {"baseline", "precision", "max_axes", "time_limit", "donate", "progress", "micro_batches", "recompute"}
_OPTIONS |= {"pins", "like"}


def _check_options(options: dict) -> None:
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise UsageError(
            f"unknown option {unknown[0]!r} of swplan.auto; it takes cluster, plan, {', '.join(sorted(_OPTIONS))}"
        )


__all__ = ["AutoStep", "as_cluster", "at_hand", "auto", "plan", "verify"]
