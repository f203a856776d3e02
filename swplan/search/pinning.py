"""What pins leave to decide on a mesh: which axes their names stand for, and which layouts satisfy them.

On every mesh each name is bound to one axis or several, different names to different axes, in every way there is; axes
without a name are free. Each binding on which all pins can hold is searched like a mesh of its own
(`search/planner.py`), so the best binding is found with the best plan. A layout satisfies a pin if each dim is split
by exactly the axes of its names; dims left open may be split by whatever axis the pin does not name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from math import prod

from swplan.costmodel.network import Placement
from swplan.errors import PinError
from swplan.ir.layout import REPLICATED, Layout
from swplan.ir.pin import Pin
from swplan.search.decisions import Node
from swplan.search.frame import domain
from swplan.search.meshes import candidate_meshes
from swplan.search.subject import Bound, Subject

Names = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """The pins of a program: for a mesh, every way to satisfy them.

    Attributes:
      nodes: by class of decisions, one decision and what is asked of it.
      fixed: names that stand for certain axes: those of another plan.
      sized: whether names that have a size in the user's own mesh must have it here.
    """

    nodes: Mapping[int, tuple[Node, tuple[Pin, ...]]]
    fixed: Names = field(default_factory=dict)
    sized: bool = True
    _known: dict[tuple[int, ...], tuple[Bound, ...]] = field(default_factory=dict)

    @property
    def pins(self) -> tuple[Pin, ...]:
        """All pins, one for each that is made once, in the order of the program."""
        return tuple({pin.group: pin for _, pins in self.nodes.values() for pin in pins}.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the planner binds."""
        return tuple(sorted({name for pin in self.pins for name in pin.names} - self.fixed.keys()))

    @property
    def axes(self) -> int:
        """How many axes a mesh has at least, if every name has one of its own."""
        return len(self.names)

    def on(self, mesh: Placement) -> tuple[Bound, ...]:
        """Every binding on which all pins can hold, with the options that it leaves."""
        if mesh.sizes not in self._known:
            found = (self.bound(names, mesh.sizes) for names in self.bindings(mesh.sizes))
            self._known[mesh.sizes] = tuple(one for one in found if one is not None)
        return self._known[mesh.sizes]

    def bindings(self, sizes: tuple[int, ...]) -> list[Names]:
        """Every way to bind the names to axes: one device needs none."""
        found = bindings(self.names, len(sizes)) if sizes else [dict.fromkeys(self.names, ())]
        wanted = {name: size for pin in self.pins for name, size in pin.sizes} if self.sized else {}
        return [
            {**names, **self.fixed}
            for names in found
            if all(prod(sizes[a] for a in names[name]) == size for name, size in wanted.items() if name in names)
        ]

    def bound(self, names: Names, sizes: tuple[int, ...]) -> Bound | None:
        """What a binding leaves to each class; None if some pin cannot hold."""
        options = {}
        for cls, (node, pins) in self.nodes.items():
            left = domain(node, sizes)
            for pin in pins:
                left = tuple(layout for layout in left if satisfies(layout, pin, names))
            if not left:
                return None
            options[cls] = left
        return Bound(options=options, names=names)

    def without(self, group: tuple) -> Pinned:
        """The same without the pins of one group."""
        return self.only(lambda pin: pin.group != group)

    def only(self, kept: object) -> Pinned:
        """The same with some of the pins."""
        left = {cls: (node, tuple(filter(kept, pins))) for cls, (node, pins) in self.nodes.items()}
        return replace(self, nodes={cls: (node, pins) for cls, (node, pins) in left.items() if pins}, _known={})


def pinned(subject: Subject, fixed: Names | None = None, sized: bool = True) -> Pinned:
    """The pins of a program."""
    nodes = {}
    for cls in range(len(subject.folded.members)):
        node = subject.folded.representative(cls)
        if node.pins:
            nodes[cls] = (node, node.pins)
    return Pinned(nodes=nodes, fixed=fixed or {}, sized=sized)


@lru_cache(maxsize=256)
def bindings(names: tuple[str, ...], axes: int) -> list[dict[str, tuple[int, ...]]]:
    """Every way to give each name one axis or several, no axis to two names; axes may be left without a name."""
    found = []
    for owners in product((*names, None), repeat=axes):
        if set(names) <= set(owners):
            found.append({name: tuple(a for a, owner in enumerate(owners) if owner == name) for name in names})
    return found


def satisfies(layout: Layout, pin: Pin, names: Names) -> bool:
    """Whether a layout is what a pin asks for."""
    place = {axis: dim for dim, entry in enumerate(pin.spec) for name in entry or () for axis in names[name]}
    left_open = {dim for dim, entry in enumerate(pin.spec) if entry is None}
    return all(
        entry == place[axis] if axis in place else entry == REPLICATED or entry in left_open
        for axis, entry in enumerate(layout)
    )


def checked(found: Pinned, subject: Subject, meshes: Sequence[Placement] | None) -> tuple[Pinned, str]:
    """Pins that some mesh can satisfy, and a remark where sizes of the user's own mesh had to give way.

    Raises:
      PinError: no mesh can; names the pin.
    """
    if not found.nodes:
        return found, ""
    tried = meshes or candidate_meshes(subject.cluster, subject.decisions, max(2, found.axes))
    if any(map(found.on, tried)):
        return found, ""
    loose = replace(found, sized=False, _known={})
    if any(map(loose.on, tried)):
        return loose, _unsized(found, subject)
    alone = (pin for pin in found.pins if not any(map(loose.only(lambda p, one=pin: p.group == one.group).on, tried)))
    pin = next(alone, None)
    raise PinError(_together(found, tried) if pin is None else _impossible(found, pin, tried))


def _unsized(found: Pinned, subject: Subject) -> str:
    sizes = {name: size for pin in found.pins for name, size in pin.sizes}
    line = next(pin.label for pin in found.pins if pin.sizes)
    mesh = ", ".join(f"{name}:{size}" for name, size in sizes.items())
    return (
        f"the mesh of the sharding constraint at {line} ({mesh}) is none of these {subject.cluster.devices} devices: "
        "its names are bound to axes of other sizes"
    )


def _impossible(found: Pinned, pin: Pin, tried: Sequence[Placement]) -> str:
    node = next(node for node, pins in found.nodes.values() if any(p.group == pin.group for p in pins))
    sizes = sorted({size for mesh in tried for size in mesh.sizes})
    split = [f"dim {dim} ({node.aval.shape[dim]})" for dim, entry in enumerate(pin.spec) if entry]
    text = ", ".join(map(str, sizes))
    return (
        f"no mesh can hold the pin {pin} of {node.aval} at {pin.label}:\n"
        f"  it splits {' and '.join(split) or 'nothing'}, and the axes of the meshes have the sizes {text}.\n"
        "  A dim that is split must be a multiple of its axes, and each name needs axes of its own:\n"
        "  change the shape, the spec, or the number of devices."
    )


def _together(found: Pinned, tried: Sequence[Placement]) -> str:
    lines = "".join(f"\n  {pin} at {pin.label}" for pin in found.pins[:8])
    most = max(len(mesh.sizes) for mesh in tried)
    return (
        f"each of these pins can hold, but no mesh holds them all:{lines}\n"
        f"  Equal names are the same axes everywhere, and meshes of up to {most} axes were tried: let a name go, or "
        "leave dims\n  open with '...'."
    )
