"""The search: prices of memory that make room, choices that follow the prices, and a choice that always fits.

Lagrangian relaxation of the limits on memory (A. Geoffrion, 1974, doi:10.1007/BFb0120690): every row has a price, and
what strategies hold is charged. Two share the work in rounds, each on a thread of its own. The follower sends messages
(a bound), moves on forests and joins the better pieces of two choices, free to exceed limits; it raises the prices of
rows that are too full and lowers those of others. The keeper has two walkers that start from what the follower found,
make room where rows are overfull at prices that rise until they fit, and then move wherever that pays and memory
allows: one goes on from the best, one starts ever anew. The best of what fits is the answer. A round takes what the
round before it left, so the seed alone decides what it does: more time is more rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from swplan.solver.large.arrays import Graph, Memory
from swplan.solver.large.forest import improve
from swplan.solver.large.memory import charge, cost_of, profile_of
from swplan.solver.large.messages import suggested, sweep
from swplan.solver.large.shift import shift, work_space

FIRST_PRICE = 0.01  # of the cost of the first choice, shared among rows
LEAST_PRICE = 1e-9  # likewise: prices change by factors, so they never vanish
MOST_PRICE = 100.0  # of the limit of one row, in costs of the first choice
ROUNDING = 1e-9  # relative error of sums of costs: what bounds are lowered by
STEP, LEAST_STEP, SLOWING = 0.2, 0.02, 100.0  # exponents of price changes: first, last share, rounds to half
EASED = (0.0, 0.5, 0.8, 0.9, 1.0)  # shares of the prices at which the keeper looks for cheaper choices
FORESTS = 3  # that a walker tries in a round: two take as long as the follower
LIFE = 30  # rounds of a walker that started anew
DEARER, EASING = 1.25, 0.9  # factors for each round in which a row is overfull, and of what is left of them after


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is searched."""

    graph: Graph
    memory: Memory

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.graph.first) - 1

    @property
    def scale(self) -> np.ndarray:
        """[rows] bytes that count as much in each row: its limit, if that is not nearly nothing."""
        return np.maximum(self.memory.limit, max(1e-3 * self.memory.limit.max(initial=0.0), 1.0))

    def cost(self, choice: np.ndarray) -> float:
        """What a choice costs."""
        return float(cost_of(self.graph, self.graph.cost, choice))

    def charged(self, prices: np.ndarray) -> np.ndarray:
        """[strategies] costs with memory priced by row."""
        cost = np.empty_like(self.graph.cost)
        charge(self.graph, self.memory, np.concatenate([[0.0], np.cumsum(prices)]), cost)
        return cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """What the follower passes to the keeper: prices, costs charged with them, and choices that are good at them."""

    prices: np.ndarray
    charged: np.ndarray
    choices: tuple[np.ndarray, ...]
    held: np.ndarray


class Follower:
    """Follows the prices of memory, and moves them."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene, self.random = scene, np.random.default_rng(seed)
        self.messages = np.zeros(scene.graph.where[-1])
        self.free = scene.memory._replace(limit=np.full(len(scene.memory.limit), np.inf))
        self.space = work_space(scene.nodes, len(scene.memory.limit))
        self.bound, self.rounds = -math.inf, 0
        for _ in range(10):
            sweep(scene.graph, scene.graph.cost, self.messages)
        self.choice = suggested(scene.graph, scene.graph.cost, self.messages)
        improve(scene.graph, scene.graph.cost, self.choice, self.random.permutation(scene.nodes))
        value = max(scene.cost(self.choice), 1.0)
        if not math.isfinite(value):
            value = max(1.0, float(np.abs(scene.graph.cost).sum()))
        rows = len(scene.memory.limit)
        self.unit = np.full(rows, value / (rows * scene.scale.mean()) if rows else 1.0)
        self.most = MOST_PRICE * value / scene.scale
        self.prices = FIRST_PRICE * self.unit

    def step(self) -> Lead:
        """One round: messages, a bound, moves on forests, and new prices."""
        scene, graph = self.scene, self.scene.graph
        prices = self.prices
        charged = scene.charged(prices)
        least, room = sweep(graph, charged, self.messages), float(prices @ scene.memory.limit)
        self.bound = max(self.bound, least - room - ROUNDING * (abs(least) + room))
        other = suggested(graph, charged, self.messages)
        for choice in (other, other, self.choice):
            improve(graph, charged, choice, self.random.permutation(scene.nodes))
        held = profile_of(scene.memory, self.choice)
        shift(graph, self.free, charged, self.choice, other, held, self.space)
        self._move_prices(held)
        return Lead(prices=prices, charged=charged, choices=(other, self.choice.copy()), held=held)

    def _move_prices(self, held: np.ndarray) -> None:
        """Raises the prices of rows that are too full, lowers those of others."""
        scene = self.scene
        self.rounds += 1
        step = STEP * max(LEAST_STEP, 1 / (1 + self.rounds / SLOWING))
        over = np.clip((held - scene.memory.limit) / scene.scale, -1.0, 1.0)
        raised = np.maximum(self.prices, LEAST_PRICE * self.unit) * np.exp(step * over)
        self.prices = np.minimum(raised, self.most)


class Walker:
    """Brings a choice within the limits and keeps it there, ever cheaper."""

    def __init__(self, scene: Scene, lead: Lead, random: np.random.Generator) -> None:
        self.scene, self.random = scene, random
        self.choice, self.held = lead.choices[-1].copy(), lead.held.copy()
        self.space = work_space(scene.nodes, len(scene.memory.limit))
        self.dearer = np.ones(len(scene.memory.limit))
        self.age = 0

    @property
    def fits(self) -> bool:
        """Whether the choice is within all limits."""
        return bool((self.held <= self.scene.memory.limit).all())

    def step(self, lead: Lead) -> None:
        """Moves towards what the follower found, then on forests of its own."""
        self.age += 1
        charged = self.scene.charged(self._prices(lead))
        for goal in lead.choices:
            self._towards(goal, lead.charged if self.fits else charged)
        for _ in range(FORESTS):
            goal = self.choice.copy()
            improve(self.scene.graph, charged, goal, self.random.permutation(self.scene.nodes))
            self._towards(goal, charged)

    def _towards(self, goal: np.ndarray, charged: np.ndarray) -> None:
        shift(self.scene.graph, self.scene.memory, charged, self.choice, goal, self.held, self.space)

    def _prices(self, lead: Lead) -> np.ndarray:
        """Eased prices, to find what is cheaper; where rows are overfull, dearer ones, the longer the more."""
        full = self.held > self.scene.memory.limit
        self.dearer = np.where(full, DEARER * self.dearer, 1.0 + EASING * (self.dearer - 1.0))
        if not full.any():
            return lead.prices * self.random.choice(EASED)
        return np.where(full, np.maximum(lead.prices, lead.prices.mean()), lead.prices) * self.dearer


class Keeper:
    """Keeps the best choice that fits of those of two walkers: one goes on from its best, one starts ever anew."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene, self.random = scene, np.random.default_rng(seed)
        self.main: Walker | None = None
        self.trial: Walker | None = None
        self.best: np.ndarray | None = None
        self.cost = math.inf

    def step(self, lead: Lead) -> None:
        """One round of both."""
        self._offer(lead.choices[-1], lead.held)
        if self.trial is None or self.trial.age >= LIFE:
            self._renew(lead)
        for walker in (self.main, self.trial):
            if walker is not None:
                walker.step(lead)
                self._offer(walker.choice, walker.held)

    def _renew(self, lead: Lead) -> None:
        """The trial becomes what goes on, if it is better, and starts anew."""
        if self.trial is not None and (self.main is None or self._is_better(self.trial, self.main)):
            self.main = self.trial
        self.trial = Walker(self.scene, lead, self.random)

    def _is_better(self, walker: Walker, other: Walker) -> bool:
        if walker.fits != other.fits:
            return walker.fits
        return self.scene.cost(walker.choice) < self.scene.cost(other.choice)

    def _offer(self, choice: np.ndarray, held: np.ndarray) -> None:
        """Remembers a choice that fits and is the best so far."""
        if (held > self.scene.memory.limit).any():
            return
        cost = self.scene.cost(choice)
        if cost < self.cost:
            self.cost, self.best = cost, choice.copy()
