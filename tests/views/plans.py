"""Plans made by hand, which the tests of the views and of the command line show."""

from __future__ import annotations

import msgspec

from swplan.plan import (
    FORMAT,
    Alternative,
    Axis,
    Collective,
    Memory,
    Plan,
    Precision,
    Tensor,
)
from tests.views.builders import certificate, collective, op, tensor

GIB = 2**30


WEIGHTS = (
    tensor("weights/w1", (1024, 4096), ((), ("model",)), 2),
    tensor("weights/w2", (4096, 1024), (("model",), ()), 2),
)
BATCH = (
    tensor("batch/x", (512, 1024), (("data",), ()), 4, "batch"),
    tensor("batch/y", (512, 1024), (("data",), ()), 4, "batch"),
)
OUTPUTS = (
    tensor("out/0/w1", (1024, 4096), ((), ("model",)), 2, replaces="weights/w1"),
    tensor("out/0/w2", (4096, 1024), (("model",), ()), 2, replaces="weights/w2"),
    tensor("out/1", (), (), 1, "output"),
)
BREAKDOWN = {
    "forward": 1.1e-3,
    "forward_comm": 0.3e-3,
    "backward": 2.2e-3,
    "backward_comm": 1.2e-3,
    "optimizer": 0.4e-3,
    "optimizer_comm": 0.0,
    "local_resharding": 0.0,
}
ACTIVATION = "activation float32[512,1024]"
EXCHANGES = (
    collective("all_reduce", ("data",), "gradient float32[1024,4096]", bytes=8 << 20),
    collective("all_reduce", ("model",), ACTIVATION, time_s=0.3e-3, stage="forward", group_size=2),
)
MEMORY = Memory(
    peak_bytes=3 * GIB // 2,
    capacity_bytes=96_000_000_000,
    by_role={"parameter": GIB, "activation": GIB // 2, "batch": 0},
    peak_op="dot_general",
    peak_source="/home/ada/models/mlp.py:27 (loss)",
    largest=(("weights/w1", 8 << 20), ("weights/w2", 8 << 20)),
)
ALTERNATIVES = (
    Alternative(
        name="data_parallel",
        mesh=(("data", 8),),
        step_time_s=9.9e-3,
        peak_memory_bytes=2 * GIB,
        excluded="",
        breakdown={"forward": 1.1e-3, "backward": 2.2e-3, "backward_comm": 6.2e-3, "optimizer": 0.4e-3},
    ),
    Alternative(
        name="fully_sharded",
        mesh=(("shard", 8),),
        step_time_s=5.9e-3,
        peak_memory_bytes=120 * GIB,
        excluded="needs 120.0 GiB a device, 30.6 GiB more than there are",
    ),
    Alternative(
        name="tensor_parallel",
        mesh=(),
        step_time_s=None,
        peak_memory_bytes=None,
        excluded="no dim of the largest parameter divides by 7",
    ),
    Alternative(
        name="data:2 x model:4",
        mesh=(("data", 2), ("model", 4)),
        step_time_s=5.4e-3,
        peak_memory_bytes=GIB,
        excluded="",
    ),
)


def small(**changes) -> Plan:
    """A step of two weights on eight nodes."""
    given = dict(
        format=FORMAT,
        step="train_step",
        fingerprint="0123456789abcdef0123456789abcdef",
        structure="fedcba9876543210fedcba9876543210",
        cluster="sw26010pro:nodes=8",
        devices=8,
        step_time_s=5.2e-3,
        breakdown=BREAKDOWN,
        axes=(
            Axis(name="data", size=4, position=1, tiers=("supernode",)),
            Axis(name="model", size=2, position=0, tiers=("supernode",)),
        ),
        inputs=WEIGHTS + BATCH,
        outputs=OUTPUTS,
        exchanges=EXCHANGES,
        ops=(op("dot_general", 2.9e-3, count=4), op("tanh", 0.4e-3, binding="memory", flops=2.1e6, split="")),
        memory=MEMORY,
        alternatives=ALTERNATIVES,
        certificate=certificate(5.2e-3, 5.2e-3, "elimination", 12, 41, 41),
        precision=Precision(policy="fp32", classes={"matmul": "fp32"}, loss_scaling=False, why="as it is written"),
        notes=(),
        options=((0, -1), (-1, 0)),
        choices=(0, 1, 0),
    )
    made = Plan(**(given | changes))
    count = len(made.axes)
    return msgspec.structs.replace(made, options=((-1,) * count, (0,) * count))


HOSTILE = "<script>alert('x')</script>\"&\x1b[31m\n\u202eتجربة 漢字 🚀"


def hostile() -> Plan:
    """Every string that a user or a file can set is one that breaks careless views."""
    return small(
        step=HOSTILE,
        cluster=HOSTILE,
        axes=(Axis(name=HOSTILE, size=8, position=0, tiers=(HOSTILE,)),),
        breakdown={HOSTILE: 5.2e-3},
        inputs=(tensor(HOSTILE, (8,), ((HOSTILE,),), 8, HOSTILE),),
        outputs=(),
        exchanges=(collective(HOSTILE, (HOSTILE,), HOSTILE, source=HOSTILE, why=HOSTILE, algorithm=HOSTILE),),
        ops=(op(HOSTILE, 1e-3, source=HOSTILE, binding=HOSTILE, split=HOSTILE, stage=HOSTILE),),
        memory=Memory(
            peak_bytes=1,
            capacity_bytes=2,
            by_role={HOSTILE: 1},
            peak_op=HOSTILE,
            peak_source=HOSTILE,
            largest=((HOSTILE, 1),),
        ),
        alternatives=(
            Alternative(name=HOSTILE, mesh=((HOSTILE, 8),), step_time_s=1.0, peak_memory_bytes=1, excluded=HOSTILE),
        ),
        precision=Precision(policy=HOSTILE, classes={HOSTILE: HOSTILE}, loss_scaling=True, why=HOSTILE),
        notes=(HOSTILE,),
    )


def bare() -> Plan:
    """One device: no axes, no exchanges, no alternatives, nothing optional."""
    return small(
        devices=1,
        axes=(),
        inputs=(),
        outputs=(),
        exchanges=(),
        ops=(),
        breakdown={},
        alternatives=(),
        memory=Memory(peak_bytes=0, capacity_bytes=96_000_000_000, by_role={}, peak_op="", peak_source="", largest=()),
        precision=Precision(policy="fp32", classes={}, loss_scaling=False, why=""),
        certificate=certificate(0.0, 0.0, "nothing to decide", 1, 0, 0),
    )


MATRICES = {
    "attention/qkv": (12288, 36864),
    "attention/out": (12288, 12288),
    "mlp/up": (12288, 49152),
    "mlp/down": (49152, 12288),
}


STATE = (("params", "parameter"), ("opt/mu", "optimizer state"), ("opt/nu", "optimizer state"))
PROJECT = "/home/ada/very/long/path/of/a/project/models/transformer.py"


def deep_inputs(layers: int) -> tuple[Tensor, ...]:
    """Parameters and AdamW's moments."""
    return tuple(
        tensor(f"state/{part}/layer_{layer}/{name}", shape, (("data2",), ("expert", "data")), 1500, role)
        for part, role in STATE
        for layer in range(layers)
        for name, shape in MATRICES.items()
    )


def deep_exchanges(layers: int) -> tuple[Collective, ...]:
    """Each parameter is gathered and its gradient scattered; even and odd layers by other algorithms."""
    return tuple(
        collective(
            kind,
            ("expert", "data"),
            f"state/params/layer_{layer}/{name}",
            group_size=96_000,
            algorithm="hierarchical ring" if layer % 2 else "halving doubling",
            time_s=layer * 1e-4 + 2e-2,
            bytes=shape[0] * shape[1] * 4 // 1500,
            source=f"{PROJECT}:{88 + len(name)} (attention_with_a_long_name)",
        )
        for kind in ("all_gather", "reduce_scatter")
        for layer in range(layers)
        for name, shape in MATRICES.items()
    )


DEEP_ALTERNATIVES = (
    Alternative(
        name="data_parallel",
        mesh=(("data", 96_000),),
        step_time_s=402.5,
        peak_memory_bytes=2600 * GIB,
        excluded="needs 2600.0 GiB a device, 2510.6 GiB more than there are",
    ),
    Alternative(
        name="fully_sharded",
        mesh=(("shard", 1536), ("idle", 63)),
        step_time_s=1244.0,
        peak_memory_bytes=81 * GIB,
        excluded="only 1536 of 96000 devices can share the work; the others repeat it",
    ),
)


def deep(layers: int = 96) -> Plan:
    """A model of many equal layers on 96,000 nodes, with AdamW and a gap."""
    return small(
        step="train_step_of_a_large_model",
        cluster="sw26010pro:nodes=96000,network.supernode.taper=1.0",
        devices=96_000,
        step_time_s=61.2,
        breakdown={"forward": 12.0, "forward_comm": 4.2, "backward": 25.0, "backward_comm": 19.0, "optimizer": 1.0},
        axes=(
            Axis(name="expert", size=250, position=0, tiers=("supernode",)),
            Axis(name="data", size=6, position=1, tiers=("supernode", "machine")),
            Axis(name="data2", size=64, position=2, tiers=("machine",)),
        ),
        inputs=deep_inputs(layers),
        outputs=(),
        exchanges=deep_exchanges(layers),
        alternatives=DEEP_ALTERNATIVES,
        certificate=certificate(61.2, 59.8, "integer program", 212, 388, 53_552),
        precision=Precision(
            policy="bf16",
            classes={"matmul": "bf16", "softmax": "fp32", "optimizer": "fp32"},
            loss_scaling=False,
            why="bf16 is 3.9 times as fast in products; sums and the optimizer stay in fp32",
        ),
        notes=("the trip count of the loop at models/gpt.py:12 (decode) is not known: times are lower bounds",),
    )


ALL = {"small": small, "hostile": hostile, "bare": bare, "deep": deep}
