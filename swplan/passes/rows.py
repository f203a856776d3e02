"""Kernels that keep rows: what a compiler or a library fuses where a row of a tensor fits into local memory.

A softmax or a norm reads each row, reduces it, and uses the result on the same row. A kernel that holds a row on chip
reads it once and writes it once (XLA for GPU: softmax and normalisation fusions; hand-written kernels elsewhere), so
the wide values in between never reach memory. An update of a parameter is one kernel too, which reads the parameter,
its moments and its gradient once (fused optimizers of libraries). Kernels are sets of loops over one space such that
nothing leads out of a set and back into it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from swplan.ir.graph import Aval, Graph, Op, Region
from swplan.passes.fusion import CHEAP, OnChip, is_loop

Shape = tuple[int, ...]


@dataclass(slots=True)
class _Kernel:
    """A kernel while it grows.

    Attributes:
      space: over which it loops.
      ops: identities of its ops.
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
      home: identity of an op -> its kernel.
      begun: how many kernels there were, those that are gone too.
    """

    avals: Sequence[Aval]
    row_bytes: float
    kernels: dict[int, _Kernel] = field(default_factory=dict)
    owner: dict[int, int] = field(default_factory=dict)
    maker: dict[int, int] = field(default_factory=dict)
    behind: dict[int, int] = field(default_factory=dict)
    home: dict[int, int] = field(default_factory=dict)
    begun: int = 0

    def add(self, op: Op) -> None:
        """Puts an op into the kernel of one of its operands, or begins one; ops that are no loops stand alone."""
        kernel = self.kernel_of(op) if op.kind == "op" and (is_loop(op) or op.primitive == "split") else -1
        past = 0
        for value in op.operands:
            past |= self.behind.get(value, 0)
            if value in self.maker and self.maker[value] != kernel:
                self.kernels[self.maker[value]].is_read = True
        if kernel >= 0:
            past |= 1 << kernel
            self.put(op, kernel)
        for value in op.results:
            self.behind[value] = past

    def put(self, op: Op, kernel: int) -> None:
        """Makes an op part of a kernel."""
        own = self.kernels[kernel]
        self.home[id(op)] = kernel
        own.ops.append(id(op))
        own.reads.update(v for v in op.operands if v not in own.makes)
        own.makes.update(op.results)
        self.maker.update(dict.fromkeys(op.results, kernel))
        if self.goes_on(op):
            self.owner.update(dict.fromkeys(op.results, kernel))

    def kernel_of(self, op: Op) -> int:
        """The kernel that has most of what an op reads, of equals the last; others that nobody has read join it."""
        space = self.space(op)
        makers = {self.owner[v] for v in op.operands if v in self.owner}
        choices = []
        for kernel in makers:
            joining = {k for k in makers - {kernel} if self.may_join(k, kernel)}
            if self.fits(space, self.kernels[kernel].space) and self.is_direct(op.operands, kernel, joining):
                choices.append((len(joining), kernel, joining))
        if not choices:
            self.begun += 1
            self.kernels[self.begun] = _Kernel(space)
            return self.begun
        _, kernel, joining = max(choices, key=lambda choice: choice[:2])
        for other in sorted(joining):
            self.join(other, kernel)
        return kernel

    def space(self, op: Op) -> Shape:
        """What an op loops over: the shape of its result, or of what it reduces or takes apart."""
        whole = op.primitive.startswith("reduce_") or op.primitive == "split"
        return self.avals[op.operands[0] if whole else op.results[0]].shape

    def fits(self, space: Shape, whole: Shape) -> bool:
        """Whether loops over a space are loops over the rows of another."""
        return space == whole or space in (whole[:-1], (*whole[:-1], 1))

    def is_direct(self, values: Collection[int], kernel: int, joining: Collection[int] = ()) -> bool:
        """Whether nothing of what is read has left the kernel, or those that join it, and comes back."""
        inside = {kernel, *joining}
        outside = [v for v in values if self.owner.get(v) not in inside]
        return not any(self.behind.get(v, 0) >> k & 1 for v in outside for k in inside)

    def may_join(self, other: int, kernel: int) -> bool:
        """Whether a kernel can become part of another: nothing that it makes was read, so nothing leads out of it."""
        own = self.kernels[other]
        if own.is_read or not self.fits(own.space, self.kernels[kernel].space):
            return False
        return self.is_direct(own.reads, kernel)

    def join(self, other: int, kernel: int) -> None:
        """Makes one kernel part of another."""
        gone, own = self.kernels.pop(other), self.kernels[kernel]
        self.home.update(dict.fromkeys(gone.ops, kernel))
        self.maker.update(dict.fromkeys(gone.makes, kernel))
        self.owner.update({v: kernel for v in gone.makes if v in self.owner})
        self.behind.update({v: self.behind[v] | 1 << kernel for v in gone.makes})
        own.ops += gone.ops
        own.makes |= gone.makes
        own.reads = (own.reads | gone.reads) - own.makes

    def goes_on(self, op: Op) -> bool:
        """Whether a kernel has a result at hand, row by row: not what is summed over rows, or over too long a row."""
        if not op.primitive.startswith("reduce_"):
            return op.primitive != "split"
        aval, axes = self.avals[op.operands[0]], tuple(op.params.get("axes", ()))
        return axes == (len(aval.shape) - 1,) and aval.shape[-1] * aval.item_bytes <= self.row_bytes


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
    readers: dict[int, list[int]] = {}
    seen: set[tuple[int, int]] = set()
    for op in region.ops:
        kernels.add(op)
    for op in region.ops:
        _note_at_hand(op, kernels, seen, at_hand)
        for value in op.operands:
            readers.setdefault(value, []).append(kernels.home.get(id(op), -1))
        for body in op.regions:
            _region(body, avals, row_bytes, fused, at_hand)
            _inside(body, readers)
    kept = set(region.outputs)
    for op in region.ops:
        if op.rule is not None and op.rule.fusible:
            fused.update(v for v in op.results if v not in kept and _stays(op, v, kernels, readers))


def _note_at_hand(op: Op, kernels: _Kernels, seen: set[tuple[int, int]], at_hand: set[tuple[int, int]]) -> None:
    """Notes which operands of an op its kernel has made or read already."""
    kernel = kernels.home.get(id(op), -1)
    if kernel < 0:
        return
    for value in op.operands:
        if (kernel, value) in seen:
            at_hand.add((op.results[0], value))
        seen.add((kernel, value))
    seen.update((kernel, value) for value in op.results)


def _inside(body: Region, readers: dict[int, list[int]]) -> None:
    """Readers within a loop: what is cheap to make is made there again by each that is a loop itself."""
    for op in body.ops:
        for value in op.operands:
            readers.setdefault(value, []).append(-2 if is_loop(op) else -1)
        for inner in op.regions:
            _inside(inner, readers)
    for value in body.outputs:
        readers.setdefault(value, []).append(-1)


def _stays(op: Op, value: int, kernels: _Kernels, readers: Mapping[int, list[int]]) -> bool:
    own, users = kernels.home.get(id(op), -1), readers.get(value, [])
    if op.primitive in CHEAP and users and -1 not in users:
        return True
    return own >= 0 and bool(users) and all(user == own for user in users)
