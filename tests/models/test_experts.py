"""Routing against loops over single tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import experts as routing

GROUPS, CHOICES, EXPERTS, TOKENS = 3, 24, 4, 12


def plain_slots(expert_T, capacity):
    """The slots of one group by counting."""
    taken, slots = [0] * EXPERTS, []
    for expert in expert_T:
        full = taken[expert] >= capacity
        slots.append(EXPERTS * capacity if full else expert * capacity + taken[expert])
        taken[expert] += 1
    return slots, taken


@pytest.fixture
def expert_GT():
    return np.random.default_rng(0).integers(0, EXPERTS, (GROUPS, CHOICES), dtype=np.int32)


@pytest.mark.parametrize("capacity", [1, 4, CHOICES])
def test_slots_equal_counting(expert_GT, capacity):
    slot_GT, load_GE = routing.slots(jnp.asarray(expert_GT), EXPERTS, capacity)
    expected = [plain_slots(expert_T, capacity) for expert_T in expert_GT]
    assert slot_GT.tolist() == [slots for slots, _ in expected]
    assert load_GE.tolist() == [load for _, load in expected]


@pytest.mark.parametrize("capacity", [1, 4, CHOICES])
def test_inverse_names_the_token_of_every_slot(expert_GT, capacity):
    slot_GT, _ = routing.slots(jnp.asarray(expert_GT), EXPERTS, capacity)
    token_GN = np.asarray(routing.inverse(slot_GT, EXPERTS * capacity, TOKENS))
    for slot_T, token_N in zip(np.asarray(slot_GT), token_GN, strict=True):
        expected = np.full(EXPERTS * capacity, TOKENS)
        for choice, slot in enumerate(slot_T):
            expected[slot : slot + 1] = choice % TOKENS
        assert token_N.tolist() == expected.tolist()


def test_take_gives_zeros_beyond_the_last_row():
    rows_GRD = jnp.ones((2, 3, 4))
    taken_GID = routing.take(rows_GRD, jnp.array([[0, 3], [3, 2]]))
    assert taken_GID[..., 0].tolist() == [[1, 0], [0, 1]]


def reference_expert(params, expert, x_D):
    """One token through one expert."""
    h_F = x_D @ params["up"][expert]
    h_F = jax.nn.silu(x_D @ params["gate"][expert]) * h_F if "gate" in params else jax.nn.gelu(h_F)
    return h_F @ params["down"][expert]


def reference_layer(layer, params, x_SD):
    """Sends one token after the other through its experts, without capacity."""
    rows = []
    for x_D in x_SD:
        gates, chosen = jax.lax.top_k(jax.nn.softmax(x_D @ params["router"]), layer.choices)
        gates = gates / gates.sum() if layer.choices > 1 else gates
        outputs = [reference_expert(params, expert, x_D) for expert in chosen]
        rows.append(sum(gate * output for gate, output in zip(gates, outputs, strict=True)))
    return jnp.stack(rows)


@pytest.mark.parametrize(("choices", "gated"), [(1, False), (2, False), (3, True)])
def test_layer_with_room_for_all_equals_token_by_token(choices, gated):
    layer = routing.Experts(experts=EXPERTS, d_ff=16, choices=choices, capacity_factor=float(EXPERTS), gated=gated)
    x_GSD = jax.random.normal(jax.random.key(1), (2, 6, 8))
    params = layer.init(jax.random.key(0), x_GSD)["params"]
    y_GSD, balance = layer.apply({"params": params}, x_GSD)
    expected = jnp.stack([jax.jit(reference_layer, static_argnums=0)(layer, params, x_SD) for x_SD in x_GSD])
    np.testing.assert_allclose(y_GSD, expected, rtol=1e-5, atol=1e-6)
    assert 0.5 < balance < EXPERTS


def test_routing_indexes_inside_its_group_only():
    layer = routing.Experts(experts=EXPERTS, d_ff=16, choices=2, capacity_factor=1.0)
    x_GSD = jax.random.normal(jax.random.key(1), (2, 6, 8))
    params = layer.init(jax.random.key(0), x_GSD)["params"]
    loss_fn = jax.grad(lambda params, x_GSD: jnp.sum(layer.apply({"params": params}, x_GSD)[0] ** 2), argnums=(0, 1))
    indexed = [e for e in equations(jax.make_jaxpr(loss_fn)(params, x_GSD).jaxpr) if "dimension_numbers" in e.params]
    indexed = [e for e in indexed if e.primitive.name in ("gather", "scatter", "scatter-add")]
    assert {e.primitive.name for e in indexed} == {"gather", "scatter", "scatter-add"}
    assert all(0 in e.params["dimension_numbers"].operand_batching_dims for e in indexed)


def equations(jaxpr):
    """All equations, those of inner jaxprs included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from equations(inner.jaxpr)
