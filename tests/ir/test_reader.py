"""What the reader makes of a jaxpr: source lines, trip counts, roles, and one op where XLA would have one."""

import jax
import jax.numpy as jnp
import optax
import pytest

from swplan.errors import TraceError, UnsupportedOpError
from swplan.ir.graph import walk
from swplan.runtime.trace import trace

F = jax.ShapeDtypeStruct((8, 8), jnp.float32)


def ops(step, *args):
    """(primitive, trips) of every op of a traced step."""
    return [(op.primitive, trips) for op, trips in walk(trace(step, args, {}).graph.top)]


def test_source_lines_are_the_users():
    """Not those of JAX."""
    graph = trace(lambda x: jnp.tanh(x) @ x, (F,), {}).graph
    assert all("test_reader.py" in op.source for op in graph.top.ops)


def test_loops_multiply():
    """A product in a scan in a scan runs as often as both say."""

    def step(x):
        inner = lambda c, _: (c @ c, None)  # noqa: E731
        return jax.lax.scan(lambda c, _: (jax.lax.scan(inner, c, None, length=3)[0], None), x, None, length=5)[0]

    assert ("dot_general", 15) in ops(step, F)


def test_what_does_not_change_moves_out_of_the_loop():
    """As XLA would move it."""

    def step(x, w):
        return jax.lax.scan(lambda c, _: (c + jnp.sin(w), None), x, None, length=4)[0]

    assert ("sin", 1) in ops(step, F, F)


def test_equal_equations_are_one_but_not_what_is_recomputed():
    """`jax.checkpoint` asks for the same thing twice."""
    twice = lambda x: jnp.sin(x) + jnp.sin(x)  # noqa: E731
    assert ops(twice, F).count(("sin", 1)) == 1
    loss = lambda x: jnp.sum(jax.checkpoint(lambda y: jnp.exp(jnp.exp(y)))(x))  # noqa: E731
    assert [name for name, _ in ops(jax.value_and_grad(loss), F)].count("exp") > 2


def test_dead_code_is_gone():
    """Also what only crosses the border of a loop."""

    def step(x):
        def body(carry, _):
            a, b = carry
            return (a + 1.0, b @ b), a @ a

        return jax.lax.scan(body, (x, x), None, length=3)[0][0]

    assert "dot_general" not in [name for name, _ in ops(step, F)]


def train_step(state, batch):
    """A training step with Adam."""
    params, moments = state
    loss, grads = jax.value_and_grad(lambda w: jnp.mean((batch @ w) ** 2))(params)
    updates, moments = optax.adam(1e-3).update(grads, moments)
    return (optax.apply_updates(params, updates), moments), loss


def test_roles_come_from_what_is_returned_in_place():
    """Parameter, optimizer state and batch are told apart without names."""
    state = jax.eval_shape(lambda: (jnp.zeros((8, 4)), optax.adam(1e-3).init(jnp.zeros((8, 4)))))
    graph = trace(train_step, (state, F), {}).graph
    roles = {name: graph.role(value) for name, value in zip(graph.names, graph.top.inputs, strict=True)}
    assert roles.pop("batch") == "batch"
    assert roles.pop("state/0") == "parameter"
    assert set(roles.values()) == {"optimizer"}
    assert len(graph.aliases) == len(graph.top.inputs) - 1
    assert {op.stage for op, _ in walk(graph.top)} == {"forward", "backward", "optimizer"}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2.0,
        jax.value_and_grad(lambda x: jnp.sum(x * x)),
        jax.grad(lambda x: jnp.sum(x @ x) + jnp.sum(x**2)),
    ],
    ids=["pure", "value_and_grad", "regularised"],
)
def test_what_merely_has_the_shape_of_an_argument_replaces_nothing(function):
    """Gradients are not a new state."""
    assert trace(function, (F,), {}).graph.aliases == {}


def test_an_unknown_primitive_names_the_line_and_the_remedy():
    """Never silence."""
    with pytest.raises(UnsupportedOpError, match=r"(?s)test_reader.py.*register_rule"):
        trace(lambda x: jax.debug.callback(lambda _: None, x) or jax.pure_callback(lambda y: y, F, x), (F,), {})


def test_a_step_that_cannot_be_traced_says_why():
    """With the cause kept."""
    with pytest.raises(TraceError, match="static_argnums"):
        trace(lambda x: x if x[0, 0] > 0 else -x, (F,), {})
