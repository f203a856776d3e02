"""What tests of passes share: graphs run on one device that does everything."""

import jax
import pytest

from models.training import FAST_COMPILE
from swplan.passes.partition import partition
from swplan.runtime.execute import local_function
from swplan.search.decisions import decision_graph


@pytest.fixture(scope="session")
def run_undivided():
    """`run(graph, args) -> flat results`."""

    def run(graph, args):
        choices = {node.key: () for node in decision_graph(graph).nodes}
        local = local_function(partition(graph, (), choices), graph.avals, ())
        return jax.jit(local, compiler_options=FAST_COMPILE)(*jax.tree.leaves(args))

    return run
