"""Gradient accumulation: a step as a loop over micro-batches, equal to the step but for the order of its sums.

What `passes/timewise.py` finds to run in parts becomes the body of a scan over slices of the batch: what is summed over
the batch is added up in its carries (gradients, losses), what keeps the batch is stacked. All that needs a whole sum
follows after the loop: the optimizer. The result is an ordinary Graph, planned and priced like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from swplan.ir.graph import Aval, Graph, Op, Region, reads, walk
from swplan.ir.layout import REPLICATED, SUM
from swplan.ir.pins import carried
from swplan.passes.sinking import sink_broadcasts
from swplan.passes.timestates import AFTER, NotInParts, batch_states
from swplan.passes.timewise import Timewise

ACCUMULATED = {"bfloat16": "float32", "float16": "float32"}
"""Dtype in which sums of a dtype are accumulated over micro-batches."""


class Maker(Protocol):
    """Makes ops of a few primitives; `runtime/` has one, since primitives are JAX's."""

    def reshape(self, source: int, target: int, avals: Sequence[Aval]) -> Op:
        """Of one value into the shape of another."""

    def transpose(self, source: int, target: int, avals: Sequence[Aval], permutation: tuple[int, ...]) -> Op:
        """Of dims."""

    def zero(self, dtype: str, avals: list[Aval], constants: dict[int, object]) -> int:
        """The constant of a dtype, added if it is not there."""

    def broadcast(self, source: int, target: int, avals: Sequence[Aval]) -> Op:
        """Of a scalar into the shape of another value."""

    def add(self, left: int, right: int, target: int, avals: Sequence[Aval]) -> Op:
        """Of two values of one shape."""

    def cast(self, source: int, target: int, avals: Sequence[Aval]) -> Op:
        """Into the dtype of another value."""


def in_micro_batches(graph: Graph, parts: int, maker: Maker) -> Graph:
    """The program as a loop over `parts` micro-batches.

    Raises:
      NotInParts: what the step does with its batch does not come apart, or the batch cannot be divided so; says where.
    """
    if parts == 1:
        return graph
    states = batch_states(graph, parts)
    if not states:
        raise NotInParts(f"no input has a batch that {parts} divides")
    time = Timewise(graph=graph, parts=parts, avals=list(graph.avals))
    time.state.update(states)
    for value in states:
        time.local[value] = time.taken[value, 0] = time._slice(value, 0)
    return sink_broadcasts(_Loop(graph=graph, time=time, maker=maker, before=time.outside).built())


@dataclass(slots=True, kw_only=True)
class _Loop:
    """Sorts the ops of a step into those before the loop, in it, and after it, and joins them.

    `why` says of what is known only after the loop what it was that did not come apart.
    """

    graph: Graph
    time: Timewise
    maker: Maker
    before: list[Op]
    inside: list[tuple[Op, list[Op]]] = field(default_factory=list)
    after: list[Op] = field(default_factory=list)
    why: dict[int, str] = field(default_factory=dict)

    def built(self) -> Graph:
        for op in self.graph.top.ops:
            self.sort(op)
        self.check()
        self.sink_sums()
        return self.joined()

    def sort(self, op: Op) -> None:
        """Puts an op where it belongs."""
        values = reads(op)
        states = [self.time.of(v) for v in values]
        if AFTER in states:
            self.postpone(op, self.why[values[states.index(AFTER)]])
        elif states.count(REPLICATED) == len(states):
            self.time.op(op, self.before)
        else:
            parts: list[Op] = []
            try:
                self.time.op(op, parts)
            except NotInParts as error:
                self.postpone(op, str(error))
            else:
                self.inside.append((op, parts))
                self.time.inner.update(op.results)

    def postpone(self, op: Op, why: str = "") -> None:
        """Leaves an op until after the loop."""
        self.after.append(op)
        self.why.update(dict.fromkeys(op.results, why))
        self.time.state.update(dict.fromkeys(op.results, AFTER))

    def sink_sums(self) -> None:
        """What is done to a sum alone, and read only after the loop, is done once, to the whole sum."""
        readers = Counter(v for op, _ in self.inside for v in set(reads(op)))
        kept: list[tuple[Op, list[Op]]] = []
        for op, parts in reversed(self.inside):
            if self._sinks(op) and not any(readers[v] for v in op.results):
                self.postpone(op)
                readers.subtract(set(reads(op)))
            else:
                kept.append((op, parts))
        self.inside = kept[::-1]

    def _sinks(self, op: Op) -> bool:
        """Whether an op does something to one sum, and to nothing else that depends on the micro-batch."""
        states = [self.time.of(v) for v in op.operands]
        if op.kind != "op" or states.count(SUM) != 1 or any(state >= 0 for state in states):
            return False
        source = op.operands[states.index(SUM)]
        return self.graph.avals[source].dtype not in ACCUMULATED

    def check(self) -> None:
        """A step of which products are left for after the loop gains nothing by it."""
        for op in self.after:
            product = _product(op) if op.stage != "optimizer" else None
            if product is not None:
                text, why = f"{product.primitive} at {product.source}", next((self.why[v] for v in op.results), "")
                raise NotInParts(f"{text} needs the whole batch" + (f", as does {why}" if why != text else ""))

    def joined(self) -> Graph:
        """The whole program: what the loop needs, the loop, and the rest."""
        body_ops = [op for _, parts in self.inside for op in parts]
        wanted = {v for op in self.after for v in reads(op)} | set(self.graph.top.outputs)
        leaving = [v for op, _ in self.inside for v in op.results if v in wanted]
        whole = next((v for v in leaving if self.time.of(v) == REPLICATED), None)
        if whole is not None:
            raise NotInParts(f"{self.graph.avals[whole]}, which depends on no micro-batch, leaves the loop over them")
        sums = [v for v in leaving if self.time.of(v) == SUM]
        stacks = [v for v in leaving if self.time.of(v) >= 0]
        writer = _Writer(time=self.time, maker=self.maker, constants=dict(self.graph.constants))
        loop, following = writer.loop(body_ops, sums, stacks)
        needed = {v for op in (*writer.preceding, loop) for v in reads(op)}
        first: list[Op] = []
        for op in reversed(self.before):
            if not needed.isdisjoint(op.results):
                needed.update(reads(op))
                first.insert(0, op)
        chosen = {id(op) for op in first}
        order = {id(op): position for position, op in enumerate(self.graph.top.ops)}
        left = [op for op in self.before if id(op) not in chosen and id(op) in order]
        rest = sorted(left + self.after, key=lambda op: order[id(op)])
        top = replace(self.graph.top, ops=(*first, *writer.preceding, loop, *following, *rest))
        roles = dict(self.graph.roles)
        roles.update({new: self.graph.role(old) for new, old in self.time.origin.items()})
        pins, avals = carried(self.graph.pins, self.time.local), tuple(self.time.avals)
        return replace(self.graph, top=top, avals=avals, roles=roles, constants=writer.constants, pins=pins)


def _product(op: Op) -> Op | None:
    """The first matrix product that an op is, or has in its loops."""
    inner = (found for found, _ in walk(Region((), (), (op,))) if found.rule is not None)
    return next((found for found in inner if found.rule.work.unit == "matmul"), None)


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Writes the loop: slices before it, sums and stacks in it, and what makes whole values of these after it."""

    time: Timewise
    maker: Maker
    constants: dict[int, object]
    preceding: list[Op] = field(default_factory=list)
    following: list[Op] = field(default_factory=list)

    def loop(self, body: list[Op], sums: Sequence[int], stacks: Sequence[int]) -> tuple[Op, list[Op]]:
        taken = list(self.time.taken.items())
        scanned = [self._stacked(value, dim) for (value, dim), _ in taken]
        ops = list(body)
        starts, carries, totals = zip(*(self._sum(v, ops) for v in sums), strict=True) if sums else ((), (), ())
        finals = tuple(self._total(v) for v in sums)
        wholes = tuple(self._unstacked(v) for v in stacks)
        inputs = (*carries, *(part for _, part in taken))
        outputs = (*totals, *(self.time.local[v] for v in stacks))
        region = Region(inputs, outputs, tuple(ops))
        parts, stage = self.time.parts, "forward"
        params = {"length": parts, "reverse": False}
        operands = (*starts, *scanned)
        source = next((op.source for op in body), "")
        results = (*finals, *wholes)
        loop = Op("scan", operands, results, params, None, None, source, stage, "scan", (region,), len(carries), parts)
        return loop, self.following

    def _stacked(self, value: int, dim: int) -> int:
        """The slices of a value at a dim, in front: [.., n, ..] as [parts, .., n / parts, ..]."""
        aval, parts = self.time.graph.avals[value], self.time.parts
        apart = (*aval.shape[:dim], aval.shape[dim] // parts, parts, *aval.shape[dim + 1 :])
        split = self.time.fresh(Aval(apart, aval.dtype), value)
        front = (dim + 1, *(d for d in range(len(apart)) if d != dim + 1))
        moved = self.time.fresh(Aval(tuple(apart[d] for d in front), aval.dtype), value)
        self.preceding.append(self.maker.reshape(value, split, self.time.avals))
        self.preceding.append(self.maker.transpose(split, moved, self.time.avals, front))
        return moved

    def _unstacked(self, value: int) -> int:
        """The stacked result of the loop that becomes `value` again."""
        dim, parts, aval = self.time.of(value), self.time.parts, self.time.graph.avals[value]
        part = self.time.avals[self.time.local[value]].shape
        stack = self.time.fresh(Aval((parts, *part), aval.dtype), value)
        back = (*range(1, dim + 2), 0, *range(dim + 2, len(part) + 1))
        moved = self.time.fresh(Aval((*part[: dim + 1], parts, *part[dim + 1 :]), aval.dtype), value)
        self.following.append(self.maker.transpose(stack, moved, self.time.avals, back))
        self.following.append(self.maker.reshape(moved, value, self.time.avals))
        return stack

    def _sum(self, value: int, ops: list[Op]) -> tuple[int, int, int]:
        """(zeros before the loop, the sum so far, the sum with this micro-batch), in the dtype of sums."""
        aval, local = self.time.graph.avals[value], self.time.local[value]
        wide = Aval(aval.shape, ACCUMULATED.get(aval.dtype, aval.dtype))
        start = self.maker.zero(wide.dtype, self.time.avals, self.constants)
        if wide.shape:
            zero, start = start, self.time.fresh(wide, value)
            self.preceding.append(self.maker.broadcast(zero, start, self.time.avals))
        so_far, total = (self.time.fresh(wide, value) for _ in range(2))
        if wide != aval:
            ops.append(self.maker.cast(local, local := self.time.fresh(wide, value), self.time.avals))
        ops.append(self.maker.add(so_far, local, total, self.time.avals))
        return start, so_far, total

    def _total(self, value: int) -> int:
        """The result of the loop that is `value`, or becomes it by a cast."""
        aval = self.time.graph.avals[value]
        if aval.dtype not in ACCUMULATED:
            return value
        wide = self.time.fresh(Aval(aval.shape, ACCUMULATED[aval.dtype]), value)
        self.following.append(self.maker.cast(wide, value, self.time.avals))
        return wide
