"""Compiles all kernels, a minute of work that is kept on disk: `python -m swplan.solver.large.warm`, in `make`.

Without it the first plan compiles those of small problems, and the first run of an instance all others.
"""

from __future__ import annotations

import numpy as np

from swplan.solver.elimination import marginals, minimise, order, steps_of
from swplan.solver.incumbents import incumbent
from swplan.solver.large.instance import Instance
from swplan.solver.large.solving import solve_instance
from swplan.solver.messages import messages_of
from swplan.solver.network import Limits, Network, network_of, restrict
from swplan.solver.reduction import reduced


def main() -> None:
    """Solves a triangle of nodes, which presolve does not decide."""
    matrix = np.array([[0.0, 2.0, 5.0], [7.0, 0.0, 1.0], [3.0, 4.0, 0.0]])
    instance = Instance(
        first=np.arange(0, 10, 3),
        costs=np.arange(9.0)[::-1].copy(),
        usages=np.array([1.0, 3.0, 5.0] * 3),
        intervals=np.array([[0, 3], [1, 4], [2, 5]]),
        pairs=np.array([[0, 1], [1, 2], [0, 2]]),
        at=np.arange(0, 28, 9),
        table=np.tile(matrix.ravel(), 3),
        limit=9.0,
    )
    solve_instance(instance, time_limit_s=0.0, exact_nodes=0)
    edges = [(*pair, matrix) for pair in ((0, 1), (1, 2), (0, 2))]
    network, rows = network_of(np.split(instance.costs, instance.first[1:-1]), edges), instance.usages[None, :]
    _small(*restrict(network, Limits(usage=rows, limit=np.array([9.0])), [np.arange(3)] * 3))


def _small(network: Network, limits: Limits) -> None:
    """All that may be done with a problem of other callers."""
    messages_of(network).ascend(1)
    steps = steps_of(network, order(network, 100))
    best, _ = minimise(network, steps)
    marginals(network, steps)
    incumbent(network, limits, [best])
    small = reduced(network, limits)
    small.restore([0] * len(small.nodes))


if __name__ == "__main__":
    main()
