"""Estimates made by hand, which the tests of the views and of the command line show."""

from __future__ import annotations

import msgspec

from swplan.estimate.result import Estimate, Exchange, MeshAxis, OpPrice

GIB = 2**30

FITTING = Estimate(
    step="train_step",
    cluster="a100-80g-sxm:gpus=16",
    strategy="mesh=model:8/pipe:2 micro_batches=8",
    devices=16,
    mesh=(
        MeshAxis(name="model", size=8, position=0, tiers=("node",)),
        MeshAxis(name="pipe", size=2, position=1, tiers=("fabric",)),
    ),
    step_time_s=2.0,
    breakdown={
        "data": 0.0,
        "forward": 0.5,
        "forward_communication": 0.1,
        "backward": 0.9,
        "backward_communication": 0.2,
        "optimizer": 0.1,
        "bubble": 0.2,
    },
    flops_per_s=2.0e15,
    precision="bf16",
    share_of_peak=0.4,
    peak_memory_bytes=60 * GIB,
    memory={"activation": 40 * GIB, "parameter": 20 * GIB, "batch": 0},
    capacity_bytes=80 * GIB,
    fitted_parameters=("compute.matmul_edge", "memory.bytes_per_s"),
    assumed=("priced as if model:8 divided 50257 evenly",),
    ops=(
        OpPrice(
            primitive="dot_general",
            source="/home/ada/models/gpt.py:57 (FeedForward.__call__) and 2 more",
            stage="backward",
            count=144,
            flops=3.5e14,
            bytes=1.1e11,
            time_s=0.9,
            binding="compute",
        ),
        OpPrice(
            primitive="slice over model",
            source="",
            stage="forward",
            count=1,
            flops=0.0,
            bytes=1e9,
            time_s=0.1,
            binding="memory",
        ),
    ),
    collectives=(
        Exchange(
            kind="all_gather",
            axes=("model",),
            group_size=8,
            tiers=("node",),
            bytes=GIB // 2,
            count=96,
            algorithm="ring",
            time_s=0.25,
            stage="forward",
        ),
    ),
)

ONE = msgspec.structs.replace(
    FITTING, devices=1, mesh=(), strategy="mesh=1", collectives=(), ops=(), assumed=(), fitted_parameters=()
)


def large(**changes) -> Estimate:
    """An estimate that does not fit."""
    return msgspec.structs.replace(FITTING, peak_memory_bytes=90 * GIB, **changes)


def slower(times: float, **changes) -> Estimate:
    """An estimate of which everything takes longer."""
    breakdown = {part: seconds * times for part, seconds in FITTING.breakdown.items()}
    return msgspec.structs.replace(
        FITTING,
        step_time_s=FITTING.step_time_s * times,
        breakdown=breakdown,
        flops_per_s=FITTING.flops_per_s / times,
        **changes,
    )
