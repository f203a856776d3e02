"""Compiles all kernels, a minute of work that is kept on disk: `python -m swplan.solver.large.warm`, in `make`.

Without it the first plan compiles those of small problems, and the first run of an instance all others.
"""

from __future__ import annotations

import numpy as np

from swplan.solver.elimination import Network
from swplan.solver.large.instance import Instance
from swplan.solver.large.solving import solve_instance
from swplan.solver.messages import messages_of
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
    pairs, nodes = ((0, 1), (1, 2), (0, 2)), np.split(instance.costs, instance.first[1:-1])
    network = Network(sizes=(3, 3, 3), scopes=((0,), (1,), (2,), *pairs), tables=(*nodes, *[matrix] * 3))
    messages_of(network).ascend(1)
    small = reduced(network)
    small.restore([0] * len(small.nodes))


if __name__ == "__main__":
    main()
