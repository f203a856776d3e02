"""Graph networks that encode, process and decode, in Flax linen.

The simulator of Sanchez-Gonzalez et al. 2020 (arXiv:2002.09405, "GNS"): features of nodes and edges are embedded; in
every step of message passing each edge reads its two nodes and each node the sum of the edges that it receives, all
with parameters of their own; nodes are decoded to accelerations. Godwin et al. 2021 (arXiv:2106.07971) train it 50
steps deep. Graphs of a batch are padded to the same number of nodes and edges.

Legend: G graphs, N nodes of a graph, E edges of a graph, F features, D latent width.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models import training

DIMS = 3


class MLP(nn.Module):
    """Two hidden layers with relu.

    Attributes:
        hidden: width of the hidden layers.
        out: width of the output.
        normed: whether the output is normed.
    """

    hidden: int
    out: int
    normed: bool = True

    @nn.compact
    def __call__(self, x_GNF: jax.Array) -> jax.Array:
        """Returns `[G, N, out]`, or the same of edges."""
        for _ in range(2):
            x_GNF = nn.relu(nn.Dense(self.hidden)(x_GNF))
        x_GNF = nn.Dense(self.out)(x_GNF)
        return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)(x_GNF) if self.normed else x_GNF


def at(rows_GND: jax.Array, index_GE: jax.Array) -> jax.Array:
    """Returns the node at either end of every edge, `[G, E, D]`."""
    return jax.vmap(lambda rows_ND, index_E: rows_ND[index_E])(rows_GND, index_GE)


def received(edges_GED: jax.Array, receivers_GE: jax.Array, nodes: int) -> jax.Array:
    """Returns for every node the sum of the edges that it receives, `[G, N, D]`."""
    return jax.vmap(lambda *edges: jax.ops.segment_sum(*edges, num_segments=nodes))(edges_GED, receivers_GE)


class MessagePassing(nn.Module):
    """One step: edges are updated from their nodes, nodes from the sum of the edges that they receive.

    Attributes:
        hidden: width of the hidden layers.
    """

    hidden: int

    @nn.compact
    def __call__(self, nodes_GND: jax.Array, edges_GED: jax.Array, graph: dict) -> tuple[jax.Array, jax.Array]:
        """Returns nodes and edges; `graph` holds senders and receivers, int32 `[G, E]`."""
        sent_GED, received_GED = at(nodes_GND, graph["senders"]), at(nodes_GND, graph["receivers"])
        inputs_GEF = jnp.concatenate([edges_GED, sent_GED, received_GED], axis=-1)
        message_GED = MLP(self.hidden, edges_GED.shape[-1], name="edge")(inputs_GEF)
        inbox_GND = received(message_GED, graph["receivers"], nodes_GND.shape[1])
        inputs_GNF = jnp.concatenate([nodes_GND, inbox_GND], axis=-1)
        return nodes_GND + MLP(self.hidden, nodes_GND.shape[-1], name="node")(inputs_GNF), edges_GED + message_GED


class GraphNetwork(nn.Module):
    """The network from graphs to accelerations.

    Attributes:
        steps: of message passing.
        latent: width D of nodes and edges.
        hidden: width of the hidden layers.
    """

    steps: int
    latent: int
    hidden: int

    @nn.compact
    def __call__(self, graph: dict) -> jax.Array:
        """Returns `[G, N, 3]`."""
        nodes_GND = MLP(self.hidden, self.latent, name="encode_nodes")(graph["nodes"])
        edges_GED = MLP(self.hidden, self.latent, name="encode_edges")(graph["edges"])
        for index in range(self.steps):
            step = MessagePassing(self.hidden, name=f"step_{index}")
            nodes_GND, edges_GED = step(nodes_GND, edges_GED, graph)
        return MLP(self.hidden, DIMS, normed=False, name="decode")(nodes_GND)


def graph_batch(graphs: int, nodes: int, edges: int, features: int):
    """Returns `make_batch(key)`: random graphs with features of nodes and edges, and a target for every node."""

    def make_batch(key: jax.Array) -> dict:
        keys = jax.random.split(key, 5)
        return {
            "nodes": jax.random.normal(keys[0], (graphs, nodes, features)),
            "edges": jax.random.normal(keys[1], (graphs, edges, DIMS + 1)),
            "senders": jax.random.randint(keys[2], (graphs, edges), 0, nodes),
            "receivers": jax.random.randint(keys[3], (graphs, edges), 0, nodes),
            "targets": jax.random.normal(keys[4], (graphs, nodes, DIMS)),
        }

    return make_batch


def simulator(
    *,
    steps: int = 2,
    latent: int = 64,
    hidden: int = 64,
    graphs: int = 8,
    nodes: int = 16,
    edges: int = 64,
    features: int = 32,
    learning_rate: float = 3e-3,
    only_shapes: bool = False,
    seed: int = 0,
):
    """Returns `(step, (state, batch))` of a graph network; the batch is made by `graph_batch`.

    Args:
        steps: of message passing.
        latent: width of nodes and edges.
        hidden: width of the hidden layers.
        graphs: of a batch.
        nodes: of a graph, padded.
        edges: of a graph, padded.
        features: of a node; an edge has a displacement and its length.
        learning_rate: of AdamW.
        only_shapes: return `jax.ShapeDtypeStruct` in place of arrays.
        seed: of parameters and batch.
    """
    model = GraphNetwork(steps, latent, hidden)
    make_batch = graph_batch(graphs, nodes, edges, features)

    def loss_fn(params, batch):
        return jnp.mean((model.apply({"params": params}, batch) - batch["targets"]) ** 2), {}

    return training.program(
        lambda key: model.init(key, graph_batch(1, nodes, edges, features)(key))["params"],
        make_batch,
        loss_fn,
        training.adamw(learning_rate=learning_rate),
        seed=seed,
        only_shapes=only_shapes,
    )


def tiny(*, graphs: int = 8, **options):
    """Two steps of message passing on graphs of 16 nodes."""
    return simulator(graphs=graphs, **options)


def gns(*, graphs: int = 128, **options):
    """The simulator as published: ten steps, width 128; 2,048 particles of 16 neighbours. Shapes only."""
    size = {"steps": 10, "latent": 128, "hidden": 128, "nodes": 2048, "edges": 32768}
    return simulator(graphs=graphs, **({"only_shapes": True} | size | options))


def gns_deep(*, graphs: int = 1024, **options):
    """The 50 steps of Godwin et al., width 512, parameters not shared; 128 atoms of 32 neighbours. Shapes only."""
    size = {"steps": 50, "latent": 512, "hidden": 512, "nodes": 128, "edges": 4096}
    return simulator(graphs=graphs, **({"only_shapes": True} | size | options))
