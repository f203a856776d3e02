"""What a user may ask of `swplan.plan`, checked before anything is traced."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeVar

from swplan.costmodel.cluster import Cluster
from swplan.errors import UsageError
from swplan.passes.precision import POLICIES
from swplan.runtime.precise import PRECISIONS
from swplan.search.exploring import RECOMPUTE

Parsed = TypeVar("Parsed")


def parsed(kind: type[Parsed], value: Parsed | str, example: str) -> Parsed:
    """A cluster or a strategy, read if it is a text such as the example.

    Raises:
        SwplanError: the text is wrong; says how.
        UsageError: it is neither.
    """
    if isinstance(value, str):
        return kind.parse(value)
    if not isinstance(value, kind):
        name = kind.__name__
        raise UsageError(f"{name.lower()}={value!r} is neither a text such as {example!r} nor a swplan.{name}")
    return value


def cluster_of(cluster: Cluster | str) -> Cluster:
    """A cluster, read if it is a spec.

    Raises:
        ClusterError: the spec is wrong; says how.
    """
    return parsed(Cluster, cluster, "sw26010pro:nodes=8")


def policy(precision: str | Mapping[str, str]) -> str | Mapping[str, str]:
    """A precision, or precisions by class or pattern of layers."""
    asked = precision.values() if isinstance(precision, Mapping) else [precision]
    known = PRECISIONS if isinstance(precision, Mapping) else POLICIES
    for name in precision if isinstance(precision, Mapping) else ():
        if not isinstance(name, str):
            raise UsageError(f"precision: {name!r} is no class or pattern of layers: give text")
    for one in asked:
        if one not in known:
            where = "" if one is precision else f" for {next(k for k, v in precision.items() if v == one)!r}"
            raise UsageError(f"precision={one!r}{where}: choose one of {', '.join(known)}")
    return precision


def check_limits(max_axes: Any, micro_batches: Any, recompute: str, baseline: str | None) -> None:
    """Raises UsageError for numbers and words that no plan can have, or that exclude each other."""
    if max_axes is not None and (type(max_axes) is not int or max_axes < 1):
        raise UsageError(f"max_axes={max_axes!r}: give a whole number of at least 1")
    if micro_batches is not None and (type(micro_batches) is not int or micro_batches < 1):
        raise UsageError(f"micro_batches={micro_batches!r}: give a whole number of at least 1, or None")
    if recompute not in RECOMPUTE:
        raise UsageError(f"recompute={recompute!r}: choose one of {', '.join(RECOMPUTE)}")
    if baseline is not None and (micro_batches is not None or recompute != "auto"):
        raise UsageError(f"baseline={baseline!r} runs the step as written: leave out micro_batches and recompute")


def deadline_of(time_limit: Any) -> float | None:
    """Of `time.monotonic`, so many seconds from now."""
    if time_limit is None:
        return None
    if not isinstance(time_limit, int | float) or not time_limit >= 0:
        raise UsageError(f"time_limit={time_limit!r}: give seconds, or None")
    return time.monotonic() + time_limit
