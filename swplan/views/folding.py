"""Folding: names that differ only in their numbers are shown once, with the range of the numbers and a count.

`layer_0/w`, `layer_1/w`, ... `layer_95/w` of one shape and sharding become `layer_{0..95}/w`, 96 times.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

FOLD_FROM = 3

# What stands in brackets is a shape, not the number of a layer.
_NUMBER = re.compile(r"\[[^\]]*\]|[0-9]{1,18}")

Item = TypeVar("Item")


def pattern(name: str) -> str:
    """The name with every number outside of brackets replaced by a mark."""
    return _NUMBER.sub(lambda found: found.group() if found.group().startswith("[") else "\0", name)


def numbers(name: str) -> list[str]:
    """The numbers of a name outside of brackets, as they are written."""
    return [found for found in _NUMBER.findall(name) if not found.startswith("[")]


def fold(
    items: Iterable[Item], name: Callable[[Item], str], rest: Callable[[Item], Hashable], least: int = FOLD_FROM
) -> list[tuple[str, list[Item]]]:
    """Groups of items that are alike but for the numbers in their names, in order of their first members.

    Args:
      items: what to fold.
      name: the name of an item.
      rest: all else in which the members of a group are equal.
      least: groups of fewer members are taken apart again.

    Returns:
      (the name of the group, its members); law: every item is in one group.
    """
    groups: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        groups[pattern(name(item)), rest(item)].append(item)
    out = []
    for members in groups.values():
        if len({name(m) for m in members}) < least:
            out += _by_name(members, name)
        else:
            out.append((folded_name([name(m) for m in members]), members))
    return out


def folded_name(names: Sequence[str]) -> str:
    """One name for names of one pattern: numbers that differ become ranges, `{0..95}`."""
    ranges = iter([_range(sorted(set(column), key=int)) for column in zip(*map(numbers, names), strict=True)])
    return re.sub("\0", lambda _: next(ranges), pattern(names[0]))


def _by_name(members: list[Item], name: Callable[[Item], str]) -> list[tuple[str, list[Item]]]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for member in members:
        groups[name(member)].append(member)
    return list(groups.items())


def _range(values: Sequence[str]) -> str:
    if len(values) == 1:
        return values[0]
    if len(values) > 2 and int(values[-1]) - int(values[0]) + 1 == len(values):
        return f"{{{values[0]}..{values[-1]}}}"
    if len(values) <= 4:
        return "{" + ",".join(values) + "}"
    return f"{{{values[0]},{values[1]},..{values[-1]}}}"
