"""What must hold of every estimate, whatever the numbers: of schedules, overlap, networks and memory."""

import pytest

from swplan.errors import UsageError
from swplan.estimate.schedule import PARTS
from swplan.estimate.strategy import Strategy
from tests.estimate.programs import costs, estimator, seconds

CHIP = "a100-80g-sxm"


def part(text, name, program="gpt"):
    """Seconds of one part of a step."""
    return float(costs(program, CHIP, text).parts[name][0])


def peak(text, program="gpt"):
    """Bytes at the peak."""
    return float(costs(program, CHIP, text).peak_bytes[0])


@pytest.mark.parametrize("text", ["mesh=data:8", "mesh=model:2/data:2/pipe:2 micro_batches=2", "mesh=expert:2/data:4"])
def test_parts_are_the_step(text):
    found = costs("moe", CHIP, text)
    assert tuple(found.parts) == PARTS
    assert min(float(seconds[0]) for seconds in found.parts.values()) >= 0
    assert sum(float(found.by_role[role][0]) for role in found.by_role) == pytest.approx(float(found.peak_bytes[0]))


def test_there_is_no_bubble_without_a_pipeline():
    assert part("mesh=data:8 micro_batches=4", "bubble") == 0
    assert part("mesh=data:4/pipe:2 micro_batches=2", "bubble") > 0


def test_bubbles_fall_with_micro_batches():
    bubbles = [part(f"mesh=data:2/pipe:4 micro_batches={n}", "bubble") for n in (1, 2, 4)]
    assert bubbles[0] > bubbles[1] > bubbles[2]


def test_bubbles_fall_with_interleaving():
    plain, woven = (part(f"mesh=data:2/pipe:2 micro_batches=4 interleave={v}", "bubble") for v in (1, 2))
    assert woven < plain


def test_stages_share_the_layers():
    one, two = (part(f"mesh=data:2/pipe:{p} micro_batches=2", "forward") for p in (1, 2))
    assert one / 2 < two < one


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("mesh=data:8 zero=3", "data"),
        ("mesh=expert:2/data:4 zero=1", "expert"),
        ("mesh=model:2/data:2/pipe:2 micro_batches=2", "model"),
        ("mesh=model:2/data:2/pipe:2 micro_batches=2", "pipe"),
        ("mesh=model:2/data:2/pipe:2 micro_batches=2", "data/model/pipe"),
    ],
)
def test_overlap_makes_no_step_longer(text, axis):
    assert seconds("moe", CHIP, f"{text} overlap={axis}") < seconds("moe", CHIP, text)


@pytest.mark.parametrize("text", ["mesh=data:8 zero=3", "mesh=model:2/data:2/pipe:2 micro_batches=2"])
@pytest.mark.parametrize("key", ["network.node.bytes_per_s", "network.fabric.bytes_per_s", "memory.bytes_per_s"])
def test_no_step_takes_longer_with_more_bandwidth(text, key):
    made, strategy = estimator("gpt", CHIP), Strategy.parse(text)
    base = made.cluster.chip.numbers["network.node.bytes_per_s" if "fabric" in key else key].value
    faster = made.cluster.replace({key: base if "fabric" in key else 2 * base})
    assert made.costs([strategy], faster).step_time_s[0] < made.costs([strategy]).step_time_s[0]


def test_state_that_is_split_takes_less_memory():
    zeros = [peak(f"mesh=data:8 zero={stage}") for stage in range(4)]
    assert zeros[1] < zeros[0] and zeros[3] < zeros[1] and zeros[2] <= zeros[1]


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ("mesh=data:4 micro_batches=1", "mesh=data:4 micro_batches=2"),
        ("mesh=data:8", "mesh=model:2/data:4"),
        ("mesh=data:8 recompute=none", "mesh=data:8 recompute=full"),
        ("mesh=data:8 recompute=none", "mesh=data:8 recompute=attention"),
        ("mesh=data:8", "mesh=data:8 attention=fused"),
    ],
)
def test_what_takes_less_memory(more, less):
    assert peak(less) < peak(more)


def test_recomputing_takes_time():
    none, some, all_ = (seconds("gpt", CHIP, f"mesh=data:8 recompute={what}") for what in ("none", "attention", "full"))
    assert none < some < all_


def test_work_is_shared_by_the_devices_evenly_at_best():
    one, eight = (part(text, "forward") for text in ("mesh=data:1", "mesh=data:8"))
    assert one / 8 <= eight < one


def test_a_pipeline_needs_layers():
    with pytest.raises(UsageError, match="no layers are scanned"):
        costs("mlp", CHIP, "mesh=data:4/pipe:2")


def test_an_axis_must_split_something():
    with pytest.raises(UsageError, match="expert:3 splits nothing"):
        costs("gpt", CHIP, "mesh=expert:3")
    with pytest.raises(UsageError, match="model:3 splits nothing"):
        costs("gpt", CHIP, "mesh=model:3")
