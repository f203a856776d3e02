"""Strategies as text: read what was written, and mistakes that say what to write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.errors import UsageError
from swplan.estimate.strategy import (
    ATTENTION,
    AXES,
    LAUNCHES,
    OVERLAPS,
    PRECISIONS,
    RECOMPUTE,
    Strategy,
)

COUNTS = st.integers(1, 10_000)


@st.composite
def any_strategy(draw):
    """A strategy whose parts go together."""
    axes = draw(st.lists(st.sampled_from(AXES), unique=True))
    mesh = tuple((axis, draw(COUNTS)) for axis in axes)
    stages = dict(mesh).get("pipe", 1)
    return Strategy(
        mesh=mesh,
        zero=draw(st.integers(0, 3)),
        micro_batches=draw(COUNTS),
        interleave=draw(COUNTS) if stages > 1 else 1,
        recompute=draw(st.sampled_from(RECOMPUTE)),
        precision=draw(st.sampled_from(PRECISIONS)),
        overlap=tuple(draw(st.lists(st.sampled_from(OVERLAPS), unique=True))),
        sequence=draw(st.booleans()),
        attention=draw(st.sampled_from(ATTENTION)),
        launch=draw(st.sampled_from(LAUNCHES)),
        global_batch=draw(st.integers(0, 10_000)),
    )


@given(any_strategy())
def test_what_is_written_is_read(strategy):
    assert Strategy.parse(str(strategy)) == strategy


def test_the_text_of_the_manual():
    text = "mesh=data:240/expert:400 zero=1 micro_batches=1 recompute=none precision=layered"
    strategy = Strategy.parse(text)
    assert strategy.mesh == (("data", 240), ("expert", 400)) and strategy.devices == 96_000
    assert str(strategy) == "mesh=data:240/expert:400 zero=1 precision=layered"


def test_no_text_is_one_device():
    assert Strategy.parse("") == Strategy() and Strategy().devices == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mesh", "write KEY=VALUE"),
        ("micro_batch=2", "micro_batches"),
        ("zero=1 zero=2", "given twice"),
        ("zero=4", "choose one of 0, 1, 2, 3"),
        ("mesh=tensor:8", "choose among data, replica, expert, context, model, pipe"),
        ("mesh=data:8/data:2", "given twice"),
        ("mesh=data", "whole number"),
        ("mesh=data:0", "whole number"),
        ("mesh=data:-2", "whole number"),
        ("mesh=data:²", "whole number"),
        ("micro_batches=1.5", "whole number"),
        ("recompute=some", "none, attention, full"),
        ("precision=int4", "layered"),
        ("overlap=disk", "data, replica, model"),
        ("interleave=2", "needs a pipe axis"),
        ("interleave=2 mesh=pipe:1", "needs a pipe axis"),
    ],
)
def test_mistakes(text, problem):
    with pytest.raises(UsageError, match=problem):
        Strategy.parse(text)
