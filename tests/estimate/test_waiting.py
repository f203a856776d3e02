"""Laws of waiting for a host that cannot run ahead of the devices."""

import numpy as np
import pytest

from swplan.estimate.strategy import Strategy
from swplan.estimate.waiting import waits_of
from tests.estimate.programs import estimator

CHIP, KEY = "h100-sxm", "compute.issue_s"
TEXT = "mesh=expert:2/data:4 zero=1 launch={}"


def waits(program, issue_s, text="mesh=expert:2/data:4 zero=1 launch=eager"):
    """Seconds of a pass of each stage that wait for the host."""
    found, strategy = estimator(program, CHIP), Strategy.parse(text)
    chip = found.cluster.chip.replace({KEY: issue_s})
    priced = waits_of(found.prices(strategy, chip), found.batch([strategy]))
    return {cause.stage: float(seconds[0]) for cause, seconds in priced.items()}


def step_s(launch, issue_s):
    """Seconds of a step."""
    found, strategy = estimator("moe", CHIP), Strategy.parse(TEXT.format(launch))
    return float(found.costs([strategy], found.cluster.replace({KEY: issue_s})).step_time_s[0])


def test_only_layers_with_experts_wait():
    assert waits("llama", 1e-4, "mesh=data:8 launch=eager") == {}
    assert set(waits("moe", 1e-4)) == {"forward", "backward"}


def test_a_host_that_takes_no_time_is_never_waited_for():
    assert sum(waits("moe", 0.0).values()) == 0
    assert step_s("eager", 0.0) == step_s("compiled", 0.0)


def test_what_waits_grows_as_the_host_slows_down():
    seconds = [sum(waits("moe", issue_s).values()) for issue_s in (1e-5, 1e-4, 1e-3)]
    assert np.all(np.diff(seconds) > 0)
    assert seconds[2] == pytest.approx(10 * seconds[1], rel=0.2)


def test_compiled_programs_wait_for_nobody():
    assert step_s("compiled", 1e-3) == step_s("compiled", 0.0)
    assert step_s("eager", 1e-3) > step_s("eager", 1e-5)
