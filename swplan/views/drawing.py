"""The drawing of nested levels with mesh axes on them, as an inline SVG that takes its colours from the style sheet.

Each level is a box within the next outer one; each axis is a row of cells, as many as fit, with its name and size.
"""

from __future__ import annotations

from collections.abc import Callable

from swplan.views.parts import MeshAxis, Nest

WIDTH, INDENT, TITLE, ROW, BOTTOM = 640, 22, 34, 30, 14
CELL, STRIDE, CELLS = 14, 19, 8
LONGEST = 40

Words = Callable[[str], str]


def nest_svg(nest: Nest, words: Words) -> str:
    """The levels as nested boxes.

    Args:
      nest: what to draw.
      words: escapes a text.
    """
    heights = _heights(nest)
    boxes, top = [], 1
    for depth, (name, axes) in enumerate(nest.levels):
        boxes.append(_box(depth, top, heights[depth], "level"))
        boxes.append(_text(INDENT * depth + 14, top + 22, name, "title", words))
        for row, axis in enumerate(axes):
            boxes.append(_axis(axis, INDENT * depth + 14, top + TITLE + ROW * row, words))
        top += TITLE + ROW * len(axes)
    boxes.append(_box(len(nest.levels), top, heights[-1], "core"))
    boxes.append(_text(INDENT * len(nest.levels) + 14, top + 22, nest.core, "title", words))
    label = words("; ".join(f"{name}: {_axes_text(axes)}" for name, axes in nest.levels))
    size = f'width="{WIDTH}" height="{heights[0] + 2}" viewBox="0 0 {WIDTH} {heights[0] + 2}"'
    return f'<svg {size} role="img" aria-label="{label}">{"".join(boxes)}</svg>'


def _axes_text(axes: tuple[MeshAxis, ...]) -> str:
    return ", ".join(f"{axis.name} {axis.size}" for axis in axes) or "no axis"


def _heights(nest: Nest) -> list[int]:
    """Heights of the boxes, outermost first, the core last."""
    heights = [TITLE]
    for _, axes in reversed(nest.levels):
        heights.append(heights[-1] + TITLE + ROW * len(axes) + BOTTOM)
    return heights[::-1]


def _box(depth: int, top: int, height: int, kind: str) -> str:
    left = INDENT * depth + 1
    size = f'x="{left}" y="{top}" width="{WIDTH - 2 * left}" height="{height}"'
    return f'<rect class="{kind}" {size} rx="8"/>'


def _axis(axis: MeshAxis, left: int, top: int, words: Words) -> str:
    """Cells, one for each member or an ellipsis after the first few, then name, size and note."""
    shown = axis.size if axis.size <= CELLS else CELLS - 2
    cells = [_square(left + STRIDE * i, top) for i in range(shown)]
    if shown < axis.size:
        cells += [_text(left + STRIDE * shown, top + 12, "…", "note", words), _square(left + STRIDE * (CELLS - 1), top)]
    label = f"{axis.name} = {axis.size:,}"
    start = left + STRIDE * CELLS + 8
    note = _text(start + 8 * len(label[:LONGEST]) + 10, top + 12, axis.note, "note", words) if axis.note else ""
    return "".join(cells) + _text(start, top + 12, label, "axis", words) + note


def _square(left: int, top: int) -> str:
    return f'<rect class="cell" x="{left}" y="{top}" width="{CELL}" height="{CELL}" rx="3"/>'


def _text(left: int, base: int, text: str, kind: str, words: Words) -> str:
    shown = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    hint = f"<title>{words(text)}</title>" if shown != text else ""
    return f'<text class="{kind}" x="{left}" y="{base}">{words(shown)}{hint}</text>'
