"""What the views show, letter by letter.

After a wanted change: `SWPLAN_UPDATE_GOLDENS=1 pytest tests/views`, and read the diff of the goldens.
"""

import os
from pathlib import Path

import pytest

from swplan.views.text import plan_text
from tests.views import plans

GOLDENS = Path(__file__).resolve().parents[1] / "goldens" / "views"


def check(name: str, text: str) -> None:
    """Compares with a golden file, or writes it."""
    path = GOLDENS / name
    if os.environ.get("SWPLAN_UPDATE_GOLDENS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", plans.ALL)
def test_text(name):
    check(f"{name}.txt", plan_text(plans.ALL[name]()))
