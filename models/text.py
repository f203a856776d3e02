"""Byte-level text for language models: the source files of Python's own standard library, no download.

Legend: a batch is `[B, L]`, sequences by bytes.
"""

import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np


@cache
def standard_library_bytes() -> bytes:
    """Returns the modules at the top of Python's standard library, concatenated by name, as UTF-8 bytes.

    Raises:
        FileNotFoundError: no source files are installed; the message names the folder that was searched.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    files = sorted(folder.glob("*.py"))
    if not files:
        raise FileNotFoundError(f"no Python sources: looked for *.py in {folder} (sysconfig.get_path('stdlib'))")
    return b"".join(file.read_bytes() for file in files)


def batches(batch: int, seq: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches without end: `inputs` and, one byte later, `targets`, int32 `[batch, seq]` in [0, 256).

    Args:
        batch: sequences of a batch.
        seq: bytes of a sequence.
        seed: of the places where sequences start; the same seed gives the same batches for the same Python version.
    """
    text = np.frombuffer(standard_library_bytes(), np.uint8)
    random = np.random.default_rng(seed)
    while True:
        starts = random.integers(0, len(text) - seq, size=batch)
        windows = text[starts[:, None] + np.arange(seq + 1)].astype(np.int32)
        yield {"inputs": windows[:, :-1], "targets": windows[:, 1:]}
