"""Ways between layouts: one number for all pairs between which the same steps lead."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swplan.ir.layout import reshard
from swplan.search.ways import KINDS, is_inner, path_numbers, ways

ENTRIES = (-2, -1, 0, 1, 2, 3)


def steps(source, target):
    """What a way consists of, but for which inner dims it is along."""
    held = lambda step: tuple(a for a in range(len(source)) if step.before[a] >= 0 and step.after[a] >= 0)  # noqa: E731
    return tuple((step.kind, step.axes, is_inner(step), held(step)) for step in reshard(source, target))


@given(
    st.integers(0, 4).flatmap(lambda n: st.lists(st.tuples(*[st.sampled_from(ENTRIES)] * n), min_size=1, max_size=8))
)
def test_pairs_share_a_number_if_and_only_if_the_same_steps_lead_from_one_to_the_other(layouts):
    numbers = path_numbers(tuple(layouts), tuple(reversed(layouts)))
    assert numbers.shape == (len(layouts), len(layouts))
    pairs = list(itertools.product(layouts, reversed(layouts)))
    kinds = {pair: steps(*pair) for pair in pairs}
    for (one, number), (other, same) in itertools.combinations(zip(pairs, numbers.ravel(), strict=True), 2):
        assert (number == same) == (kinds[one] == kinds[other])


@pytest.mark.parametrize("axes", [0, 1, 2, 3, 4])
def test_number_0_has_no_steps_and_positions_are_those_of_the_prices(axes):
    layouts = tuple(itertools.product((-1, 0), repeat=axes))
    numbers = path_numbers(layouts, layouts)
    assert (np.diag(numbers) == 0).all() and (numbers == 0).sum() == len(layouts)
    found = ways(axes).steps()
    assert (found[0] == 0).all() and found.max(initial=0) <= len(KINDS) << 2 * axes
