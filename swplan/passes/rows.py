"""Kernels that keep rows: what a compiler or a library fuses where a row of a tensor fits into local memory.

A softmax or a norm reads each row, reduces it, and uses the result on the same row. A kernel that holds a row on chip
reads it once and writes it once (XLA for GPU: softmax and normalisation fusions; hand-written kernels elsewhere), so
the wide values in between never reach memory. Kernels are sets of loops over one space such that nothing leads out of
a set and back into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swplan.ir.graph import Aval, Graph, Op, Region
from swplan.passes.fusion import CHEAP, OnChip, is_loop

Shape = tuple[int, ...]


@dataclass(slots=True)
class _Kernels:
    """The kernels of one region while they grow.

    Attributes:
      avals: of all values.
      row_bytes: longest row that a kernel holds.
      spaces: kernel -> the space over which it loops.
      owner: value -> the kernel that makes it, if its loops may go on with it.
      behind: value -> the kernels that it comes from, as bits.
    """

    avals: Sequence[Aval]
    row_bytes: float
    spaces: list[Shape] = field(default_factory=list)
    owner: dict[int, int] = field(default_factory=dict)
    behind: dict[int, int] = field(default_factory=dict)
    home: dict[int, int] = field(default_factory=dict)

    def add(self, op: Op) -> None:
        """Puts an op into the kernel of one of its operands, or begins one; ops that are no loops stand alone."""
        past = 0
        for value in op.operands:
            past |= self.behind.get(value, 0)
        kernel = self.kernel_of(op) if op.kind == "op" and is_loop(op) else -1
        if kernel >= 0:
            past |= 1 << kernel
            self.home[id(op)] = kernel
        for value in op.results:
            self.behind[value] = past
            if kernel >= 0 and self.goes_on(op):
                self.owner[value] = kernel

    def kernel_of(self, op: Op) -> int:
        space = self.space(op)
        joined = {self.owner[v] for v in op.operands if v in self.owner}
        for kernel in sorted(joined, reverse=True):
            if self.fits(space, self.spaces[kernel]) and self.is_direct(op, kernel):
                return kernel
        self.spaces.append(space)
        return len(self.spaces) - 1

    def space(self, op: Op) -> Shape:
        """What an op loops over: the shape of its result, or of what it reduces."""
        return self.avals[op.operands[0] if op.primitive.startswith("reduce_") else op.results[0]].shape

    def fits(self, space: Shape, whole: Shape) -> bool:
        """Whether loops over a space are loops over the rows of another."""
        return space == whole or space in (whole[:-1], (*whole[:-1], 1))

    def is_direct(self, op: Op, kernel: int) -> bool:
        """Whether nothing that an op reads has left the kernel and comes back."""
        outside = [v for v in op.operands if self.owner.get(v) != kernel]
        return not any(self.behind.get(v, 0) >> kernel & 1 for v in outside)

    def goes_on(self, op: Op) -> bool:
        """Whether a kernel has a result at hand, row by row: not what is summed over rows, or over too long a row."""
        if not op.primitive.startswith("reduce_"):
            return True
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
