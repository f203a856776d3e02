"""Garbage is looked for seldom within, and as before afterwards, whatever happens."""

import gc

import pytest

from swplan._collecting import PACE, seldom_collected

NEVER = (0, 10, 10)
RARER = tuple(10 * count for count in PACE)


@pytest.mark.parametrize(("before", "within"), [((700, 10, 10), PACE), (RARER, RARER), (NEVER, NEVER)])
def test_pace(before, within):
    own = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        with pytest.raises(KeyError), seldom_collected():
            assert gc.get_threshold() == within
            raise KeyError
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*own)
