"""Message passing against loops over single edges."""

import jax
import jax.numpy as jnp
import numpy as np

from models import graphnet

GRAPHS, NODES, EDGES, WIDTH = 2, 5, 9, 4


def random_graphs():
    random = np.random.default_rng(0)
    ends = {name: random.integers(0, NODES, (GRAPHS, EDGES), dtype=np.int32) for name in ("senders", "receivers")}
    nodes_GND, edges_GED = (random.normal(size=(GRAPHS, count, WIDTH)).astype(np.float32) for count in (NODES, EDGES))
    return nodes_GND, edges_GED, ends


def test_every_node_receives_the_sum_of_its_edges():
    _, edges_GED, ends = random_graphs()
    expected_GND = np.zeros((GRAPHS, NODES, WIDTH), np.float32)
    for graph in range(GRAPHS):
        for edge, receiver in enumerate(ends["receivers"][graph]):
            expected_GND[graph, receiver] += edges_GED[graph, edge]
    found_GND = graphnet.received(jnp.asarray(edges_GED), jnp.asarray(ends["receivers"]), NODES)
    np.testing.assert_allclose(found_GND, expected_GND, rtol=1e-6, atol=1e-6)


def test_a_message_reaches_its_receiver_only():
    nodes_GND, edges_GED, ends = random_graphs()
    layer = graphnet.MessagePassing(8)
    params = layer.init(jax.random.key(0), nodes_GND, edges_GED, ends)
    before_GND, _ = layer.apply(params, nodes_GND, edges_GED, ends)
    edges_GED[0, 3] += 1
    after_GND, _ = layer.apply(params, nodes_GND, edges_GED, ends)
    changed = np.argwhere(np.abs(before_GND - after_GND).max(-1) > 1e-5).tolist()
    assert changed == [[0, ends["receivers"][0, 3]]]
