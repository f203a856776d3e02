"""The byte-level text: deterministic, targets one byte after inputs, a clear error where there is none."""

import itertools
import sysconfig

import numpy as np
import pytest

from models import text


def test_batches_are_deterministic_int32_bytes_shifted_by_one():
    first, second = (list(itertools.islice(text.batches(8, 32, seed), 2)) for seed in (1, 1))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["inputs"], other["inputs"])
        np.testing.assert_array_equal(one["inputs"][:, 1:], one["targets"][:, :-1])
        assert one["inputs"].shape == one["targets"].shape == (8, 32)
        assert one["inputs"].dtype == np.int32
        assert one["inputs"].min() >= 0 and one["inputs"].max() < 256
    assert not np.array_equal(first[0]["inputs"], first[1]["inputs"])


def test_library_is_large_enough_to_learn_from():
    assert len(text.standard_library_bytes()) > 1_000_000


def test_missing_sources_name_the_folder(tmp_path, monkeypatch):
    text.standard_library_bytes.cache_clear()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        text.standard_library_bytes()
