"""Numbers with units, for people: three significant digits, SI for time and work, binary multiples for bytes.

The only place where GiB appear; all other modules keep plain SI units.
"""

from __future__ import annotations

from collections.abc import Iterable

NOTHING = "-"

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_LONG_TIMES = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_BYTES = tuple((1024.0**power, unit) for power, unit in ((5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")))
_SI = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def duration(seconds: float | None) -> str:
    """A time: "12.3 ms"."""
    if seconds is None:
        return NOTHING
    if seconds >= 600:
        return _scaled(seconds, _LONG_TIMES, "s")
    return _scaled(seconds, _TIMES, "s") if seconds else "0 s"


def size(count: float | None) -> str:
    """An amount of memory: "1.5 GiB"."""
    return NOTHING if count is None else _scaled(count, (*_BYTES, (1.0, "B")), "B")


def rate(bytes_per_s: float) -> str:
    """A bandwidth, in powers of ten as networks count: "22 GB/s"."""
    return quantity(bytes_per_s, "B/s")


def quantity(value: float, unit: str) -> str:
    """A number with an SI prefix: "14 Tflop/s"."""
    return _scaled(value, ((f, prefix + unit) for f, prefix in (*_SI, (1.0, ""))), unit)


def count(number: int) -> str:
    """A whole number: "96,000"."""
    return f"{number:,}"


def share(part: float, whole: float) -> str:
    """A part of a whole: "12.3 %"."""
    if not whole:
        return NOTHING
    percent = 100 * part / whole
    return "<0.01 %" if 0 < percent < 0.01 else f"{digits(percent)} %"


def ratio(value: float, reference: float) -> str:
    """How many times the reference: "1.83x"."""
    if not reference:
        return NOTHING
    times = value / reference
    return f"{times:.2f}x" if 0.01 <= times < 10 else f"{digits(times)}x"


def change(before: float, after: float) -> str:
    """How much a number grew: "+12.0 %", "-40.0 %", or a factor where it at least doubled."""
    if before == after:
        return "same"
    if not before:
        return "new"
    if not after:
        return "gone"
    factor = after / before
    if factor >= 2:
        return ratio(after, before)
    text = f"{100 * (factor - 1):+.1f} %"
    return "about the same" if text in ("+0.0 %", "-0.0 %") else text


def digits(value: float) -> str:
    """Three significant digits, without an exponent from 0.001 to 1e15."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _scaled(value: float, units: Iterable[tuple[float, str]], smallest: str) -> str:
    """The value in the largest unit of which it has at least one; units are listed largest first."""
    factor, unit = 1.0, smallest
    for factor, unit in units:
        if abs(value) >= 0.99949 * factor:
            return f"{digits(value / factor)} {unit}"
    return f"{digits(value / factor)} {unit if value else smallest}"
