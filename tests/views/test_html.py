"""HTML: well formed, self-contained, harmless, and never the reason why a notebook breaks."""

import re
from html.parser import HTMLParser

import pytest

from swplan.views import html as view
from swplan.views.html import fragment, page_html, part_html, plan_html
from swplan.views.parts import Column, Table, Text
from tests.views import plans
from tests.views.test_text import PARTS

VOID = {"meta", "rect", "br"}


class Checker(HTMLParser):
    """Collects tags and attributes; asserts that every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


@pytest.mark.parametrize("name", plans.ALL)
@pytest.mark.parametrize("draw", [plan_html, page_html])
def test_plans_are_well_formed_and_self_contained(name, draw):
    found = parsed(draw(plans.ALL[name]()))
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(found.tags)
    assert not {"href", "src", "id"} & {name for name, _ in found.attributes}
    assert not [name for name, _ in found.attributes if name.startswith("on")]


def test_hostile_strings_stay_text():
    text = page_html(plans.hostile())
    assert "<script" not in text
    assert "alert(&#x27;x&#x27;)" in text
    assert "\x1b" not in text and "\u202e" not in text
    assert any("<script>alert('x')</script>" in data for data in parsed(text).text)


def test_the_style_loads_nothing():
    assert not re.search(r"url\(|@import|http", plan_html(plans.small()))


def test_both_colour_schemes_are_there():
    text = page_html(plans.small())
    assert "prefers-color-scheme:dark" in text and 'data-jp-theme-light="false"' in text


@pytest.mark.parametrize("part", PARTS.values(), ids=lambda part: type(part).__name__)
def test_every_kind_of_part_is_drawn(part):
    assert len(parsed(fragment(part)).tags) > 2


def test_long_tables_are_closed_at_first():
    rows = tuple((str(number),) for number in range(100))
    text = fragment(Table(columns=(Column(title="n"),), rows=rows))
    assert text.count("<tr>") == 102 and "<details><summary>88 more rows" in text


def test_a_failing_view_shows_text(monkeypatch):
    def broken(*_):
        raise RuntimeError("swplan bug")

    monkeypatch.setattr(view, "fragment", broken)
    assert plan_html(plans.hostile()).startswith("<pre>Plan of &lt;script&gt;")
    assert part_html(Text(text="<b>")) == "<pre>&lt;b&gt;\n</pre>"


def test_a_notebook_shows_plans():
    assert plans.small()._repr_html_() == plan_html(plans.small())
