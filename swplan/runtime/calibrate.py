"""Measures the machine at hand and writes it down as the chip `host`: so that plans for it are priced by what it does.

A measurement is a row of `_jobs`; the programs and the clock are in `calibrate_loops`. Collectives are fitted to the
cost model's own algorithms, for the group of all devices. Not for machines that are not at hand: those are chip files.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from swplan.costmodel.chip import Chip, _folders
from swplan.costmodel.chipwriter import calibrated_chip, write_chip
from swplan.costmodel.schema import Number, key_units
from swplan.runtime import calibrate_loops as loops
from swplan.runtime.calibrate_fit import Shape, fit_link, fit_products, losses, shortest
from swplan.runtime.calibrate_loops import Effort, Watch

Numbers = dict[str, Number]
Progress = Callable[[int, int, str], None]

DTYPES = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
MATMULS = ((1, 16, 64, 256), (1, 128, 64, 256), (1, 512, 128, 128), (1, 256, 256, 256), (16, 64, 16, 64))
NARROW = (
    (1, 512, 256, 4),
    (1, 512, 256, 16),
    (1, 512, 64, 8),
    (1, 8, 256, 128),
    (1, 32, 256, 128),
    (1, 2048, 16, 64),
    (1, 64, 1024, 64),
)
"""Products with a short side, and others beside them: what that costs is fitted."""
STREAM_ELEMENTS = (1 << 14, 1 << 16, 1 << 18)
TURNED_SIDES = (64, 128, 256)
BUFFER_BYTES = (1 << 10, 1 << 14, 1 << 17, 1 << 20)
UNITS = key_units(("host",))


@dataclass(frozen=True, slots=True)
class _Job:
    text: str
    measure: Callable[[], Numbers]


def calibrate(progress: Progress | None = None, *, save: bool = True, effort: Effort | None = None) -> Chip:
    """Measures the devices at hand, all at once, in rounds; takes one to two minutes for eight emulated ones.

    Args:
      progress: called with (done, total, text).
      save: write `host.toml` into the user's chip folder, where `host` is then found.
      effort: how long to measure each program.

    Returns:
      the chip `host` with every number measured; collectives only where there are two devices or more.
    """
    numbers: Numbers = {}
    effort = effort or Effort()
    jobs = _jobs(Watch(loops.all_devices(), effort), numbers) * effort.rounds
    for done, job in enumerate(jobs):
        if progress:
            progress(done, len(jobs), job.text)
        numbers |= job.measure()
    chip = calibrated_chip(numbers)
    if save:
        write_chip(user_file(), chip)
    if progress:
        progress(len(jobs), len(jobs), "measured")
    return chip


def user_file() -> Path:
    """Where `calibrate` writes the chip, and where `host` is looked for first."""
    return _folders()[0] / "host.toml"


def _jobs(watch: Watch, numbers: Numbers) -> list[_Job]:
    precisions = [_Job(f"compute in {name}", partial(_compute, name, watch, numbers)) for name in DTYPES]
    kinds = [_Job(kind.replace("_", "-"), partial(_exchange, kind, watch, numbers)) for kind in loops.EXCHANGES]
    meeting = [_Job("rendezvous", partial(_rendezvous, watch))] if watch.mesh.size % 2 == 0 else []
    return [
        _Job("memory", partial(_memory, watch)),
        _Job("special functions and small ops", partial(_small, watch)),
        _Job("products of many shapes", partial(_products, watch)),
        *precisions,
        *meeting,
        *(kinds if watch.mesh.size > 1 else []),
    ]


def _number(key: str, value: float, mesh: Mesh, what: str) -> Numbers:
    source = f"swplan calibrate, jax {jax.__version__}, {mesh.size} devices at once: {what}"
    return {key: Number(value=value, unit=UNITS[key], source=source, kind="measured")}


def _products(watch: Watch) -> Numbers:
    """What short sides cost a product."""
    shapes = (*MATMULS, *NARROW)
    rates = [_rate([(loops.matmul, *shape, "float32")], watch) for shape in shapes]
    edge, depth = fit_products(shapes, rates)
    what = f"fitted to fp32 products {_rates_text(shapes, rates)}"
    return _number("compute.matmul_edge", edge, watch.mesh, what) | _number(
        "compute.matmul_depth", depth, watch.mesh, what
    )


def _compute(precision: str, watch: Watch, known: Numbers) -> Numbers:
    """Matmul and vector rates of one precision; what products lose to short sides is known already."""
    with jax.enable_x64(precision == "fp64"):
        dtype = DTYPES[precision]
        rates = [_rate([(loops.matmul, *shape, dtype)], watch) for shape in MATMULS]
        vector = _rate([(loops.elementwise, dtype), (loops.row_sums, dtype)], watch)
    edge, depth = (known[f"compute.matmul_{what}"].value for what in ("edge", "depth"))
    endless = statistics.median((np.array(rates) * losses(MATMULS, edge, depth)).tolist())
    peak, text = max(*rates, endless), _rates_text(MATMULS, rates)
    return (
        _number(f"compute.flops_per_s.{precision}", peak, watch.mesh, f"endless products, from {text}")
        | _number(f"compute.matmul_efficiency.{precision}", endless / peak, watch.mesh, f"median, from {text}")
        | _number(
            f"compute.vector_flops_per_s.{precision}",
            vector,
            watch.mesh,
            "fused elementwise ops and sums of rows of 64",
        )
    )


def _rates_text(shapes: Sequence[Shape], rates: Sequence[float]) -> str:
    pairs = zip(shapes, rates, strict=True)
    return ", ".join(f"{b} x [{m},{k}]x[{k},{n}] {rate:.3g} flop/s" for (b, m, k, n), rate in pairs)


def _rate(programs: Sequence[tuple], watch: Watch) -> float:
    """Work per second of programs as a step runs them; each is what makes it, and its arguments."""
    met_s, _ = watch.look(loops.meeting)
    looks = [watch.look(loops.in_turn, *program) for program in programs]
    return sum(work for _, work in looks) / sum(max(s - met_s, s / 4) for s, _ in looks)


def _small(watch: Watch) -> Numbers:
    evaluations = _rate([(loops.special, "float32")], watch)
    launch = 1 / _rate([(loops.small_ops,)], watch)
    text = "products and sums of 4 x 4 matrices, time of one op"
    return _number(
        "compute.special_flops_per_s", evaluations, watch.mesh, "exp, log, tanh and rsqrt of fp32 in turn"
    ) | _number("compute.op_overhead_s", launch, watch.mesh, text)


def _memory(watch: Watch) -> Numbers:
    rates = [_rate([(loops.stream, count)], watch) for count in STREAM_ELEMENTS]
    points = ", ".join(f"{4 * n >> 10} KiB {rate:.3g} byte/s" for n, rate in zip(STREAM_ELEMENTS, rates, strict=True))
    what = f"bytes read and written, median of passes over arrays of {points} a device"
    rate, share = statistics.median(rates), machine_bytes() // watch.mesh.size
    both_s = 1 / _rate([(loops.turned, side) for side in TURNED_SIDES], watch)
    turned = 1 / max(both_s - 1 / rate, 1 / rate)
    copies = f"transposed copies of fp32 [n, n], n = {', '.join(map(str, TURNED_SIDES))}, without the plain ones"
    return (
        _number("memory.bytes_per_s", rate, watch.mesh, what)
        | _number("memory.turned_bytes_per_s", turned, watch.mesh, copies)
        | _number("memory.bytes", share, watch.mesh, "memory of the machine, or of its control group, in equal parts")
    )


def machine_bytes() -> int:
    """Memory that this process may use: of the machine, or of its Linux control group if that allows less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    stated = [path.read_text().strip() for path in limits if path.is_file()]
    return min([physical, *(int(text) for text in stated if text.isdigit())])


def _rendezvous(watch: Watch) -> Numbers:
    """What a sum costs that goes not with the members of its group: of a line through pairs and all devices."""
    pairs_s, all_s = (_exchange_s(kind, 4 * loops.MET, watch) for kind in (loops.PAIRS, "all_reduce"))
    seconds = max(0.0, pairs_s - max(0.0, all_s - pairs_s) / max(1, watch.mesh.size - 2))
    what = (
        f"of sums of 256 B, {pairs_s * 1e6:.0f} us over pairs, other pairs each time, and {all_s * 1e6:.0f} us over all"
    )
    return _number("network.host.rendezvous_s", seconds, watch.mesh, what)


def _exchange_s(kind: str, buffer_bytes: int, watch: Watch) -> float:
    """Seconds of an exchange between products: what these take alone is taken off, but for a tenth at most."""
    all_s, count = watch.look(loops.between, kind, watch.mesh.size, buffer_bytes)
    alone_s = watch.look(loops.products, count)[0] - watch.look(loops.meeting)[0]
    return max(all_s - alone_s, all_s / 10) / count


def _exchange(kind: str, watch: Watch, known: Numbers) -> Numbers:
    """Latency and bandwidth in one kind of collective, on top of the rendezvous that is known already."""
    mesh = watch.mesh
    sizes = [loops.shared(size, mesh.size) for size in BUFFER_BYTES]
    seconds = shortest([_exchange_s(kind, size, watch) for size in sizes])
    met = known.get("network.host.rendezvous_s")
    latency_s, bytes_per_s = fit_link(kind, mesh.size, sizes, seconds, rendezvous_s=met.value if met else 0.0)
    points = ", ".join(f"{b} B {s * 1e6:.0f} us" for b, s in zip(sizes, seconds, strict=True))
    what = f"fitted to {kind} between products, of {points}"
    prefix = "network.host." if kind == "permute" else f"network.host.{kind}_"
    return _number(f"{prefix}latency_s", latency_s, mesh, what) | _number(
        f"{prefix}bytes_per_s", bytes_per_s, mesh, what
    )
