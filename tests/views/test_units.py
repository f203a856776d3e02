"""Units: three significant digits in the unit that suits."""

import pytest

from swplan.views import units


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (units.duration(0), "0 s"),
        (units.duration(None), "-"),
        (units.duration(1.234e-5), "12.3 us"),
        (units.duration(0.9999), "1 s"),
        (units.duration(61.23), "61.2 s"),
        (units.duration(3600), "1 h"),
        (units.duration(3e-12), "0.003 ns"),
        (units.size(0), "0 B"),
        (units.size(1023), "1,023 B"),
        (units.size(1.5 * 2**30), "1.5 GiB"),
        (units.size(2**60), "1,024 PiB"),
        (units.rate(22e9), "22 GB/s"),
        (units.quantity(14.03e12, "flop/s"), "14 Tflop/s"),
        (units.quantity(0.0, "flop"), "0 flop"),
        (units.count(96000), "96,000"),
        (units.share(1, 8), "12.5 %"),
        (units.share(1, 0), "-"),
        (units.share(1e-9, 1), "<0.01 %"),
        (units.ratio(1.83, 1.0), "1.83x"),
        (units.ratio(1.0, 0), "-"),
        (units.ratio(240.4, 1.0), "240x"),
        (units.change(1, 1), "same"),
        (units.change(0, 1), "new"),
        (units.change(1, 0), "gone"),
        (units.change(2, 1), "-50.0 %"),
        (units.change(1, 2.5), "2.50x"),
        (units.change(1, 1.0000001), "about the same"),
    ],
)
def test_text(text, expected):
    assert text == expected
