"""`KEY=VALUE` of the command line: numbers of the cluster and its chip, or keyword arguments of the program.

A key that both have must say which it means: `cluster.nodes=8` or `model.nodes=8`. What belongs to a strategy always
says so: `strategy.micro_batches=8`.
"""

from __future__ import annotations

import ast
import difflib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from swplan.cli.programs import Program
from swplan.costmodel import Cluster
from swplan.costmodel.schema import key_units
from swplan.errors import UsageError
from swplan.estimate.strategy import Strategy

CLUSTER, MODEL, STRATEGY = "cluster.", "model.", "strategy."
MOST_PLANS, MOST_ESTIMATES = 200, 20_000

Pairs = tuple[tuple[str, str], ...]


def pairs(settings: Sequence[str], option: str) -> Pairs:
    """The keys and values of settings.

    Raises:
      UsageError: one is not `KEY=VALUE`, or a key is given twice.
    """
    split = [tuple(part.strip() for part in setting.partition("=")) for setting in settings]
    for setting, (key, sign, value) in zip(settings, split, strict=True):
        if not (key and sign and value):
            raise UsageError(f"{option} {setting!r}: write KEY=VALUE")
    keys = [key for key, _, _ in split]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"{option} {key}: given twice; keep one")
    return tuple((key, value) for key, _, value in split)


def combinations(sweeps: Sequence[str], most: int = MOST_PLANS) -> tuple[Pairs, ...]:
    """Every combination of the values of all sweeps (`KEY=V1,V2,...`), the last key fastest.

    Raises:
      UsageError: a sweep is malformed, or there are too many combinations.
    """
    axes = [
        [(key, part.strip()) for part in values.split(",") if part.strip()] for key, values in pairs(sweeps, "--sweep")
    ]
    found = tuple(itertools.product(*axes)) if axes else ()
    if len(found) > most:
        raise UsageError(f"--sweep: {len(found):,} combinations; at most {most:,} are tried in one run")
    return found


def apply(settings: Pairs, cluster: Cluster, program: Program) -> tuple[Cluster, dict[str, Any]]:
    """The cluster and the keyword arguments of the program that settings make.

    Raises:
      UsageError: neither cluster nor program has a key, or both do.
      ClusterError: a value makes no sense.
    """
    numbers, keywords = {}, {}
    for key, value in settings:
        owner, name = _owner(key, cluster, program)
        if owner == CLUSTER:
            numbers[name] = value
        else:
            keywords[name] = literal(value)
    return (cluster.replace(numbers) if numbers else cluster), keywords


def strategy_with(strategy: Strategy, settings: Pairs) -> tuple[Strategy, Pairs]:
    """A strategy with the settings that belong to it, and the other settings.

    Raises:
      UsageError: a key or a value is unknown; lists what is valid.
    """
    own = {key.removeprefix(STRATEGY): value for key, value in settings if key.startswith(STRATEGY)}
    words = dict(word.split("=", 1) for word in str(strategy).split()) | own
    others = tuple((key, value) for key, value in settings if not key.startswith(STRATEGY))
    return Strategy.parse(" ".join(f"{key}={value}" for key, value in words.items())), others


def _owner(key: str, cluster: Cluster, program: Program) -> tuple[str, str]:
    """Whom a key belongs to, and its name there."""
    for owner in (CLUSTER, MODEL):
        if key.startswith(owner):
            return owner, key.removeprefix(owner)
    of_cluster, of_program = key in cluster_keys(cluster), key in program.keywords()
    if of_cluster and of_program:
        raise UsageError(
            f"{key!r} is a number of the cluster and an argument of the program: write {CLUSTER}{key} or {MODEL}{key}"
        )
    if of_cluster:
        return CLUSTER, key
    if of_program or program.takes(key):
        return MODEL, key
    raise UsageError(_unknown(key, cluster, program))


def cluster_keys(cluster: Cluster) -> tuple[str, ...]:
    """Every key that `Cluster.replace` takes."""
    chip = cluster.chip
    members = (chip.device, *chip.tiers)
    sizes = (f"{member}s_per_{tier}" for member, tier in zip(members, chip.tiers[:-1], strict=False))
    return (f"{chip.device}s", *sizes, *key_units(chip.tiers))


def _unknown(key: str, cluster: Cluster, program: Program) -> str:
    lines = [f"unknown key {key!r}: neither a number of the cluster nor an argument of the program"]
    if key.removeprefix(STRATEGY) in {field.name for field in fields(Strategy)}:
        lines.append(f"  of a strategy: {STRATEGY}{key.removeprefix(STRATEGY)}, beside --strategy")
    for owner, names in (("cluster", cluster_keys(cluster)), ("program", program.keywords())):
        near = difflib.get_close_matches(key, names, 5, 0.4) or sorted(names, key=len)[:5]
        lines.append(f"  near, of the {owner}: {', '.join(near) or 'it has none'}")
    return "\n".join(lines)


def literal(text: str) -> Any:
    """A Python literal, or the text itself where it is none ("14.5T")."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text


def texts(settings: Mapping[str, str] | Pairs) -> str:
    """Settings in one line."""
    return ", ".join(f"{key}={value}" for key, value in dict(settings).items())
