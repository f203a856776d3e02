"""Peak memory: laws, programs that can be counted by hand, and XLA's own figure."""

import jax
import jax.numpy as jnp

from swplan.passes.memory import peak_memory
from swplan.passes.partition import partition
from swplan.runtime.trace import trace
from swplan.search.decisions import decision_graph


def report(step, *args, donate=None):
    """The memory of a step on one device."""
    graph = trace(step, args, {}, donate=donate).graph
    choices = {node.key: (-1,) for node in decision_graph(graph).nodes}
    return peak_memory(partition(graph, (1,), choices), graph)


def test_a_product_holds_its_operands_and_its_result():
    x = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    found = report(lambda a, b: a @ b, x, x)
    assert (found.argument_bytes, found.result_bytes, found.temporary_bytes) == (2 * 16384, 16384, 0)


def test_elementwise_chains_need_no_memory():
    x = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    assert report(lambda a: jnp.tanh(a * 2 + 1) - a, x).temporary_bytes == 0
