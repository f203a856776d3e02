"""Folding keeps every item once and gives names that say which."""

from hypothesis import given
from hypothesis import strategies as st

from swplan.views.folding import fold, folded_name


def groups(*names):
    return [(name, len(members)) for name, members in fold(names, lambda n: n, lambda n: None)]


def test_layers_are_folded_from_three_on():
    assert groups("w_1", "w_2") == [("w_1", 1), ("w_2", 1)]
    assert groups("w_0", "b", "w_1", "w_2") == [("w_{0..2}", 3), ("b", 1)]


def test_numbers_that_do_not_differ_stay_as_written():
    assert folded_name(["a07/l0", "a07/l1", "a07/l2"]) == "a07/l{0..2}"


def test_gaps_are_not_hidden():
    assert folded_name(["l0", "l2", "l4"]) == "l{0,2,4}"
    assert folded_name([f"l{i}" for i in range(0, 20, 2)]) == "l{0,2,..18}"


def test_shapes_are_not_numbers_of_layers():
    assert groups("f32[1]", "f32[2]", "f32[3]") == [("f32[1]", 1), ("f32[2]", 1), ("f32[3]", 1)]


def test_what_differs_otherwise_is_not_folded():
    items = [("w0", 1), ("w1", 2), ("w2", 1)]
    assert len(fold(items, lambda i: i[0], lambda i: i[1])) == 3


@given(st.lists(st.text(alphabet="ab01/[]²٣", max_size=6)))
def test_every_item_is_in_one_group(names):
    members = [each for _, group in fold(names, lambda n: n, lambda n: None) for each in group]
    assert sorted(members) == sorted(names)
