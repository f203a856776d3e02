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
from scipy.optimize import minimize

from swplan.costmodel.chip import PACKAGED, Chip, _folders
from swplan.costmodel.chipwriter import calibrated_chip, write_chip
from swplan.costmodel.cluster import Cluster
from swplan.costmodel.collectives import collective_time_s
from swplan.costmodel.network import Group
from swplan.costmodel.schema import Number, key_units
from swplan.runtime import calibrate_loops as loops
from swplan.runtime.calibrate_loops import Effort

Numbers = dict[str, Number]
Progress = Callable[[int, int, str], None]

DTYPES = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
MATMULS = ((1, 16, 64, 256), (1, 128, 64, 256), (1, 512, 128, 128), (1, 256, 256, 256), (16, 64, 16, 64))
STREAM_ELEMENTS = (1 << 14, 1 << 16, 1 << 18)
TURNED_SIDES = (64, 128, 256)
BUFFER_BYTES = (1 << 10, 1 << 14, 1 << 17, 1 << 20)
UNITS = key_units(("host",))


@dataclass(frozen=True, slots=True)
class _Job:
    text: str
    measure: Callable[[], Numbers]


def calibrate(progress: Progress | None = None, *, save: bool = True, effort: Effort | None = None) -> Chip:
    """Measures the devices at hand, all at once; takes about a minute for eight emulated ones.

    Args:
      progress: called with (done, total, text).
      save: write `host.toml` into the user's chip folder, where `host` is then found.
      effort: how long to measure each program.

    Returns:
      the chip `host` with every number measured; collectives only where there are two devices or more.
    """
    numbers: Numbers = {}
    jobs = _jobs(loops.all_devices(), effort or Effort(), numbers)
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


def _jobs(mesh: Mesh, effort: Effort, numbers: Numbers) -> list[_Job]:
    precisions = [_Job(f"compute in {name}", partial(_compute, name, mesh, effort)) for name in DTYPES]
    kinds = [_Job(kind.replace("_", "-"), partial(_exchange, kind, mesh, effort, numbers)) for kind in loops.EXCHANGES]
    meeting = [_Job("rendezvous", partial(_rendezvous, mesh, effort))] if mesh.size % 2 == 0 else []
    return [
        _Job("memory", partial(_memory, mesh, effort)),
        _Job("special functions and small ops", partial(_small, mesh, effort)),
        *precisions,
        *meeting,
        *(kinds if mesh.size > 1 else []),
    ]


def _number(key: str, value: float, mesh: Mesh, what: str) -> Numbers:
    source = f"swplan calibrate, jax {jax.__version__}, {mesh.size} devices at once: {what}"
    return {key: Number(value=value, unit=UNITS[key], source=source, kind="measured")}


def _compute(precision: str, mesh: Mesh, effort: Effort) -> Numbers:
    """Matmul and vector rates of one precision."""
    with jax.enable_x64(precision == "fp64"):
        dtype = DTYPES[precision]
        rates = [_rate([loops.matmul(*size, dtype)], mesh, effort) for size in MATMULS]
        vector = _rate([loops.elementwise(dtype), loops.row_sums(dtype)], mesh, effort)
    sizes = ", ".join(
        f"{b} x [{m},{k}]x[{k},{n}] {rate:.3g} flop/s" for (b, m, k, n), rate in zip(MATMULS, rates, strict=True)
    )
    peak, share = max(rates), statistics.median(rates) / max(rates)
    efficiency = f"median over best of {sizes}"
    return (
        _number(f"compute.flops_per_s.{precision}", peak, mesh, f"best of {sizes}")
        | _number(f"compute.matmul_efficiency.{precision}", share, mesh, efficiency)
        | _number(
            f"compute.vector_flops_per_s.{precision}", vector, mesh, "fused elementwise ops and sums of rows of 64"
        )
    )


def _rate(programs: Sequence[tuple], mesh: Mesh, effort: Effort) -> float:
    """Work per second of programs as a step runs them; each is (body, start, work of a trip)."""
    met_s = loops.seconds_per_trip(*loops.meeting(), mesh, effort)
    steps = [loops.in_turn(*program) for program in programs]
    taken = [loops.seconds_per_trip(body, start, mesh, effort) for body, start, _ in steps]
    return sum(work for *_, work in steps) / sum(max(s - met_s, s / 4) for s in taken)


def _small(mesh: Mesh, effort: Effort) -> Numbers:
    evaluations = _rate([loops.special("float32")], mesh, effort)
    launch = 1 / _rate([loops.small_ops()], mesh, effort)
    text = "products and sums of 4 x 4 matrices, time of one op"
    return _number(
        "compute.special_flops_per_s", evaluations, mesh, "exp, log, tanh and rsqrt of fp32 in turn"
    ) | _number("compute.op_overhead_s", launch, mesh, text)


def _memory(mesh: Mesh, effort: Effort) -> Numbers:
    rates = [_rate([loops.stream(count)], mesh, effort) for count in STREAM_ELEMENTS]
    points = ", ".join(f"{4 * n >> 10} KiB {rate:.3g} byte/s" for n, rate in zip(STREAM_ELEMENTS, rates, strict=True))
    what = f"bytes read and written, median of passes over arrays of {points} a device"
    rate, share = statistics.median(rates), machine_bytes() // mesh.size
    both_s = 1 / _rate([loops.turned(side) for side in TURNED_SIDES], mesh, effort)
    turned = 1 / max(both_s - 1 / rate, 1 / rate)
    copies = f"transposed copies of fp32 [n, n], n = {', '.join(map(str, TURNED_SIDES))}, without the plain ones"
    return (
        _number("memory.bytes_per_s", rate, mesh, what)
        | _number("memory.turned_bytes_per_s", turned, mesh, copies)
        | _number("memory.bytes", share, mesh, "memory of the machine, or of its control group, in equal parts")
    )


def machine_bytes() -> int:
    """Memory that this process may use: of the machine, or of its Linux control group if that allows less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    stated = [path.read_text().strip() for path in limits if path.is_file()]
    return min([physical, *(int(text) for text in stated if text.isdigit())])


def _rendezvous(mesh: Mesh, effort: Effort) -> Numbers:
    """What a sum costs that goes not with the members of its group: of a line through pairs and all devices."""
    body, start, meetings = loops.rendezvous(mesh.size)
    pairs_s = loops.seconds_per_trip(body, start, mesh, effort) / meetings
    all_s = loops.seconds_per_trip(*loops.together(), mesh, effort)
    seconds = max(0.0, pairs_s - max(0.0, all_s - pairs_s) / max(1, mesh.size - 2))
    what = (
        f"of sums of 256 B, {pairs_s * 1e6:.0f} us over pairs, other pairs each time, and {all_s * 1e6:.0f} us over all"
    )
    return _number("network.host.rendezvous_s", seconds, mesh, what)


def _exchange(kind: str, mesh: Mesh, effort: Effort, known: Numbers) -> Numbers:
    """Latency and bandwidth in one kind of collective, on top of the rendezvous that is known already."""
    programs = [loops.exchange(kind, mesh.size, size) for size in BUFFER_BYTES]
    taken = [loops.seconds_per_trip(*program, mesh, effort) for program in programs]
    seconds = shortest(taken)
    met = known.get("network.host.rendezvous_s")
    latency_s, bytes_per_s = fit(kind, mesh.size, BUFFER_BYTES, seconds, rendezvous_s=met.value if met else 0.0)
    points = ", ".join(f"{b} B {s * 1e6:.0f} us" for b, s in zip(BUFFER_BYTES, seconds, strict=True))
    what = f"fitted to {kind} of {points}"
    prefix = "network.host." if kind == "permute" else f"network.host.{kind}_"
    return _number(f"{prefix}latency_s", latency_s, mesh, what) | _number(
        f"{prefix}bytes_per_s", bytes_per_s, mesh, what
    )


def shortest(seconds: Sequence[float]) -> list[float]:
    """Times of growing buffers, none longer than that of a larger one: what is, something else has lengthened."""
    return np.minimum.accumulate(np.array(seconds)[::-1])[::-1].tolist()


def fit(
    kind: str, members: int, buffer_bytes: Sequence[int], seconds: Sequence[float], *, rendezvous_s: float = 0.0
) -> tuple[float, float]:
    """The latency and bandwidth of a link with which the cost model comes nearest to measured times.

    Nearest in the mean square of the logarithm of the ratio: a factor of two counts alike for short and long buffers.

    Args:
      kind: of collective.
      members: of its group, all in the tier `host`.
      buffer_bytes: of the measured exchanges.
      seconds: of each.
      rendezvous_s: how much of that is not of messages.

    Returns:
      (latency in seconds, bytes per second).
    """
    chip = PACKAGED / "host.toml"
    cluster = Cluster.parse(f"{chip}:devices={members},network.host.rendezvous_s={rendezvous_s!r}")
    sizes, measured = np.array(buffer_bytes, float), np.array(seconds)
    keys = [f"network.host.{kind}_{what}" for what in ("latency_s", "bytes_per_s")]

    def misfit(logs: np.ndarray) -> float:
        priced = cluster.replace(dict(zip(keys, np.exp(logs).tolist(), strict=True)))
        predicted, _ = collective_time_s(kind, Group(per_tier=(members,)), sizes, priced)
        return float(np.mean(np.log(predicted / measured) ** 2))

    starts = [np.log([measured.min() / steps, sizes.max() / measured.max()]) for steps in (1, members)]
    found = min((minimize(misfit, start, method="Nelder-Mead") for start in starts), key=lambda result: result.fun)
    latency_s, bytes_per_s = np.exp(found.x).tolist()
    return latency_s, bytes_per_s
