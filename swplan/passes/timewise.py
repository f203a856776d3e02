"""What of a step runs on one micro-batch at a time: layouts along time, by the rules that split ops over devices.

Micro-batches are an axis in time: along it a value is whole (the same for all of them), split at a dim, or a sum that
is complete only after the last one. The same rules that say how a mesh axis passes through an op say so for this one,
so nothing is assumed of losses or gradients: a mean over the batch is a sum of its parts divided by all. What no rule
lets run in parts waits until after the loop. Building the loop is the work of `passes/microbatch.py`.

The micro-batch t holds the elements t, t + parts, ... of a split dim, so that a batch split over devices need not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from msgspec import structs

from swplan.ir.graph import Aval, Graph, Op, Region, reads
from swplan.ir.layout import REPLICATED, SUM
from swplan.ir.rule import Rule
from swplan.ir.strategy import NOTHING, op_layouts, strategies
from swplan.passes.timestates import NotInParts, agreed, sliced, unstacked

POSITIONAL = {"iota", "random_bits"}
"""Ops whose result depends on where in the whole array it stands."""
TRIED = ("state", "local", "taken", "origin", "made", "inner")
"""What is known of values, of which a loop that is tried has a copy."""


@dataclass(slots=True)
class Timewise:
    """Runs ops of a graph on one micro-batch, symbolically: `state` and `local` of every value that it met.

    Attributes:
      graph: the whole program.
      parts: how many micro-batches.
      avals: those of the graph, and those of parts after them.
      taken: (value, dim) -> the part of a value from outside the loop.
      made: the op of every whole value, by which a micro-batch may make its part of it by itself.
      remade: (value, dim) -> the strategy in which it can, NOTHING if it cannot.
      inner: what is defined in an inner loop, of which the loop over micro-batches cannot take slices.
      outside: ops before the loop: what is the same for all micro-batches is made there, once.
      scopes: (value, dim) -> the part of a whole value that was made, outside and in each loop around.
      rules: (rule, strategy) -> the rule on one micro-batch.
      entries: what is known of the operands of an op -> its strategy along time, NOTHING if there is none.
      shrunk: (aval, dim) -> that of one micro-batch.
    """

    graph: Graph
    parts: int
    avals: list[Aval]
    state: dict[int, int] = field(default_factory=dict)
    local: dict[int, int] = field(default_factory=dict)
    taken: dict[tuple[int, int], int] = field(default_factory=dict)
    origin: dict[int, int] = field(default_factory=dict)
    made: dict[int, Op] = field(default_factory=dict)
    remade: dict[tuple[int, int], int] = field(default_factory=dict)
    inner: set[int] = field(default_factory=set)
    outside: list[Op] = field(default_factory=list)
    scopes: list[dict[tuple[int, int], int]] = field(default_factory=lambda: [{}])
    rules: dict[tuple[int, int], Rule] = field(default_factory=dict)
    entries: dict[tuple, int] = field(default_factory=dict)
    shrunk: dict[tuple[Aval, int], Aval] = field(default_factory=dict)

    def of(self, value: int) -> int:
        """The state of a value; constants and what was not met are whole."""
        return self.state.get(value, REPLICATED)

    def part(self, value: int, state: int) -> int:
        """A new value: the part of `value` in this state. What is whole stays as it is."""
        self.state[value] = state
        if state == REPLICATED:
            return value
        self.local[value] = self.fresh(self.smaller_aval(self.graph.avals[value], state), value)
        return self.local[value]

    def smaller_aval(self, aval: Aval, state: int) -> Aval:
        """What a micro-batch has of a value in this state."""
        if state < 0:
            return aval
        if (aval, state) not in self.shrunk:
            shape = (*aval.shape[:state], aval.shape[state] // self.parts, *aval.shape[state + 1 :])
            self.shrunk[aval, state] = Aval(shape, aval.dtype)
        return self.shrunk[aval, state]

    def fresh(self, aval: Aval, origin: int) -> int:
        """A new value that is a part, or a form, of an old one."""
        self.avals.append(aval)
        self.origin[len(self.avals) - 1] = origin
        return len(self.avals) - 1

    def op(self, op: Op, ops: list[Op]) -> None:
        """Adds what one micro-batch does of an op that does not read what is known only after all.

        Raises:
          NotInParts: no rule lets it run so.
        """
        states = [self.of(v) for v in reads(op)]
        if states.count(REPLICATED) == len(states):
            self._whole(op, ops)
        elif op.kind == "scan":
            self._scan(op, ops)
        elif op.kind == "op":
            self._split(op, self._entry(op), ops)
        else:
            raise NotInParts(f"{op.primitive} at {op.source}")

    def _whole(self, op: Op, ops: list[Op]) -> None:
        ops.append(op)
        self.made.update(dict.fromkeys(op.results, op))

    def _entry(self, op: Op) -> int:
        """The strategy along time that takes the operands as they are, or slices of what is whole."""
        states = [(state := self.of(v), state == REPLICATED and self.is_zero(v)) for v in op.operands]
        key = (op.primitive, op.rule, *states)
        if key not in self.entries:
            fitting = [entry for (entry,) in strategies(op.rule, (self.parts,)) if self._takes(op, entry)]
            self.entries[key] = max(fitting, key=lambda entry: entry >= 0, default=NOTHING)
        if self.entries[key] == NOTHING:
            raise NotInParts(f"{op.primitive} at {op.source}")
        return self.entries[key]

    def _takes(self, op: Op, entry: int) -> bool:
        if entry == NOTHING or (entry >= 0 and _depends_on_place(op, entry)) or self._counts_base(op, entry):
            return False
        needs, results = op_layouts(op.rule, (entry,))
        if any(state < SUM for (state,) in results):
            return False
        return all(
            need == self.of(v) or (self.of(v) == REPLICATED and (need >= 0 or (need == SUM and self.is_zero(v))))
            for (need,), v in zip(needs, op.operands, strict=True)
        )

    def _counts_base(self, op: Op, entry: int) -> bool:
        """Whether every micro-batch would add the operand of a scatter once more."""
        adds = op.primitive.startswith("scatter") and entry >= 0 and op.rule.factors[entry].kind == "sum"
        return adds and self.of(op.operands[0]) == REPLICATED and not self.is_zero(op.operands[0])

    def is_zero(self, value: int) -> bool:
        """Whether a value is known to be zero everywhere: then it is the sum of its parts, each zero."""
        if value in self.made and self.made[value].primitive == "broadcast_in_dim":
            value = self.made[value].operands[0]
        held = self.graph.constants.get(value)
        return held is not None and getattr(held, "shape", ()) == () and not held

    def _split(self, op: Op, entry: int, ops: list[Op]) -> None:
        needs, states = op_layouts(op.rule, (entry,))
        operands = tuple([self.read(v, need, ops) for v, (need,) in zip(op.operands, needs, strict=True)])
        results = tuple([self.part(v, state) for v, (state,) in zip(op.results, states, strict=True)])
        ops.append(self.smaller(op, entry, operands, results))

    def smaller(self, op: Op, entry: int, operands: tuple[int, ...], results: tuple[int, ...]) -> Op:
        """The op on one micro-batch; it remembers the shapes of the whole, which its parameters speak of."""
        key = (id(op.rule), entry)
        if key not in self.rules:
            factors = tuple(
                replace(factor, size=factor.size // self.parts) if i == entry else factor
                for i, factor in enumerate(op.rule.factors)
            )
            self.rules[key] = replace(op.rule, factors=factors)
        whole = op.whole or (
            tuple(self.graph.avals[v] for v in op.operands),
            tuple(self.graph.avals[v] for v in op.results),
        )
        changes = {"rule": self.rules[key], "whole": whole, "after": self.local.get(op.after, op.after)}
        return structs.replace(op, operands=operands, results=results, **changes)

    def read(self, value: int, need: int, ops: list[Op]) -> int:
        """The part of a value that an op needs."""
        if self.of(value) != REPLICATED:
            return self.local[value]
        return value if need < 0 else self.slice_of(value, need, ops)

    def slice_of(self, value: int, dim: int, ops: list[Op]) -> int:
        """The part of a whole value: made as the whole is, from a smaller broadcast, or a slice that the loop takes."""
        found = next((scope[value, dim] for scope in self.scopes if (value, dim) in scope), None)
        if found is not None:
            return found
        op, entry = self.made.get(value), self._remaking(value, dim)
        if op is not None and entry != NOTHING:
            needs, _ = op_layouts(op.rule, (entry,))
            operands = tuple(self.read(v, need, ops) for v, (need,) in zip(op.operands, needs, strict=True))
            result, within = self._slice(value, dim), value in self.inner
            (ops if within else self.outside).append(self.smaller(op, entry, operands, (result,)))
            self.scopes[-1 if within else 0][value, dim] = result
            return result
        if value in self.inner:
            raise NotInParts(f"a slice of {self.graph.avals[value]} inside of a loop", (value, dim))
        if (value, dim) not in self.taken:
            self.taken[value, dim] = self._slice(value, dim)
        return self.taken[value, dim]

    def _remaking(self, value: int, dim: int) -> int:
        """The strategy in which a micro-batch makes its part of a whole value itself; NOTHING if it cannot."""
        if (value, dim) not in self.remade:
            self.remade[value, dim] = self._remaking_by(self.made.get(value), dim)
        return self.remade[value, dim]

    def _remaking_by(self, op: Op | None, dim: int) -> int:
        if op is None or op.kind != "op" or len(op.results) > 1 or not op.rule.results[0][dim]:
            return NOTHING
        entry = op.rule.results[0][dim][0]
        if not op.rule.factors[entry].shardable or _depends_on_place(op, entry):
            return NOTHING
        needs, _ = op_layouts(op.rule, (entry,))
        can = all(
            need == REPLICATED or self._remaking(v, need) != NOTHING
            for v, (need,) in zip(op.operands, needs, strict=True)
        )
        return entry if can else NOTHING

    def _slice(self, value: int, dim: int) -> int:
        aval = self.graph.avals[value]
        if aval.shape[dim] % self.parts:
            raise NotInParts(f"dim {dim} of {aval}")
        return self.fresh(self.smaller_aval(aval, dim), value)

    def _scan(self, op: Op, ops: list[Op]) -> None:
        """A loop over layers and the like: carries may turn out to be split or sums; it is tried until they agree."""
        (body,), states = op.regions, [self.of(v) for v in op.operands]
        slices = [unstacked(state) for state in states[op.carries :]]
        carries = states[: op.carries]
        for _ in range(len(carries) + 1):
            trial = self._trial()
            try:
                inside, leaving = trial._body(body, carries + slices)
            except NotInParts as error:
                carries = sliced(body.inputs[: op.carries], carries, error)
                continue
            if leaving[: op.carries] == carries:
                break
            carries = [agreed(a, b) for a, b in zip(carries, leaving[: op.carries], strict=True)]
        else:
            raise NotInParts(f"the loop at {op.source}")
        self._adopt(trial)
        entering = [*carries, *states[op.carries :]]
        operands = tuple(self._enter(v, state, ops) for v, state in zip(op.operands, entering, strict=True))
        results = tuple(
            self.part(v, state if i < op.carries or state < 0 else state + 1)
            for i, (v, state) in enumerate(zip(op.results, leaving, strict=True))
        )
        ops.append(structs.replace(op, operands=operands, results=results, regions=(inside,)))

    def _enter(self, value: int, state: int, ops: list[Op]) -> int:
        if self.of(value) == REPLICATED and state == SUM and not self.is_zero(value):
            raise NotInParts(f"{self.graph.avals[value]} starts a sum")
        return self.read(value, state, ops)

    def _body(self, body: Region, states: Sequence[int]) -> tuple[Region, list[int]]:
        inputs = tuple(self.part(v, state) for v, state in zip(body.inputs, states, strict=True))
        self.inner.update(body.inputs)
        self.scopes.append({})
        ops: list[Op] = []
        for op in body.ops:
            self.inner.update(op.results)
            self.op(op, ops)
        self.scopes.pop()
        outputs = tuple(v if self.of(v) == REPLICATED else self.local[v] for v in body.outputs)
        return Region(inputs, outputs, tuple(ops)), [self.of(v) for v in body.outputs]

    def _trial(self) -> Timewise:
        """A copy in which a loop can be tried; only avals, what is known of ops and ops before the loop are shared."""
        scopes = [self.scopes[0], *(dict(scope) for scope in self.scopes[1:])]
        copies = {name: type(getattr(self, name))(getattr(self, name)) for name in TRIED}
        return replace(self, scopes=scopes, **copies)

    def _adopt(self, trial: Timewise) -> None:
        for name in TRIED:
            setattr(self, name, getattr(trial, name))


def _depends_on_place(op: Op, entry: int) -> bool:
    """Whether the part of an op along a factor must know which part it is."""
    name = op.rule.factors[entry].name
    return op.primitive in POSITIONAL or (op.primitive.startswith(("gather", "scatter")) and name.startswith("p"))
