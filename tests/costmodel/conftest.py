"""A small imaginary chip with three tiers, for tests that enumerate every device."""

import pytest

from swplan.costmodel import Chip, Number

LABORATORY = {
    "compute.flops_per_s.fp64": (1e12, "flop/s"),
    "compute.flops_per_s.fp16": (4e12, "flop/s"),
    "compute.matmul_efficiency.fp64": (0.5, "ratio"),
    "compute.vector_flops_per_s.fp64": (1e11, "flop/s"),
    "compute.special_flops_per_s": (1e10, "flop/s"),
    "compute.op_overhead_s": (1e-6, "s"),
    "memory.bytes": (10**9, "byte"),
    "memory.bytes_per_s": (1e11, "byte/s"),
    "network.node.size": (4, "device"),
    "network.node.bytes_per_s": (8e9, "byte/s"),
    "network.node.latency_s": (1e-6, "s"),
    "network.node.taper": (0.5, "ratio"),
    "network.rack.size": (2, "device"),
    "network.rack.latency_s": (3e-6, "s"),
    "network.rack.taper": (0.25, "ratio"),
    "network.hall.latency_s": (9e-6, "s"),
}


@pytest.fixture(scope="session")
def laboratory() -> Chip:
    """Devices in nodes of 4, nodes in racks of 2, racks in a hall."""
    return Chip.of(
        name="laboratory",
        description="an imaginary chip",
        device="device",
        tiers=("node", "rack", "hall"),
        numbers={
            key: Number(value=value, unit=unit, source="imagined", kind="derived")
            for key, (value, unit) in LABORATORY.items()
        },
    )


@pytest.fixture
def chips_folder(tmp_path, monkeypatch, laboratory):
    """The user's folder of chips, holding the laboratory only."""
    from swplan.costmodel import write_chip

    monkeypatch.setenv("SWPLAN_CHIPS", str(tmp_path))
    write_chip(tmp_path / "laboratory.toml", laboratory)
    return tmp_path
