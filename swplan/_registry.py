"""The one registry: named things that other code looks up or enumerates.

Primitives, passes, chips, collective algorithms and views are registered here, so that one set of promises holds for
all of them: a name is given once, a missing name is answered with near ones, the order never depends on imports.
It is not a plug-in system (it loads nothing), and it stands at the bottom of the import order, without JAX.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, overload

K = TypeVar("K")
V = TypeVar("V")
_ABSENT = object()


class DuplicateKeyError(ValueError):
    """A key was registered twice; the message names both places."""


class SealedRegistryError(RuntimeError):
    """Something was registered after `Registry.seal`."""


class UnknownKeyError(LookupError):
    """A key is not registered; the message lists near names and the valid choices."""


class Registry(Generic[K, V]):
    """A mapping that is filled once, at import, and then only read.

    Laws: `registry[key]` is the value given for `key`; iteration goes by `str(key)`, sorted, whatever the order of
    registration; after `seal()` nothing changes any more.
    """

    def __init__(self, noun: str) -> None:
        """`noun` says what is held, for messages: `Registry("primitive")`."""
        self.noun = noun
        self._entries: dict[K, tuple[V, str]] = {}
        self._sealed = False

    @overload
    def register(self, key: K) -> Callable[[V], V]: ...
    @overload
    def register(self, key: K, value: V) -> V: ...
    def register(self, key, value=_ABSENT):
        """Give `value` the name `key` and return it; without `value`, a decorator that does so.

        Raises:
            DuplicateKeyError: `key` has a value already.
            SealedRegistryError: the registry is sealed.
        """
        caller = sys._getframe(1)
        place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        if value is _ABSENT:
            return lambda decorated: self._add(key, decorated, place)
        return self._add(key, value, place)

    def _add(self, key: K, value: V, place: str) -> V:
        if self._sealed:
            raise SealedRegistryError(f"{self.noun} {str(key)!r} comes too late at {place}: the registry is sealed.")
        if key in self._entries:
            first = self.place(key)
            raise DuplicateKeyError(f"{self.noun} {str(key)!r} is registered twice: at {first}, then at {place}.")
        self._entries[key] = (value, place)
        return value

    def place(self, key: K) -> str:
        """Where `key` was registered, as `file:line`."""
        return self._entries[key][1]

    def seal(self) -> Registry[K, V]:
        """Refuse every later registration; returns the registry itself."""
        self._sealed = True
        return self

    def __getitem__(self, key: K) -> V:
        if key in self._entries:
            return self._entries[key][0]
        names = [str(known) for known in self]
        near = difflib.get_close_matches(str(key), names, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise UnknownKeyError(f"no {self.noun} {str(key)!r}.{hint} Known: {', '.join(names) or 'none'}.")

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(sorted(self._entries, key=str))

    def __len__(self) -> int:
        return len(self._entries)

    def items(self) -> Iterator[tuple[K, V]]:
        """The pairs of key and value, in sorted order."""
        return ((key, self._entries[key][0]) for key in self)
