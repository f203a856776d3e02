"""Peak memory: laws, programs that can be counted by hand, XLA's own figure, and models under plans."""

from collections import defaultdict
from itertools import pairwise

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from benchmarks.memory import DATA, RANDOM, REPLICATED, TENSOR, ZERO, choices_of, measure
from swplan.passes.buffers import fuse
from swplan.passes.heap import Life, _ticks, heap_bytes, outside_holes, peak_position
from swplan.passes.instructions import BARRED, LOOP, Instruction, Kernel
from swplan.passes.lowering import lower
from swplan.passes.memory import peak_memory
from swplan.passes.order import depth_first, schedule
from swplan.passes.partition import partition
from swplan.passes.xla import XLA_0_10, XLA_0_11
from swplan.runtime.compiler import xla
from swplan.runtime.trace import Statics, trace

KIB = 1024


def array(*shape, dtype=jnp.float32):
    """An abstract array."""
    return jax.ShapeDtypeStruct(shape, dtype)


def report(step, *args, donate=None, sizes=(1,), plan=REPLICATED):
    """The memory of a step on one device."""
    graph = trace(step, args, {}, donate=donate).graph
    return peak_memory(partition(graph, sizes, choices_of(graph, plan, sizes)), graph, xla=xla())


def xla_temporaries(step, *args, donated=()):
    """XLA's temporaries for the same step, compiled as it stands."""
    return jax.jit(step, donate_argnums=donated).lower(*args).compile().memory_analysis().temp_size_in_bytes


def test_a_product_holds_its_operands_and_its_result():
    found = report(lambda a, b: a @ b, array(64, 64), array(64, 64))
    assert (found.argument_bytes, found.result_bytes, found.temporary_bytes) == (32 * KIB, 16 * KIB, 0)
    assert found.peak_bytes == 48 * KIB


def test_elementwise_chains_need_no_memory():
    assert report(lambda a: jnp.tanh(a * 2 + 1) - a, array(64, 64)).temporary_bytes == 0


def test_a_reshape_is_its_operand():
    flat = lambda a: jnp.tanh((a @ a).reshape(-1))  # noqa: E731
    assert report(flat, array(64, 64)).temporary_bytes == xla_temporaries(flat, array(64, 64)) == 16 * KIB


def chain(x, *weights):
    """Products one after another."""
    for weight in weights:
        x = x @ weight
    return x


def mixed(x, w):
    """Values that live side by side, and one that dies."""
    y = x @ w
    z = jnp.tanh(y) @ w
    return (z @ w) + y


def turned(x, w):
    """A sum over two dims, for which operands must be put in order."""
    return jnp.einsum("blf,bld->fd", x, w) @ jnp.ones((16, 16))


def scanned(x, w):
    """A loop that stacks what it computes."""
    return lax.scan(lambda c, _: (jnp.tanh(c @ w), c @ w), x, None, length=8)


@pytest.mark.parametrize(
    ("step", "args"),
    [
        (chain, [array(256, 256)] * 2),
        (chain, [array(256, 256)] * 3),
        (chain, [array(256, 256)] * 6),
        (mixed, [array(256, 256)] * 2),
        (turned, [array(8, 32, 64), array(8, 32, 16)]),
    ],
)
def test_small_programs_need_what_xla_allocates(step, args):
    assert report(step, *args).temporary_bytes == pytest.approx(xla_temporaries(step, *args), rel=0.002)


def test_a_loop_holds_one_body_and_all_that_it_stacks():
    x = array(128, 128)
    found = report(scanned, x, x, donate=False)
    longer = report(lambda x, w: lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=80)[0], x, x)
    shorter = report(lambda x, w: lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=8)[0], x, x)
    assert longer.peak_bytes == shorter.peak_bytes
    assert found.result_bytes == (8 + 1) * 64 * KIB


def much_at_once(x):
    """A loop that holds much on every trip."""
    wide = lambda h: jnp.sum(jnp.sin(h[:, None] @ h[None]) @ jnp.cos(h[:, None] @ h[None]), 0)  # noqa: E731
    return lax.scan(lambda h, _: (wide(h), None), x, None, length=4)[0]


def then_much_stacked(x):
    """The same, and a loop that stacks much after it."""
    return lax.scan(lambda h, _: (jnp.sin(h), h), much_at_once(x), None, length=256)[1].sum(0)


def test_in_program_order_a_loop_takes_its_room_when_it_begins():
    graphs = [trace(step, (array(256),), {}).graph for step in (much_at_once, then_much_stacked)]
    programs = [partition(graph, (), defaultdict(tuple)) for graph in graphs]
    first, both = (peak_memory(*pair, in_order=True).temporary_bytes for pair in zip(programs, graphs, strict=True))
    assert first > 512 * KIB and both <= first + 4 * KIB


def update(state, batch):
    """Gradient descent on one matrix."""
    gradient = batch.T @ (batch @ state)
    return state - 0.1 * gradient, jnp.sum(gradient)


def test_donation_saves_the_second_copy_of_the_state():
    given_up, kept = (report(update, array(256, 256), array(64, 256), donate=donate) for donate in (None, False))
    assert kept.result_bytes - given_up.result_bytes == 256 * KIB
    assert kept.peak_bytes - given_up.peak_bytes >= (256 - 64) * KIB  # while it waits, a product uses the second place
    assert given_up.argument_bytes == kept.argument_bytes


def test_state_that_is_still_read_is_copied_before_it_is_replaced():
    early = report(lambda state, x: (state + 1.0, jnp.sum(x @ state)), array(256, 256), array(64, 256), donate=True)
    late = report(lambda state, x: (state + jnp.sum(x @ state), None), array(256, 256), array(64, 256), donate=True)
    assert early.temporary_bytes >= 256 * KIB > late.temporary_bytes


def test_splitting_the_batch_or_the_state_never_needs_more_for_arguments():
    args = array(256, 256), array(64, 256)
    whole, data, zero = (report(update, *args, sizes=(8,), plan=plan) for plan in (REPLICATED, DATA, ZERO))
    assert whole.argument_bytes > data.argument_bytes > zero.argument_bytes
    assert zero.argument_bytes == whole.argument_bytes // 8


def test_the_report_adds_up_and_names_what_is_large():
    found = report(update, array(256, 256), array(64, 256))
    assert sum(found.by_role.values()) == found.peak_bytes
    assert found.by_role["parameter"] == 256 * KIB
    assert found.largest[0].bytes == max(one.bytes for one in found.largest)
    assert {"state", "batch"} <= {one.name for one in found.largest}
    assert ".py" in found.peak_op


def test_a_long_chain_needs_what_a_short_one_needs():
    def step(x, *, layers):
        for _ in range(layers):
            x = jnp.tanh(x @ x) * 0.5
        return x

    def peak(layers):
        graph = trace(step, (array(8, 8),), {"layers": layers}, statics=Statics(argnames=("layers",))).graph
        return peak_memory(partition(graph, (1,), choices_of(graph, REPLICATED, (1,))), graph).peak_bytes

    assert peak(4000) == peak(40)


@pytest.mark.parametrize(
    ("model", "plan", "sizes"),
    [
        ("models.mlp:tiny", REPLICATED, (8,)),
        ("models.mlp:tiny", DATA, (8,)),
        ("models.mlp:tiny_plain", ZERO, (8,)),
        ("models.convnet:tiny", DATA, (8,)),
        pytest.param("models.mlp:tiny", TENSOR, (2, 4), marks=pytest.mark.slow),
        pytest.param("models.gpt:tiny", DATA, (8,), marks=pytest.mark.slow),
        pytest.param("models.gpt:tiny_scanned", REPLICATED, (8,), marks=pytest.mark.slow),
    ],
)
def test_models_need_what_xla_allocates(model, plan, sizes):
    assert measure(model, plan, sizes).ratio == pytest.approx(1, abs=0.1)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20), st.integers(0, 9)), max_size=20))
def test_a_heap_is_at_least_what_is_alive_and_at_most_the_sum(spans):
    lives = [Life(i, size, start, start + length) for i, (size, start, length) in enumerate(spans)]
    assert peak_position(lives, 30)[0] <= heap_bytes(lives) <= sum(life.bytes for life in lives)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(0, 9)), max_size=20))
def test_rooms_hold_one_life_at_a_time(spans):
    lives = [Life(i, size, start, start + length) for i, (size, start, length) in enumerate(spans)]
    room = Life(99, 9, 5, 25)
    left = outside_holes(lives, [room])
    inside = sorted((life.start, life.end) for life in lives if life not in left)
    assert all(room.start <= start and end <= room.end for start, end in inside)
    assert all(first[1] < second[0] for first, second in pairwise(inside))


def test_a_slice_is_apart_from_its_readers_where_barriers_hold():
    graph = trace(update, (array(256, 256), array(64, 256)), {}).graph
    program = partition(graph, (2, 4), choices_of(graph, RANDOM, (2, 4), seed=1))
    held, dropped = (
        [one.kind for one in found if one.name == "slice" and one.op.step.kind == "slice"]
        for found in (lower(program, which).regions[id(program.top)] for which in (XLA_0_11, XLA_0_10))
    )
    assert held == [BARRED] * len(dropped) and set(dropped) == {LOOP}


@given(st.lists(st.sets(st.integers(0, 30), max_size=3), max_size=30))
def test_a_schedule_has_every_kernel_once_after_what_it_reads(graph):
    kernels = [Kernel(None, "op", {b: False for b in sorted(reads) if b < i}, (i,)) for i, reads in enumerate(graph)]
    order = schedule(kernels, [])
    places = {kernel.writes[0]: position for position, kernel in enumerate(order)}
    assert sorted(places) == list(range(len(kernels)))
    assert all(places[read] < places[kernel.writes[0]] for kernel in kernels for read in kernel.reads)


def loop(name, reads, write, **more):
    """An instruction that fuses with loops."""
    return Instruction(None, name, reads, (write,), LOOP, **more)


def test_copies_that_undo_each_other_leave_each_element_where_it_is():
    turned = [
        loop("copy", (1,), 2, turn=(1, 0)),
        loop("neg", (2,), 3, alike=(2,)),
        loop("transpose", (3,), 4, turn=(1, 0)),
    ]
    (kernel,) = fuse(turned, {4})
    assert kernel.reads == {1: True}
    (kernel,) = fuse(turned[:2], {3})
    assert kernel.reads == {1: False}


def test_of_those_that_wait_for_a_buffer_the_last_takes_the_place_of_what_it_took_in():
    chain = [
        loop("mul", (1,), 2, alike=(1,)),
        Instruction(None, "dot_general", (1,), (3,)),
        loop("exp", (1,), 4, alike=(1,)),
        loop("add", (2, 5), 6, alike=(2, 5)),
    ]
    kernels = fuse(chain, {3, 4, 6})
    assert [kernel.name for kernel in schedule(kernels, [5, 1])] == ["add", "dot_general", "exp"]


def test_depth_first_follows_the_first_result_to_its_end():
    kernels = [Kernel(None, "op", {1: False}, (2,)), Kernel(None, "op", {2: False, 3: False}, (4,))]
    assert list(depth_first(kernels, [4, 2])) == [1, 2, 3, 4]


def test_a_heap_counts_time_in_buffers_that_come_and_go():
    long = [Life(0, 64, 0, 9), Life(1, 64, 10, 19)]
    busy = [Life(2 + i, 64, 12, 13) for i in range(3)]
    assert _ticks([*long, *busy])[0] == (0, 1)
    assert _ticks([*long, *busy])[1] == (2, 9)


@pytest.mark.parametrize("batch", [(), (1,), (2,)])
@pytest.mark.parametrize("free", [(4,), (8, 4)])
def test_a_product_copies_the_operands_that_xla_copies(batch, free):
    dims = "xyz"[: len(free)]
    letters = "e" * len(batch)
    step = lambda w, x: jnp.einsum(f"{letters}df,{letters}{dims}d->{letters}f{dims}", w, x)  # noqa: E731
    args = array(*batch, 64, 128), array(*batch, *free, 64)
    assert report(step, *args, donate=False).temporary_bytes == xla_temporaries(step, *args)
