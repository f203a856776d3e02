"""The arithmetic of time: chips, clusters, work and collectives. Imports no JAX."""

from swplan.costmodel.chip import Chip, available_chips, load_chip
from swplan.costmodel.chipwriter import calibrated_chip, calibrated_chip_toml, chip_toml, write_chip
from swplan.costmodel.cluster import Cluster, Link, Tier
from swplan.costmodel.collectives import algorithm_names, algorithm_times_s, collective_time_s
from swplan.costmodel.compute import Breakdown, breakdown, time_s
from swplan.costmodel.network import Group, Placement
from swplan.costmodel.schema import COLLECTIVES, PRECISIONS, Number
from swplan.costmodel.template import chip_template
from swplan.costmodel.work import Matmul, Work

__all__ = [
    "COLLECTIVES",
    "PRECISIONS",
    "Breakdown",
    "Chip",
    "Cluster",
    "Group",
    "Link",
    "Matmul",
    "Number",
    "Placement",
    "Tier",
    "Work",
    "algorithm_names",
    "algorithm_times_s",
    "available_chips",
    "breakdown",
    "calibrated_chip",
    "calibrated_chip_toml",
    "chip_template",
    "chip_toml",
    "collective_time_s",
    "load_chip",
    "time_s",
    "write_chip",
]
