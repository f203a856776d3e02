"""Setup: a published run while it is put together; what its row states first, what its source implies after."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import gcd

from swplan.errors import UsageError
from swplan.estimate.strategy import Strategy
from swplan.validation.case import Run
from swplan.validation.rows import Row, count
from swplan.validation.shapes import named, stated
from swplan.validation.vtrain import KEPT

CHIPS = {
    "A100-80G": "a100-80g-sxm",
    "A100": "a100-80g-sxm",
    "H100": "h100-sxm",
    "H100-SXM-80G": "h100-sxm",
    "H100-96G-500W": "h100-96g-500w",
    "H200": "h200-sxm",
    "B200": "b200-sxm",
    "B300": "gb300-nvl72",
    "GB200": "gb200-nvl72",
    "GB300": "gb300-nvl72",
    "MI300X": "mi300x",
    "v4": "tpu-v4",
    "v5e": "tpu-v5e",
    "v5p": "tpu-v5p",
    "v6e": "tpu-v6e",
}
NETWORK = {"GB200": ",gpus_per_node=64", "GB300": ",gpus_per_node=64", "B300": ",gpus_per_node=8"}
"""What 64 of the 72 devices of a rack hold; B300 is the same chip in servers of eight."""


@dataclass(slots=True, kw_only=True)
class Setup:
    """A run while it is put together.

    Attributes:
        chip: name of its chip file.
        devices: of one slice or of the whole machine.
        slices: machines joined by the outermost network.
        model, keywords: the program.
        batch: sequences of a step.
        micro: sequences of a micro-batch on one device.
        degrees: of mesh axes; `data` follows from them.
        options: other settings of the strategy.
        seq: tokens of a sequence.
        network: other numbers of the cluster, as in its spec.
        assumed: what was not stated.
    """

    chip: str
    devices: int
    slices: int = 1
    model: str = "models.gpt:megatron"
    keywords: dict[str, object] = field(default_factory=dict)
    batch: int = 0
    micro: int = 1
    degrees: dict[str, int] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    seq: int = 2048
    network: str = ""
    assumed: list[str] = field(default_factory=list)

    def assume(self, text: str) -> None:
        """Notes what was not stated."""
        self.assumed.append(text)

    @property
    def data(self) -> int:
        """Devices along the batch: all that no other axis takes."""
        taken = 1
        for axis in ("model", "context", "pipe"):
            taken *= self.degrees.get(axis, 1)
        return max(1, self.devices // taken)

    @property
    def layers_of_stage(self) -> int:
        """Layers of a pipeline stage, of programs whose sizes the row states; 1 of others."""
        return max(1, int(self.keywords.get("layers", 1)) // self.degrees["pipe"])


def setup_of(row: Row) -> Setup:
    """What a row states.

    Raises:
        UsageError: its chip or model is unknown, or a cell cannot be read.
    """
    chips = {name.lower(): name for name in CHIPS}
    if row["chip"].lower() not in chips:
        raise UsageError(f"chip {row['chip']!r} is not known; known: {', '.join(CHIPS)}")
    chip = chips[row["chip"].lower()]
    slices, devices = _machines(row["n_chips"])
    setup = Setup(chip=CHIPS[chip], devices=devices, slices=slices, network=NETWORK.get(chip, ""))
    _program(row, setup)
    setup.seq = count(row, "seq", 2048)
    if not row["seq"]:
        setup.assume("sequences of 2048 tokens")
    setup.batch, setup.micro = count(row, "gbs", 0), max(1, count(row, "mbs", 1))
    names = {"model": "tp", "pipe": "pp", "context": "cp", "expert": "ep"}
    setup.degrees = {axis: max(1, count(row, key, 1)) for axis, key in names.items()}
    if count(row, "fsdp", 0) > 1:
        setup.options["zero"] = 3
    if setup.degrees["pipe"] > 1 and count(row, "vp", 1) > 1:
        setup.options["interleave"] = count(row, "vp")
    if row["recompute"] == "full":
        setup.keywords["remat"] = True
    return setup


def _machines(text: str) -> tuple[int, int]:
    """Slices, and devices of each: "4x256" are four of 256, "192 (v4-384)" is one of 192."""
    found = re.match(r"(?:(\d+)\s*x\s*)?(\d+)", text)
    if not found or "0" in found.groups():
        raise UsageError(f"n_chips={text!r}: write a number such as 512, or 4x256 for slices")
    return int(found[1] or 1), int(found[2])


def _program(row: Row, setup: Setup) -> None:
    """The program that the model's name means, or else that of the sizes that the row states."""
    try:
        setup.model, setup.keywords = named(row["model"])
    except UsageError:
        if not row["hidden"]:
            raise
        setup.model, setup.keywords = stated(row)
        if not row["vocab"]:
            setup.assume("vocabulary 51200")


def run_of(setup: Setup) -> Run:
    """The run that was put together.

    Raises:
        UsageError: its degrees do not fill the machine.
    """
    axes, devices = _mesh(setup), setup.devices * setup.slices
    examples = setup.data * setup.slices
    batch = setup.batch or examples * setup.micro
    strategy = Strategy(
        mesh=tuple((axis, size) for axis, size in axes if size > 1),
        micro_batches=max(1, round(batch / (examples * setup.micro))),
        global_batch=batch,
        **setup.options,
    )
    if strategy.devices != devices:
        raise UsageError(f"{strategy} has {strategy.devices} devices, of {devices}; see tp, pp and cp")
    rows = max(1, batch // strategy.micro_batches)
    keywords = {"dtype": "bfloat16", "remat": KEPT, "seq": setup.seq, "batch": rows} | setup.keywords
    device = "chip" if setup.chip.startswith("tpu") else "gpu"
    cluster = f"{setup.chip}:{device}s={devices}{setup.network}"
    return Run.of(setup.model, keywords, cluster=cluster, strategy=strategy, tokens=batch * setup.seq)


def _mesh(setup: Setup) -> list[tuple[str, int]]:
    """Axes innermost first: what talks most lies innermost; the batch is split over experts too."""
    expert = _experts(setup)
    order = [(axis, setup.degrees.get(axis, 1)) for axis in ("model", "context")]
    order += [("expert", expert), ("data", setup.data // expert), ("pipe", setup.degrees.get("pipe", 1))]
    return [*order, ("replica", setup.slices)]


def _experts(setup: Setup) -> int:
    """Devices of the batch among which experts are shared; the rest of the degree lies on the model axis."""
    return gcd(setup.data, setup.degrees.get("expert", 1))
