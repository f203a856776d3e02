"""Kernels that keep rows: what a compiler or a library fuses where a row of a tensor fits into local memory.

A softmax or a norm reads each row, reduces it, and uses the result on the same row. A kernel that holds a row on chip
reads it once and writes it once (XLA for GPU: softmax and normalisation fusions; hand-written kernels elsewhere), so
the wide values in between never reach memory. An update of a parameter is one kernel too, which reads the parameter,
its moments and its gradient once (fused optimizers of libraries). Kernels are sets of loops over one space such that
nothing leads out of a set and back into it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from swplan.ir.graph import Aval, Graph, Op, Region
from swplan.passes.fusion import CHEAP, OnChip, is_loop

Shape = tuple[int, ...]

ALONE = -1
"""The kernel of an op that has none: it is no loop."""
REPEATS = -2
"""The kernel of a loop inside of a loop of the program, which may make again what it reads."""


@dataclass(slots=True)
class _Kernel:
    """A kernel while it grows.

    Attributes:
      space: over which it loops.
      ops: positions of its ops.
      reads: values that it reads and has not made.
      makes: values that it makes.
      is_read: whether an op outside reads what it makes.
    """

    space: Shape
    ops: list[int] = field(default_factory=list)
    reads: set[int] = field(default_factory=set)
    makes: set[int] = field(default_factory=set)
    is_read: bool = False


@dataclass(slots=True)
class _Kernels:
    """The kernels of one region while they grow.

    Attributes:
      avals: of all values.
      row_bytes: longest row that a kernel holds.
      kernels: number -> kernel; those that were joined to others are gone.
      owner: value -> the kernel that makes it, if its loops may go on with it.
      maker: value -> the kernel that makes it.
      behind: value -> the kernels that it comes from, as bits.
      home: the kernel of each op so far, or `ALONE`.
      begun: how many kernels there were, those that are gone too.
    """

    avals: Sequence[Aval]
    row_bytes: float
    kernels: dict[int, _Kernel] = field(default_factory=dict)
    owner: dict[int, int] = field(default_factory=dict)
    maker: dict[int, int] = field(default_factory=dict)
    behind: dict[int, int] = field(default_factory=dict)
    home: list[int] = field(default_factory=list)
    begun: int = 0

    def add(self, op: Op) -> None:
        """Puts an op into the kernel of one of its operands, or begins one; ops that are no loops stand alone."""
        kernel = self.kernel_of(op) if op.kind == "op" and (is_loop(op) or op.primitive == "split") else ALONE
        past = 0
        for value in op.operands:
            past |= self.behind.get(value, 0)
            maker = self.maker.get(value, kernel)
            if maker != kernel:
                self.kernels[maker].is_read = True
        if kernel != ALONE:
            past |= 1 << kernel
            self.put(op, kernel)
        self.home.append(kernel)
        for value in op.results:
            self.behind[value] = past

    def put(self, op: Op, kernel: int) -> None:
        """Makes an op part of a kernel."""
        own = self.kernels[kernel]
        own.ops.append(len(self.home))
        for value in op.operands:
            if value not in own.makes:
                own.reads.add(value)
        own.makes.update(op.results)
        goes_on = self.goes_on(op)
        for value in op.results:
            self.maker[value] = kernel
            if goes_on:
                self.owner[value] = kernel

    def kernel_of(self, op: Op) -> int:
        """The kernel that has most of what an op reads, of equals the last; others that nobody has read join it."""
        space = self.space(op)
        makers = {self.owner[v] for v in op.operands if v in self.owner}
        best, most = ALONE, []
        for kernel in makers:
            if not _fits(space, self.kernels[kernel].space):
                continue
            joining = [other for other in makers if other != kernel and self.may_join(other, kernel)]
            if (len(joining), kernel) > (len(most), best) and self.is_direct(op.operands, [kernel, *joining]):
                best, most = kernel, joining
        if best == ALONE:
            self.begun += 1
            self.kernels[self.begun] = _Kernel(space)
            return self.begun
        for other in sorted(most):
            self.join(other, best)
        return best

    def space(self, op: Op) -> Shape:
        """What an op loops over: the shape of its result, or of what it reduces or takes apart."""
        whole = op.primitive.startswith("reduce_") or op.primitive == "split"
        return self.avals[op.operands[0] if whole else op.results[0]].shape

    def is_direct(self, values: Collection[int], inside: Sequence[int]) -> bool:
        """Whether nothing of what is read has left these kernels and comes back."""
        past = 0
        for value in values:
            if self.owner.get(value) not in inside:
                past |= self.behind.get(value, 0)
        return not (past and any(past >> kernel & 1 for kernel in inside))

    def may_join(self, other: int, kernel: int) -> bool:
        """Whether a kernel can become part of another: nothing that it makes was read, so nothing leads out of it."""
        own = self.kernels[other]
        if own.is_read or not _fits(own.space, self.kernels[kernel].space):
            return False
        return self.is_direct(own.reads, [kernel])

    def join(self, other: int, kernel: int) -> None:
        """Makes one kernel part of another."""
        gone, own, bit = self.kernels.pop(other), self.kernels[kernel], 1 << kernel
        for position in gone.ops:
            self.home[position] = kernel
        for value in gone.makes:
            self.maker[value] = kernel
            self.behind[value] |= bit
            if value in self.owner:
                self.owner[value] = kernel
        own.ops += gone.ops
        own.makes |= gone.makes
        own.reads = (own.reads | gone.reads) - own.makes

    def goes_on(self, op: Op) -> bool:
        """Whether a kernel has a result at hand, row by row: not what is summed over rows, or over too long a row."""
        if not op.primitive.startswith("reduce_"):
            return op.primitive != "split"
        aval, axes = self.avals[op.operands[0]], tuple(op.params.get("axes", ()))
        return axes == (len(aval.shape) - 1,) and aval.shape[-1] * aval.item_bytes <= self.row_bytes


def _fits(space: Shape, whole: Shape) -> bool:
    """Whether loops over a space are loops over the rows of another."""
    return space == whole or space == whole[:-1] or space == (*whole[:-1], 1)


def row_fused_values(graph: Graph, row_bytes: float) -> OnChip:
    """What does not go through memory where kernels hold rows of `row_bytes`."""
    fused: set[int] = set()
    at_hand: set[tuple[int, int]] = set()
    _region(graph.top, graph.avals, row_bytes, fused, at_hand)
    return OnChip(frozenset(fused), frozenset(at_hand))


def _region(
    region: Region, avals: Sequence[Aval], row_bytes: float, fused: set[int], at_hand: set[tuple[int, int]]
) -> None:
    kernels = _Kernels(avals, row_bytes)
    for op in region.ops:
        kernels.add(op)
    readers: dict[int, list[int]] = defaultdict(list)
    seen: dict[int, set[int]] = defaultdict(set)
    for op, kernel in zip(region.ops, kernels.home, strict=True):
        for value in op.operands:
            readers[value].append(kernel)
        if kernel != ALONE:
            _note_at_hand(op, seen[kernel], at_hand)
        for body in op.regions:
            _region(body, avals, row_bytes, fused, at_hand)
            _inside(body, readers)
    kept = set(region.outputs)
    for op, kernel in zip(region.ops, kernels.home, strict=True):
        if op.rule is not None and op.rule.fusible:
            fused.update([v for v in op.results if v not in kept and _stays(op, kernel, readers.get(v))])


def _note_at_hand(op: Op, seen: set[int], at_hand: set[tuple[int, int]]) -> None:
    """Notes which operands of an op its kernel has made or read already."""
    for value in op.operands:
        if value in seen:
            at_hand.add((op.results[0], value))
        seen.add(value)
    seen.update(op.results)


def _inside(body: Region, readers: dict[int, list[int]]) -> None:
    """Readers within a loop: what is cheap to make is made there again by each that is a loop itself."""
    for op in body.ops:
        for value in op.operands:
            readers[value].append(REPEATS if is_loop(op) else ALONE)
        for inner in op.regions:
            _inside(inner, readers)
    for value in body.outputs:
        readers[value].append(ALONE)


def _stays(op: Op, kernel: int, users: Sequence[int] | None) -> bool:
    if not users or ALONE in users:
        return False
    return op.primitive in CHEAP or users.count(kernel) == len(users)
