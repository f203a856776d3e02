"""Calibration: its fit inverts the cost model, its programs do what they are timed for, its chip is whole and found."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from swplan.costmodel import COLLECTIVES, Cluster, Group, collective_time_s, load_chip
from swplan.runtime import calibrate_loops as loops
from swplan.runtime.calibrate import BUFFER_BYTES, DTYPES, MATMULS, NARROW, UNITS, calibrate
from swplan.runtime.calibrate_fit import fit_link, fit_products, losses, shortest
from swplan.runtime.calibrate_loops import AXIS, EXCHANGES, Effort, Timer, Watch, all_devices

QUICK = Effort(run_s=0.0005, repeats=3, trips=16, rounds=1)


def link(kind: str, members: int, latency_s: float, bytes_per_s: float) -> Cluster:
    numbers = {f"network.host.{kind}_latency_s": latency_s, f"network.host.{kind}_bytes_per_s": bytes_per_s}
    return Cluster.parse(f"host:devices={members}").replace(numbers)


def priced(kind: str, members: int, cluster: Cluster) -> np.ndarray:
    return collective_time_s(kind, Group(per_tier=(members,)), np.array(BUFFER_BYTES, float), cluster)[0]


@pytest.mark.parametrize("kind", COLLECTIVES)
@pytest.mark.parametrize("members", [2, 6, 8])
def test_the_fit_inverts_the_cost_model(kind, members):
    """Times that the cost model gives are priced the same by the link that is fitted to them."""
    seconds = priced(kind, members, link(kind, members, 2e-5, 8e8))
    latency_s, bytes_per_s = fit_link(kind, members, BUFFER_BYTES, seconds)
    again = priced(kind, members, link(kind, members, latency_s, bytes_per_s))
    np.testing.assert_allclose(again, seconds, rtol=1e-2)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_the_fit_leaves_the_rendezvous_to_the_rendezvous(kind):
    cluster = link(kind, 8, 2e-5, 8e8).replace({"network.host.rendezvous_s": 1e-4})
    fitted = fit_link(kind, 8, BUFFER_BYTES, priced(kind, 8, cluster), rendezvous_s=1e-4)
    again = link(kind, 8, *fitted).replace({"network.host.rendezvous_s": 1e-4})
    np.testing.assert_allclose(priced(kind, 8, again), priced(kind, 8, cluster), rtol=1e-2)
    np.testing.assert_allclose(priced(kind, 2, again), priced(kind, 2, cluster), rtol=0.1)


@pytest.mark.parametrize(("edge", "depth"), [(10.0, 25.0), (2.0, 100.0), (30.0, 3.0)])
def test_what_products_lose_is_found_from_their_rates(edge, depth):
    shapes = (*MATMULS, *NARROW)
    rates = 3e10 / losses(shapes, edge, depth)
    np.testing.assert_allclose(fit_products(shapes, rates.tolist()), (edge, depth), rtol=1e-2)
    noisy = fit_products(shapes, (rates * np.resize([1.1, 0.9, 1.0], len(shapes))).tolist())
    np.testing.assert_allclose(losses(shapes, *noisy), losses(shapes, edge, depth), rtol=0.3)


def traced(body, start, _, size):
    """The names of the equations of one trip, and the equations."""
    eqns = jax.make_jaxpr(body, axis_env=[(AXIS, size)])(*start).eqns
    return [eqn.primitive.name for eqn in eqns], eqns


@pytest.mark.parametrize(("size", "rounds"), [(8, 3), (6, 1), (4, 2)])
def test_devices_meet_others_each_time(size, rounds):
    names, eqns = traced(*loops.between(loops.PAIRS, size, 256), size)
    groups = [eqn.params["axis_index_groups"] for eqn, name in zip(eqns, names, strict=True) if "psum" in name]
    assert len(groups) == rounds == len({str(each) for each in groups})
    assert all(sorted(device for pair in each for device in pair) == list(range(size)) for each in groups)


@pytest.mark.parametrize("size", [2, 3, 6, 7, 8])
@pytest.mark.parametrize("kind", COLLECTIVES)
def test_any_number_of_devices_can_exchange(kind, size):
    for wanted in BUFFER_BYTES:
        buffer_bytes = loops.shared(wanted, size)
        assert wanted <= buffer_bytes < wanted + 4 * size
        names, _ = traced(*loops.between(kind, size, buffer_bytes), size)
        assert names.count("dot_general") == loops.MEETINGS


def test_a_product_is_before_each_exchange():
    names, _ = traced(*loops.between("all_reduce", 8, 4096), 8)
    order = ["sum" if "psum" in name else name for name in names if "psum" in name or name == "dot_general"]
    assert order == ["dot_general", "sum"] * loops.MEETINGS


def test_products_alone_are_as_many_and_end_in_one_meeting():
    names, _ = traced(*loops.products(3), 8)
    order = ["sum" if "psum" in name else name for name in names if "psum" in name or name == "dot_general"]
    assert order == ["dot_general"] * 3 + ["sum"]


def test_the_fit_passes_between_noisy_times():
    seconds = priced("all_gather", 8, link("all_gather", 8, 2e-5, 8e8)) * np.array([1.3, 0.8, 1.2, 0.9])
    again = priced("all_gather", 8, link("all_gather", 8, *fit_link("all_gather", 8, BUFFER_BYTES, seconds)))
    assert np.all(again / seconds < 1.5) and np.all(again / seconds > 0.6)


def test_no_time_is_longer_than_that_of_a_larger_buffer():
    assert shortest([5.0, 1.0, 2.0, 2.0, 3.0]) == [1.0, 1.0, 2.0, 2.0, 3.0]


def test_one_long_run_does_not_end_the_search_for_trips(monkeypatch):
    """On a clock on which every seventh run takes ten times as long, a trip still takes about what it takes."""
    mesh, now, runs = all_devices(), [0.0], [0]

    def run(count, *values):
        runs[0] += 1
        now[0] += (1e-4 + 1e-5 * int(count)) * (10 if runs[0] % 7 == 6 else 1)

    monkeypatch.setattr(loops, "_loop", lambda *args: run)
    monkeypatch.setattr(loops.time, "perf_counter", lambda: now[0])
    body, start, _ = loops.stream(8)
    assert Timer(body, start, mesh, Effort(run_s=1e-3, repeats=4)).look() == pytest.approx(1e-5, rel=1e-6)


def test_a_slow_moment_is_forgotten_in_the_next_round(monkeypatch):
    """And no program is compiled twice."""
    now, pace, made = [0.0], [3.0], []

    def run(count, *values):
        now[0] += pace[0] * (1e-4 + 1e-5 * int(count))

    monkeypatch.setattr(loops, "_loop", lambda *args: made.append(args) or run)
    monkeypatch.setattr(loops.time, "perf_counter", lambda: now[0])
    watch = Watch(all_devices(), Effort(run_s=1e-3))
    assert watch.look(loops.stream, 8)[0] == pytest.approx(3e-5)
    pace[0] = 1.0
    assert watch.look(loops.stream, 8)[0] == pytest.approx(1e-5)
    pace[0] = 2.0
    assert watch.look(loops.stream, 8)[0] == pytest.approx(1e-5)
    assert len(made) == 1
    watch.look(loops.stream, 16)
    assert len(made) == 2


def test_there_is_a_program_for_every_kind_of_collective():
    assert set(EXCHANGES) == set(COLLECTIVES)


@pytest.mark.parametrize("kind", COLLECTIVES)
def test_an_exchange_is_one_collective_of_the_buffer_that_is_priced_and_copies_nothing(kind):
    mesh = all_devices()
    body, start, _ = loops.between(kind, mesh.size, 4096)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, P())) for x in start]
    trips = jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, P()))
    text = loops._loop(body, len(start), mesh).lower(trips, *shapes).compile().as_text()
    names = {"permute": "collective-permute"}
    lines = [line for line in text.splitlines() if f" {names.get(kind, kind.replace('_', '-'))}(" in line]
    assert len(lines) == loops.MEETINGS == len(start) - 2
    assert sum(x.nbytes for x in start[2:]) == 4096 * loops.MEETINGS // (mesh.size if kind == "all_gather" else 1)
    assert f"f32[{4096 // 4}]" in text
    operand = f"f32[{start[2].size}]"
    copies = [line for line in text.splitlines() if re.search(rf"= {re.escape(operand)}\S* copy\(", line)]
    assert len(copies) == loops.MEETINGS, "one of each operand, before the loop"


def test_more_trips_take_more_time_and_the_time_of_one_does_not_change():
    mesh = all_devices()
    body, start, _ = loops.matmul(1, 64, 64, 64, jnp.float32)
    few = Timer(body, start, mesh, Effort(run_s=0.004, repeats=4)).look()
    many = Timer(body, start, mesh, Effort(run_s=0.02, repeats=4)).look()
    assert 0.2 < many / few < 5


def test_a_turned_copy_is_one_transposition_a_trip():
    """The copy is between barriers, so that no layout of the loop's own takes its place."""
    body, start, moved = loops.turned(64)
    text = jax.make_jaxpr(body)(*start).pretty_print()
    assert text.count("transpose") == 1 and text.count("optimization_barrier") == 2
    assert moved == 2 * start[0].nbytes


@pytest.mark.parametrize("size", [4, 1 << 14, 1 << 18])
def test_a_program_in_turn_runs_on_as_many_copies_as_a_step_works_on_and_devices_meet_once(size):
    _, start, work = loops.stream(size)
    step, copies, total = loops.in_turn(loops.stream, size)
    count = min(loops.COPIES, loops.STEP_BYTES // start[0].nbytes)
    assert len(copies) == 1 + count and total == count * work
    run = jax.shard_map(step, mesh=all_devices(), in_specs=P(), out_specs=P(), check_vma=False)
    text = jax.make_jaxpr(run)(*copies).pretty_print()
    assert text.count("psum") == 1 and text.count(" mul ") == count + 1


def test_a_product_copies_the_smaller_of_its_operands():
    """What a loop changes in place while something reads it, it copies."""
    for m, n in ((16, 256), (512, 128)):
        body, (x, w), _ = loops.matmul(1, m, 128, n, jnp.float32)
        after = jax.eval_shape(body, x, w)
        assert [a.shape for a in after] == [x.shape, w.shape]
        text = jax.make_jaxpr(body)(x, w).pretty_print()
        assert f"f32[1,{min(m, n) if m < n else 128},{128 if m < n else n}] = dynamic_update_slice" in text


def test_the_devices_are_all_at_work():
    assert all_devices().shape == {AXIS: jax.device_count()}


@pytest.mark.slow
def test_a_calibrated_chip_is_whole_written_and_found(tmp_path, monkeypatch):
    monkeypatch.setenv("SWPLAN_CHIPS", str(tmp_path / "chips"))
    monkeypatch.setattr(loops, "COPIES", 2)  # 64 take a minute to compile
    said = []
    chip = calibrate(lambda *args: said.append(args), effort=QUICK)
    assert load_chip("host") == chip
    assert {number.kind for number in chip.numbers.values()} == {"measured"}
    assert {chip.numbers[key].unit for key in chip.numbers} <= set(UNITS.values())
    for kind in set(COLLECTIVES) - {"permute"}:
        assert f"network.host.{kind}_latency_s" in chip.numbers
    assert {"network.host.rendezvous_s", "memory.turned_bytes_per_s"} <= set(chip.numbers)
    assert {"compute.matmul_edge", "compute.matmul_depth"} <= set(chip.numbers)
    assert chip.tiling.tile == 0 and chip.tiling.edge >= 0, "how much is a matter of time, and not asked here"
    assert set(chip.fallbacks) == {"int8", "fp8"} and set(DTYPES) <= set(chip.flops_per_s)
    total = said[0][1]
    assert [row[:2] for row in said] == [(done, total) for done in range(total + 1)]


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("SWPLAN_CHIPS", str(tmp_path / "chips"))
    monkeypatch.setattr("swplan.runtime.calibrate._jobs", lambda *args: [])
    calibrate(save=False)
    assert not (tmp_path / "chips").exists()
