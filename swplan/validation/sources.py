"""Sources of published runs: what all rows of one have in common and do not state.

To add a source: one function in `SOURCES`, which is given what a row states and adds the rest.
"""

from __future__ import annotations

from collections.abc import Callable

from swplan.validation.rows import Row, count
from swplan.validation.setup import Setup
from swplan.validation.vtrain import KEPT


def _sc21(row: Row, setup: Setup) -> None:
    """Megatron-LM on Selene (Narayanan et al., SC 2021): half precision, no sequence parallelism, nothing overlaps."""
    setup.options |= {"sequence": False, "launch": "eager"}
    _whole_layers_again(setup)
    stages = setup.degrees["pipe"]
    if setup.options.get("zero"):
        setup.options |= {"overlap": ("data",)}
        setup.network = ",gpus_per_node=1"
        setup.assume("ZeRO-3 gathers parameters beside computing, in rings that are not laid along nodes")
    elif stages > 1 and not row["vp"]:
        chunks = 3 if setup.layers_of_stage % 3 == 0 and stages > 30 else 2
        setup.options["interleave"] = min(chunks, setup.layers_of_stage)
        setup.assume(f"interleaved schedule with {setup.options['interleave']} chunks a stage")


def _plain(row: Row, setup: Setup) -> None:
    """The same programs, 1F1B; interleaved where a row says so; selective recomputation goes with sequence parallelism.

    Korthikanti et al. (arXiv 2205.05198) compare full recomputation with the two together.
    """
    is_selective = row["recompute"].startswith("selective")
    setup.options |= {"sequence": is_selective, "launch": "eager"}
    _whole_layers_again(setup)
    if is_selective:
        setup.options["recompute"] = "attention"


def _whole_layers_again(setup: Setup) -> None:
    """Full recomputation as in Megatron-LM: whole layers, also their last product and sum, which nothing reads again.

    Its checkpoint runs the function once more (megatron/core/tensor_parallel/random.py, CheckpointFunction.backward).
    A trace of `jax.checkpoint` leaves out what nothing reads.
    """
    if setup.keywords.get("remat") is True:
        setup.keywords["remat"] = KEPT
        setup.options["recompute"] = "full"


def _mcore(row: Row, setup: Setup) -> None:
    """Megatron-Core r0.8: fused attention, distributed optimizer, exchanges of all axes beside computing."""
    setup.options |= {"zero": 1, "attention": "fused", "overlap": ("data", "model", "pipe"), "launch": "eager"}
    stages = setup.degrees["pipe"]
    _assume_silent(row, setup, mbs="micro-batches of 1", recompute="no recomputation")
    if stages > 1 and not row["vp"]:
        chunks = max(n for n in range(1, 9) if setup.layers_of_stage % n == 0)
        setup.options["interleave"] = chunks
        setup.assume(f"interleaved schedule with {chunks} chunks a stage")


RACKS = ("GB200", "GB300")


def _mbridge(row: Row, setup: Setup) -> None:
    """Megatron-Bridge: fused attention, distributed optimizer or full sharding, exchanges beside computing.

    Its recipes (scripts/performance/configs/*/workload_base_configs.py) have CUDA graphs on racks and for gpt-oss, and
    none for other experts on H100 and B200; `moe_a2a_overlap` where experts of interleaved stages span H100 servers.
    """
    setup.options |= {"attention": "fused", "overlap": ("data", "model", "pipe"), "launch": "eager"}
    setup.options["zero"] = 3 if row["fsdp"] not in ("", "0") else 1
    if row["chip"].upper() in RACKS or "oss" in row["model"].lower():
        setup.options["launch"] = "compiled"
        setup.assume("CUDA graphs, as in the recipes")
    if setup.chip.startswith("h") and setup.degrees["expert"] > 8 and "interleave" in setup.options:
        setup.options["overlap"] += ("expert",)
        setup.assume("exchanges of experts beside computing, as in the recipes")
    if "fp8" in row["precision"].lower() or "fp4" in row["precision"].lower():
        setup.options["precision"] = "fp8"
    if "fp4" in row["precision"].lower():
        setup.assume(f"products of {row['precision']} take as long as those of FP8")
    _assume_silent(row, setup, recompute="no recomputation")
    setup.assume("routing balanced, no token dropped")


def _assume_silent(row: Row, setup: Setup, **texts: str) -> None:
    """Notes the text of each column that is empty."""
    for column, text in texts.items():
        if not row[column]:
            setup.assume(text)


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
    """As many micro-batches as pipeline ranks, two chunks if interleaved.

    The default of `pipeline_parallel_microbatches` at the end of 2024 is `pipeline_parallel_degree`
    (torchtitan/parallelisms/pipelining_utils.py, build_pipeline_schedule); stages of all ranks count only since 2025.
    """
    chunks = 2 if "int1f1b" in row["id"] else 1
    stages = setup.degrees["pipe"]
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
    if setup.chip == "tpu-v5e" and setup.devices % 256 == 0:
        setup.slices, setup.devices = setup.slices * setup.devices // 256, 256
    key = "".join(c for c in name if c.isalnum())
    scripts = _PER_CHIP | (_PER_CHIP_V5P if setup.chip == "tpu-v5p" else {}) | _TIERED
    each = scripts.get(name) or scripts.get(key, 4)
    tensor = _TENSOR.get((setup.chip, name), 8 if setup.chip == "tpu-v5p" and name in _PER_CHIP else 1)
    tensor = count(row, "tp", tensor)
    setup.micro = count(row, "mbs", each * tensor)
    setup.degrees["model"] = tensor
    setup.options |= {"zero": 3, "attention": "fused", "overlap": ("data",)}
    minimal = setup.chip == "tpu-v5p" and name in ("32b", "64b", "128b", "256b")
    setup.keywords["remat"] = KEPT if minimal or (setup.chip == "tpu-v5e" and name == "128b") else True
    setup.assume(f"{setup.micro / tensor:g} sequences a chip, tensor {tensor}, as in the scripts of the repository")


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
