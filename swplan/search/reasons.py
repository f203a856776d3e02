"""Why a decision is as it is: the mesh of a plan is solved again with the decision held to each other option.

What an option costs is what the best plan that has it costs: everything else is decided anew around it. So forcing the
runner-up costs what is stated here. An option that would be cheaper if nothing were in its way is listed with what is:
the memory of a device, a dim that does not divide, or a pin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swplan.costmodel.network import Placement
from swplan.passes.padding import padded
from swplan.passes.partition import partition
from swplan.search.decisions import Node
from swplan.search.frame import Option
from swplan.search.planner import find
from swplan.search.pricing import Pricer
from swplan.search.space import Space, problem, space
from swplan.search.subject import (
    LIMITLESS,
    Candidate,
    Pins,
    Subject,
    candidate_of,
    pricer_on,
    solve_space,
    subject,
)
from swplan.search.undivided import Padding, place_of, undivided

MOST = 4
"""Options that are priced one by one; the runner-up is the cheapest of all."""
PADDINGS = 1
"""Paddings that are priced, the smallest first."""
MEMORY, DIVISIBILITY, PIN = "memory", "divisibility", "pin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One option of a decision, with the best plan on this mesh that has it.

    Attributes:
      option: as the plan writes it.
      text: in words.
      cost_s: of the search, as in the certificate of a plan; None where it is not known.
      memory_bytes: of a device at the peak.
      excluded: "memory", "divisibility" or "pin"; "" if this could be chosen.
      over_bytes: what a device lacks for it.
      paddings: what would make it legal.
    """

    option: Option
    text: str
    cost_s: float | None
    memory_bytes: int | None
    excluded: str = ""
    over_bytes: int = 0
    paddings: tuple[Padding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why one decision is as it is.

    Attributes:
      key: of the decision, as the decision graph names it.
      name: what is decided, in words.
      source: the line of an op.
      members: how many decisions of the program are made together with it.
      chosen: the option of the plan.
      others: options that could be chosen, cheapest first.
      excluded: options that would be cheaper, or that a dim does not divide for, with what is in their way.
      untried: options that were not priced one by one; none of them is cheaper than the runner-up.
    """

    key: tuple[str, int]
    name: str
    source: str
    members: int
    chosen: Choice
    others: tuple[Choice, ...]
    excluded: tuple[Choice, ...]
    untried: int

    @property
    def runner_up(self) -> Choice | None:
        """The cheapest other option that could be chosen."""
        return self.others[0] if self.others else None


Words = Callable[[Node, Option], str]


@dataclass(slots=True, kw_only=True)
class Decided:
    """A plan as the search knows it, and what it is asked.

    Attributes:
      subject: the program that runs, on the cluster.
      placement: the mesh.
      choices: of every decision.
      cost_s: of the plan, as its certificate says.
      memory_bytes: of the plan.
      words: an option in words.
      pins: what the plan was held to.
    """

    subject: Subject
    placement: Placement
    choices: Mapping[tuple[str, int], Option]
    cost_s: float
    memory_bytes: int
    words: Words
    pins: Pins = field(default_factory=dict)
    _area: Space | None = None

    @property
    def pricer(self) -> Pricer:
        """Prices on the mesh."""
        return self.area.pricer

    @property
    def area(self) -> Space:
        """All that could be chosen on the mesh, without pins."""
        if self._area is None:
            self._area = space(self.subject.folded, pricer_on(self.subject, self.placement))
        return self._area

    def reason(self, cls: int, name: str) -> Reason:
        """Why a class of decisions is as it is."""
        node = self.subject.folded.representative(cls)
        chosen = self.choices[node.key]
        ordered = self.ordered(cls, chosen)
        held = self.pins.get(cls)
        legal = [option for option in ordered if held is None or option in held]
        others, excluded, tried = self.priced(cls, legal)
        if held is not None:
            excluded += self.pinned(cls, [option for option in ordered if option not in held])
        excluded += self.undivided(cls)
        shown = Choice(option=chosen, text=self.words(node, chosen), cost_s=self.cost_s, memory_bytes=self.memory_bytes)
        return Reason(
            key=node.key,
            name=name,
            source=node.op.source if node.op is not None else "",
            members=len(self.subject.folded.members[cls]),
            chosen=shown,
            others=tuple(sorted(others, key=lambda c: c.cost_s)),
            excluded=tuple(sorted(excluded, key=lambda c: np.inf if c.cost_s is None else c.cost_s)),
            untried=len(legal) - tried,
        )

    def ordered(self, cls: int, chosen: Option) -> list[Option]:
        """The other options, those first that would cost least if all around them stayed as it is."""
        stated = problem(self.area)
        at = [
            self.area.domains[c].index(self.choices[self.subject.folded.representative(c).key])
            for c in range(len(self.area.domains))
        ]
        costs = np.array(stated.costs[cls], dtype=float)
        for a, b, table in stated.edges:
            if a == b == cls:
                costs = costs + np.diagonal(table)
            elif cls in (a, b):
                costs = costs + (table[:, at[b]] if a == cls else table[at[a], :])
        options = self.area.domains[cls]
        return [options[i] for i in np.argsort(costs, kind="stable") if options[i] != chosen]

    def priced(self, cls: int, options: Sequence[Option]) -> tuple[list[Choice], list[Choice], int]:
        """Choices that fit; those that would be cheaper but do not; of how many options these are."""
        others: dict[Option, Choice] = {}
        excluded: list[Choice] = []
        if not options:
            return [], [], 0
        asked = [tuple(options), *((option,) for option in options[:MOST])]
        for several in dict.fromkeys(asked):
            if len(several) == 1 and several[0] in others:
                continue
            free, best = self.solved(cls, several)
            if best is not None:
                others[self.of(cls, best)] = self.choice(cls, best)
            lacking = int(free.memory_bytes) - self.subject.cluster.memory_bytes if free is not None else 0
            if lacking > 0 and free.cost_s < self.cost_s:
                excluded.append(replace(self.choice(cls, free), excluded=MEMORY, over_bytes=lacking))
        excluded = list({choice.option: choice for choice in excluded}.values())
        return list(others.values()), excluded, len(set(options[:MOST]) | set(others))

    def solved(self, cls: int, options: tuple[Option, ...]) -> tuple[Candidate | None, Candidate | None]:
        """The best plan on the mesh with one of these options if memory were no limit, and the best that fits."""
        pins = {**self.pins, cls: options}
        free = self.unlimited(pins)
        if free is None or free.memory_bytes <= self.subject.cluster.memory_bytes:
            return free, free
        found = find(self.subject, max_axes=len(self.placement.sizes), meshes=[self.placement], pins=pins)
        return free, found.best if found is not None else None

    def unlimited(self, pins: Pins) -> Candidate | None:
        """The best plan on the mesh if memory were no limit, with the memory of its finished program; None: no plan."""
        area = space(self.subject.folded, self.pricer, pins)
        solution, stated = solve_space(self.subject, area, LIMITLESS)
        if solution.choice is None:
            return None
        candidate = candidate_of(area, solution, stated)
        program = partition(self.subject.graph, self.placement.sizes, candidate.choices)
        return replace(candidate, memory_bytes=self.subject.peak(program).peak_bytes)

    def of(self, cls: int, candidate: Candidate) -> Option:
        """What a candidate chose."""
        return candidate.choices[self.subject.folded.representative(cls).key]

    def choice(self, cls: int, candidate: Candidate) -> Choice:
        """A candidate as an option of this decision."""
        option = self.of(cls, candidate)
        text = self.words(self.subject.folded.representative(cls), option)
        return Choice(
            option=option, text=text, cost_s=float(candidate.cost_s), memory_bytes=int(candidate.memory_bytes)
        )

    def pinned(self, cls: int, options: Sequence[Option]) -> list[Choice]:
        """What would be cheaper than the plan if nobody had pinned this decision."""
        if not options:
            return []
        freed = replace(self, pins={c: held for c, held in self.pins.items() if c != cls}, _area=self._area)
        found = freed.priced(cls, options)[0]
        return [replace(choice, excluded=PIN) for choice in found if choice.cost_s < self.cost_s]

    def undivided(self, cls: int) -> list[Choice]:
        """Options that a dim does not divide for, with the padding that would help and what plans would cost then."""
        node, sizes = self.subject.folded.representative(cls), self.placement.sizes
        groups: dict[tuple[Padding, ...], list[Option]] = {}
        for option, paddings in undivided(node, sizes):
            groups.setdefault(paddings, []).append(option)
        small = sorted(groups, key=lambda needs: (len(needs), max(p.padded / p.extent for p in needs)))
        return [self.if_padded(cls, needs, groups[needs]) for needs in small if len(needs) == 1][:PADDINGS]

    def if_padded(self, cls: int, needs: tuple[Padding, ...], options: Sequence[Option]) -> Choice:
        """The best plan on the mesh if a dim were padded, with an option that this would make legal."""
        index = self.subject.folded.members[cls][0]
        node = self.subject.decisions.nodes[index]
        stated = Choice(
            option=options[0],
            text=self.words(node, options[0]),
            cost_s=None,
            memory_bytes=None,
            excluded=DIVISIBILITY,
            paddings=needs,
        )
        place = place_of(node, needs[0], self.subject.graph.top.outputs)
        graph = padded(self.subject.graph, place, needs[0].padded) if place else None
        if graph is None:
            return stated
        longer = subject(graph, self.subject.cluster, self.subject.xla)
        pins = {longer.folded.class_of[index]: tuple(options)}
        found = find(longer, max_axes=len(self.placement.sizes), meshes=[self.placement], pins=pins)
        if found is None:
            return stated
        option = found.best.choices[node.key]
        cost_s, held = float(found.best.cost_s), int(found.best.memory_bytes)
        return replace(stated, option=option, text=self.words(node, option), cost_s=cost_s, memory_bytes=held)
