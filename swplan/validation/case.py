"""Case: one published figure, and the run that it was measured on in our terms: program, cluster, strategy.

What a publication leaves out and we had to assume stands in the case, in words, and is shown with its result.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from swplan.estimate.strategy import Strategy

QUANTITIES = {
    "iter_time_s": "seconds of a training step",
    "tok_s_chip": "tokens per second and device",
    "tflops_per_chip": "operations that the model needs, 1e12 per second and device",
    "mem_gib": "GiB of one device at the peak",
    "flops_per_s": "operations per second of the whole machine",
    "optimizer_s": "seconds of the optimizer, its exchanges included",
    "speedup": "step time of another run over that of this one",
    "share": "share of the step time",
}
"""What published runs give, in the words of their table, and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A training step on a cluster.

    Attributes:
        model: `module:function` that returns (step, args).
        keywords: of the function, sorted.
        cluster: its spec.
        strategy: how it was run.
        tokens: of a step.
    """

    model: str
    keywords: tuple[tuple[str, object], ...]
    cluster: str
    strategy: Strategy
    tokens: float

    @classmethod
    def of(cls, model: str, keywords: Mapping[str, object], **others: object) -> Run:
        """A run; keywords in any order."""
        return cls(model=model, keywords=tuple(sorted(keywords.items())), **others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One figure.

    Attributes:
        table: its table.
        id: its row.
        use: "fit" or "check".
        quantity: one of `QUANTITIES`.
        measured: the published value.
        run: what was measured.
        assumed: what the publication does not say.
        group: equal for runs among which a user would choose; None where there is no choice.
        amount: what the figure counts in a step, where it is a rate; 0 where it is a time or a size.
        part: of the step, for a share.
        against: the other run of a speed-up.
    """

    table: str
    id: str
    use: str
    quantity: str
    measured: float
    run: Run
    assumed: tuple[str, ...] = ()
    group: Hashable = None
    amount: float = 0.0
    part: str = ""
    against: Run | None = None
