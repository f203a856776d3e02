"""Garbage is looked for seldom within, and as before afterwards, whatever happens."""

import gc

import pytest

from swplan.runtime.collecting import BETWEEN, seldom_collected


@pytest.mark.parametrize(("before", "within"), [(700, BETWEEN), (10 * BETWEEN, 10 * BETWEEN), (0, 0)])
def test_pace(before, within):
    own = gc.get_threshold()
    try:
        gc.set_threshold(before, 7, 8)
        with pytest.raises(KeyError), seldom_collected():
            assert gc.get_threshold() == (within, 7, 8)
            raise KeyError
        assert gc.get_threshold() == (before, 7, 8)
    finally:
        gc.set_threshold(*own)
