"""Pin: the layout that a user asks for one value, an input or a result, in names of mesh axes of the user's own."""

from __future__ import annotations

from dataclasses import dataclass

Spec = tuple[tuple[str, ...] | None, ...]
"""For each dim the names of axes that split it; () where none does, None where that is left open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What is asked of one value.

    Attributes:
      number: the value; of a result its position.
      spec: the layout.
      label: source line, or what names it in a partial plan.
      place: "value" (wherever it is read), "input" or "output" (as it is given or returned).
      sizes: sizes that a mesh of the user's gives to names.
    """

    number: int
    spec: Spec
    label: str
    place: str = "value"
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def group(self) -> tuple[str, Spec, str]:
        """What pins share that stand or fall together: one line of the program, run many times."""
        return (self.label, self.spec, self.place)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it uses."""
        return tuple(name for entry in self.spec if entry for name in entry)

    def __str__(self) -> str:
        entries = ["..." if e is None else "None" if not e else "+".join(e) for e in self.spec]
        return f"({', '.join(entries)})"
