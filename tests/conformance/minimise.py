"""Makes a failing case smaller, for people to read: fewer operations, then fewer decisions that split anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from swplan.ir.device import Compute, Loop, Move, walk_device
from swplan.runtime.trace import trace

from .plans import Choices, RandomPlan, lower_plan, mistakes, run_plan
from .programs import Program


def fails(program: Program, plan: RandomPlan, choices: Choices | None = None) -> bool:
    """Whether the planned program differs from the program, or does not run."""
    try:
        return bool(mistakes(program, run_plan(program, plan, choices)))
    except Exception:
        return True


def _shrink(parts: list, still_fails: Callable[[list], bool]) -> list:
    """Leaves out as many parts as it can, in halves, quarters, ..."""
    size = len(parts)
    while size:
        at = 0
        while at < len(parts):
            fewer = parts[:at] + parts[at + size :]
            parts, at = (fewer, at) if still_fails(fewer) else (parts, at + size)
        size //= 2
    return parts


def minimise(program: Program, plan: RandomPlan, tries: Iterable[int] = range(4)) -> tuple[Program, Choices]:
    """A smaller program that fails under its plan, or under another one with the same mesh; and decisions for it."""

    def failing_plan(one: Program) -> RandomPlan | None:
        plans = [plan, *(replace(plan, seed=seed) for seed in tries)]
        return next((other for other in plans if fails(one, other)), None)

    seeds = _shrink(list(program.seeds), lambda some: failing_plan(replace(program, seeds=tuple(some))) is not None)
    small = replace(program, seeds=tuple(seeds))
    found = failing_plan(small)
    assert found is not None, "the case does not fail"
    choices = found.choices(trace(small, small.inputs(), {}).graph)
    plain = {key: (-1,) * len(option) for key, option in choices.items()}
    split = [key for key, option in choices.items() if option != plain[key]]
    kept = _shrink(split, lambda keys: fails(small, plan, plain | {key: choices[key] for key in keys}))
    return small, plain | {key: choices[key] for key in kept}


def describe(program: Program, plan: RandomPlan, choices: Choices) -> str:
    """The device program, one op a line."""
    planned = lower_plan(program, plan, choices).program
    lines = []
    for op, _ in walk_device(planned.top):
        name = {Compute: lambda o: o.op.primitive, Move: lambda o: str(o.step), Loop: lambda o: o.op.kind}[type(op)](op)
        sides = ["; ".join(f"v{v} {planned.values[v].aval} {planned.values[v].layout}" for v in side)
                 for side in (op.operands, op.results)]  # fmt: skip
        strategy = f" strategy {op.strategy} {op.op.params}" if isinstance(op, Compute) else ""
        lines.append(f"{name}: {sides[0]} -> {sides[1]}{strategy}")
    return "\n".join(lines)
