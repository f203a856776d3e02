"""`published_training.csv`: one row a published training run; see the README beside it.

A source is a function that says what all its rows have in common and what it leaves out. To add a source: one function
in `SOURCES`. What a row states (mesh, micro-batches, recomputation) is read here, alike for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from swplan.errors import UsageError
from swplan.estimate.strategy import Strategy
from swplan.validation.case import Case, Run
from swplan.validation.shapes import named
from swplan.validation.vtrain import KEPT

Row = Mapping[str, str]

CHIPS = {
    "A100-80G": "a100-80g-sxm",
    "A100": "a100-80g-sxm",
    "H100": "h100-sxm",
    "H100-SXM-80G": "h100-sxm",
    "H100-96G-500W": "h100-96g-500w",
    "H200": "h200-sxm",
    "B200": "b200-sxm",
    "GB200": "gb200-nvl72",
    "GB300": "gb300-nvl72",
    "MI300X": "mi300x",
    "v4": "tpu-v4",
    "v5e": "tpu-v5e",
    "v5p": "tpu-v5p",
    "v6e": "tpu-v6e",
}

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


def cases(rows: Iterable[Row]) -> tuple[list[Case], list[str]]:
    """All cases, and why rows are left out."""
    found: list[Case] = []
    left: list[str] = []
    for row in rows:
        try:
            found += _cases(row)
        except UsageError as error:
            left.append(f"{row['id']}: {error}")
    return found, left


def _cases(row: Row) -> list[Case]:
    table = row["id"].split("-")[0]
    if table not in SOURCES:
        raise UsageError(f"source {table!r} is not known; known: {', '.join(SOURCES)}")
    setup = _setup(row)
    SOURCES[table](row, setup)
    run = _run(setup)
    return [_case(row, setup, run, table, key) for key in _measured(row)]


def _measured(row: Row) -> list[str]:
    """The figures of a row that say different things: time or rate, and memory."""
    rates = [key for key in ("iter_time_s", "tok_s_chip", "tflops_per_chip") if row[key]]
    return rates[:1] + (["mem_gib"] if row["mem_gib"] else [])


def _case(row: Row, setup: Setup, run: Run, table: str, key: str) -> Case:
    return Case(
        table=table if key != "mem_gib" else f"{table} memory",
        id=row["id"],
        use=row["use"],
        quantity=key,
        measured=float(row[key]),
        run=run,
        assumed=tuple(setup.assumed),
        amount=run.tokens / run.strategy.devices if key == "tok_s_chip" else 0.0,
    )


def _setup(row: Row) -> Setup:
    """What a row states."""
    if row["chip"] not in CHIPS:
        raise UsageError(f"chip {row['chip']!r} is not known; known: {', '.join(CHIPS)}")
    slices, _, devices = row["n_chips"].split(" ")[0].rpartition("x")
    setup = Setup(chip=CHIPS[row["chip"]], devices=int(devices), slices=int(slices or 1))
    setup.seq = int(row["seq"] or 2048)
    if row["hidden"]:
        _megatron(row, setup)
    else:
        setup.model, setup.keywords = named(row["model"])
    setup.batch, setup.micro = int(row["gbs"] or 0), int(row["mbs"] or 1)
    names = {"model": "tp", "pipe": "pp", "context": "cp", "expert": "ep"}
    setup.degrees = {axis: int(row[key] or 1) for axis, key in names.items()}
    if int(row["fsdp"] or 0) > 1:
        setup.options["zero"] = 3
    if row["recompute"] == "full":
        setup.keywords["remat"] = True
    return setup


def _megatron(row: Row, setup: Setup) -> None:
    keys = {"hidden": "hidden", "layers": "layers", "heads": "heads", "ffn": "ffn", "vocab": "vocab"}
    setup.keywords = {key: int(row[column]) for key, column in keys.items() if row[column]}
    if not row["vocab"]:
        setup.assume("vocabulary 51200")


def _run(setup: Setup) -> Run:
    axes = _mesh(setup)
    devices = setup.devices * setup.slices
    examples = setup.data * setup.slices
    batch = setup.batch or examples * setup.micro
    strategy = Strategy(
        mesh=tuple((axis, size) for axis, size in axes if size > 1),
        micro_batches=max(1, round(batch / (examples * setup.micro))),
        global_batch=batch,
        **setup.options,
    )
    rows = batch // strategy.micro_batches
    keywords = {"dtype": "bfloat16", "remat": KEPT, "seq": setup.seq, "batch": rows} | setup.keywords
    cluster = f"{setup.chip}:{_device(setup.chip)}s={devices}"
    cluster += ",gpus_per_node=64" if setup.chip.startswith("gb") else setup.network
    return Run.of(setup.model, keywords, cluster=cluster, strategy=strategy, tokens=batch * setup.seq)


def _mesh(setup: Setup) -> list[tuple[str, int]]:
    """Axes innermost first: what talks most lies innermost; the batch is split over experts too."""
    expert = _experts(setup)
    order = [(axis, setup.degrees.get(axis, 1)) for axis in ("model", "context")]
    order += [("expert", expert), ("data", setup.data // expert), ("pipe", setup.degrees.get("pipe", 1))]
    return [*order, ("replica", setup.slices)]


def _experts(setup: Setup) -> int:
    """Devices of the batch among which experts are shared; the rest of the degree lies on the model axis."""
    wanted = setup.degrees.get("expert", 1)
    return max(1, wanted // setup.degrees.get("model", 1)) if wanted > setup.data else wanted


def _device(chip: str) -> str:
    return "chip" if chip.startswith("tpu") else "gpu"


# Sources: what all rows of one have in common.


def _sc21(row: Row, setup: Setup) -> None:
    """Megatron-LM on Selene (Narayanan et al., SC 2021): half precision, no sequence parallelism, nothing overlaps."""
    setup.options |= {"sequence": False, "launch": "eager"}
    stages = setup.degrees["pipe"]
    if setup.options.get("zero"):
        setup.options |= {"overlap": ("data",)}
        setup.network = ",gpus_per_node=1"
        setup.assume("ZeRO-3 gathers parameters beside computing, in rings that are not laid along nodes")
    elif stages > 1:
        chunks = int(row["vp"] or 0)
        if not chunks:
            chunks = 3 if setup.keywords["layers"] // stages % 3 == 0 and stages > 30 else 2
            setup.assume(f"interleaved schedule with {chunks} chunks a stage")
        setup.options["interleave"] = chunks


def _plain(row: Row, setup: Setup) -> None:
    """The same programs, 1F1B without interleaving."""
    setup.options |= {"sequence": False, "launch": "eager"}


def _mcore(row: Row, setup: Setup) -> None:
    """Megatron-Core r0.8: fused attention, distributed optimizer, exchanges of all axes beside computing."""
    setup.options |= {"zero": 1, "attention": "fused", "overlap": ("data", "model", "pipe"), "launch": "eager"}
    stages = setup.degrees["pipe"]
    setup.assume("micro-batches of 1, no recomputation")
    if stages > 1:
        each = setup.keywords["layers"] // stages
        chunks = max(n for n in range(1, 9) if each % n == 0)
        setup.options["interleave"] = chunks
        setup.assume(f"interleaved schedule with {chunks} chunks a stage")


def _mbridge(row: Row, setup: Setup) -> None:
    """Megatron-Bridge: fused attention, distributed optimizer or full sharding, exchanges beside computing."""
    setup.options |= {"attention": "fused", "overlap": ("data", "model", "pipe"), "launch": "eager"}
    setup.options["zero"] = 3 if row["fsdp"] not in ("", "0") else 1
    if setup.degrees["pipe"] > 1 and int(row["vp"] or 1) > 1:
        setup.options["interleave"] = int(row["vp"])
    if row["precision"].startswith("FP8"):
        setup.options["precision"] = "fp8"
    setup.assume("no recomputation; routing balanced, no token dropped")


def _torchtitan(row: Row, setup: Setup) -> None:
    """torchtitan: full sharding over data and context, gathered again for the backward pass; compiled programs."""
    setup.options |= {"zero": 3, "attention": "fused", "overlap": ("data",)}
    if "async" in row["id"]:
        setup.options["overlap"] = ("data", "model_half")
    if "eager" in row["id"]:
        setup.options["launch"] = "eager"
    if "8" in row["precision"]:
        setup.options["precision"] = "fp8"
    if row["recompute"].startswith("selective"):
        setup.keywords["remat"] = "every_second_product"
    if setup.degrees["pipe"] > 1:
        _titan_pipeline(row, setup)
    if not setup.batch:
        setup.batch = setup.micro * setup.data
        setup.assume("one micro-batch a step")


def _titan_pipeline(row: Row, setup: Setup) -> None:
    """As many micro-batches as stages (the default of `pipeline_parallel_microbatches`), two chunks if interleaved."""
    chunks = 2 if "int1f1b" in row["id"] else 1
    stages = setup.degrees["pipe"] * chunks
    setup.options |= {"zero": 1, "overlap": ("data", "model_half")}
    if chunks > 1:
        setup.options["interleave"] = chunks
    setup.batch = setup.batch or setup.micro * setup.data
    setup.micro = max(1, setup.micro // stages)
    setup.assume(f"{stages} micro-batches, parameters gathered once a step")


_PER_CHIP = {"16b": 6, "32b": 4, "64b": 2, "128b": 1, "256b": 1, "512b": 2, "1024b": 2, "22b": 13, "52b": 7}
_PER_CHIP_V5P = {"32b": 7, "64b": 3}
_TENSOR = {("tpu-v5e", "128b"): 16, ("tpu-v5p", "32b"): 4, ("tpu-v5p", "64b"): 4}
_TIERED = {"llama270b": 3, "llama318b": 4, "llama3170b": 4, "llama31405b": 1, "mixtral8x7b": 12, "mixtral8x22b": 8}


def _maxtext(row: Row, setup: Setup) -> None:
    """MaxText: full sharding inside a slice, copies across slices, XLA overlaps; sizes of its scripts."""
    name = row["model"].lower()
    if setup.chip == "tpu-v5e" and setup.devices > 256:
        setup.slices, setup.devices = setup.devices // 256, 256
    key = "".join(c for c in name if c.isalnum())
    scripts = _PER_CHIP | (_PER_CHIP_V5P if setup.chip == "tpu-v5p" else {}) | _TIERED
    setup.micro = scripts.get(name) or scripts.get(key, 4)
    tensor = _TENSOR.get((setup.chip, name), 8 if setup.chip == "tpu-v5p" and name in _PER_CHIP else 1)
    setup.micro *= tensor
    setup.degrees["model"] = tensor
    setup.options |= {"zero": 3, "attention": "fused", "overlap": ("data",)}
    minimal = setup.chip == "tpu-v5p" and name in ("32b", "64b", "128b", "256b")
    setup.keywords["remat"] = KEPT if minimal or (setup.chip == "tpu-v5e" and name == "128b") else True
    setup.assume(f"{setup.micro // tensor} sequences a chip, tensor {tensor}, as in the scripts of the repository")


SOURCES: dict[str, Callable[[Row, Setup], None]] = {
    "sc21t1": _sc21,
    "sc21t2": _sc21,
    "seqpar": _plain,
    "mtnlg": _plain,
    "mcore": _mcore,
    "mbridge": _mbridge,
    "tt": _torchtitan,
    "maxtext": _maxtext,
}
