"""Reads an instance of the IOPDDL contest: one strategy for each node of a sharding problem that XLA wrote down.

A file is JSON, gzipped or not: `{"problem": {"nodes": {"intervals", "costs", "usages"}, "edges": {"nodes", "costs"},
"usage_limit"}}` (M. Moffitt and P. Fegade, The ASPLOS 2025 / EuroSys 2025 Contest on Intra-Operator Parallelism for
Distributed Deep Learning, doi:10.1145/3676642.3736399).
"""

from __future__ import annotations

import gzip
import itertools
import zlib
from pathlib import Path

import msgspec
import numpy as np

from swplan.errors import UsageError
from swplan.solver.large.instance import FORBIDDEN, Instance, starts

GZIP = b"\x1f\x8b"
Number = int | float


class _Nodes(msgspec.Struct):
    intervals: list[tuple[int, int]]
    costs: list[list[Number]]
    usages: list[list[Number]]


class _Edges(msgspec.Struct):
    nodes: list[tuple[int, int]]
    costs: list[list[Number]]


class _Problem(msgspec.Struct):
    nodes: _Nodes
    edges: _Edges
    usage_limit: Number | None = None


class _File(msgspec.Struct):
    problem: _Problem


def read(path: str | Path) -> Instance:
    """The instance in a file.

    Raises:
      UsageError: there is no such file, it is not JSON of this form, or its parts do not fit together.
    """
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data.startswith(GZIP) else data
        problem = msgspec.json.decode(data, type=_File).problem
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"cannot read {str(path)!r}: {getattr(error, 'strerror', None) or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} is no IOPDDL problem: {error}") from error
    try:
        return _instance(problem)
    except UsageError as error:
        raise UsageError(f"{str(path)!r} is no IOPDDL problem: {error}") from None


def _instance(problem: _Problem) -> Instance:
    """The arrays of a problem whose shapes fit."""
    nodes, edges = problem.nodes, problem.edges
    first = starts(_lengths(nodes.costs))
    pairs = np.array(edges.nodes, np.int64).reshape(-1, 2)
    at = starts(_lengths(edges.costs))
    _check_nodes(nodes)
    _check_edges(edges, pairs, np.diff(first), np.diff(at))
    return Instance(
        first=first,
        costs=_finite(_flat(nodes.costs, first[-1])),
        usages=_flat(nodes.usages, first[-1]),
        intervals=np.array(nodes.intervals, np.int64).reshape(-1, 2),
        pairs=pairs,
        at=at,
        table=_finite(_flat(edges.costs, at[-1])),
        limit=np.inf if problem.usage_limit is None else float(problem.usage_limit),
    )


def _check_nodes(nodes: _Nodes) -> None:
    """Refuses nodes without strategies, and usages or intervals that are missing, negative or too many.

    Raises:
      UsageError: says which node.
    """
    if not len(nodes.costs) == len(nodes.usages) == len(nodes.intervals):
        counts = f"{len(nodes.intervals)} intervals, {len(nodes.costs)} costs, {len(nodes.usages)} usages"
        raise UsageError(f"nodes have {counts}; one of each for every node is expected")
    for node, (costs, usages, interval) in enumerate(zip(nodes.costs, nodes.usages, nodes.intervals, strict=True)):
        if not costs or len(costs) != len(usages):
            raise UsageError(f"node {node} has {len(costs)} costs and {len(usages)} usages; equally many expected")
        if interval[0] < 0 or min(usages) < 0:
            raise UsageError(f"node {node} has a negative usage or start of its interval {list(interval)}")


def _check_edges(edges: _Edges, pairs: np.ndarray, sizes: np.ndarray, entries: np.ndarray) -> None:
    """Refuses edges of unknown nodes, of a node with itself, and of matrices of another size.

    Raises:
      UsageError: says which edge.
    """
    if len(edges.nodes) != len(edges.costs):
        counts = f"{len(edges.nodes)} pairs of nodes and {len(edges.costs)} matrices"
        raise UsageError(f"edges have {counts}; a matrix for every pair is expected")
    known = ((pairs >= 0) & (pairs < len(sizes))).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
    if not known.all():
        edge = int(known.argmin())
        raise UsageError(f"edge {edge} joins {pairs[edge].tolist()}; two of the nodes 0 to {len(sizes) - 1} expected")
    wanted = sizes[pairs[:, 0]] * sizes[pairs[:, 1]]
    if (wanted != entries).any():
        edge = int((wanted != entries).argmax())
        raise UsageError(f"edge {edge} has {entries[edge]} costs; {wanted[edge]}, one for each pair, expected")


def _lengths(lists: list[list[Number]]) -> np.ndarray:
    return np.fromiter(map(len, lists), np.int64, len(lists))


def _flat(lists: list[list[Number]], total: int) -> np.ndarray:
    """All numbers one after the other."""
    return np.fromiter(itertools.chain.from_iterable(lists), float, int(total))


def _finite(costs: np.ndarray) -> np.ndarray:
    """The costs, infinite where they say "never"."""
    costs[costs > FORBIDDEN] = np.inf
    return costs
