"""The laws of `swplan._registry.Registry`."""

import itertools

import pytest

from swplan._registry import DuplicateKeyError, Registry, SealedRegistryError, UnknownKeyError


def test_value_form_returns_the_value():
    registry = Registry("chip")
    assert registry.register("a", 1) == 1
    assert registry["a"] == 1


def test_decorator_form_returns_the_function_unchanged():
    registry = Registry("rule")

    @registry.register("add")
    def rule():
        return 7

    assert rule() == 7
    assert registry["add"] is rule


def test_none_is_a_value_like_any_other():
    registry = Registry("chip")
    assert registry.register("a", None) is None
    assert "a" in registry


def test_duplicate_names_both_places():
    registry = Registry("chip")
    registry.register("a", 1)
    first = registry.place("a")
    with pytest.raises(DuplicateKeyError) as caught:
        registry.register("a", 2)
    assert "chip 'a'" in str(caught.value)
    assert first in str(caught.value)
    assert str(caught.value).count("test_registry.py:") == 2
    assert registry["a"] == 1


def test_unknown_key_lists_near_names():
    registry = Registry("primitive")
    for name in ("dot_general", "reduce_sum", "reduce_max"):
        registry.register(name, name)
    with pytest.raises(UnknownKeyError, match=r"no primitive 'dot_generl'\. Did you mean 'dot_general'\?"):
        registry["dot_generl"]


def test_unknown_key_lists_the_choices_where_nothing_is_near():
    with pytest.raises(UnknownKeyError, match=r"no chip 'a'\. Known: none\."):
        Registry("chip")["a"]


@pytest.mark.parametrize("order", list(itertools.permutations("bca")))
def test_order_does_not_depend_on_registration(order):
    registry = Registry("letter")
    for letter in order:
        registry.register(letter, letter.upper())
    assert list(registry) == ["a", "b", "c"]
    assert list(registry.items()) == [("a", "A"), ("b", "B"), ("c", "C")]
    assert len(registry) == 3


def test_sealed_registry_refuses_and_still_answers():
    registry = Registry("pass")
    registry.register("a", 1)
    assert registry.seal() is registry
    with pytest.raises(SealedRegistryError, match=r"pass 'b' comes too late at .*test_registry\.py:\d+"):
        registry.register("b", 2)
    assert registry["a"] == 1
    assert "b" not in registry
