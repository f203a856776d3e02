"""What every test shares: eight emulated CPU devices, packaged chips, strictness on request, a Hypothesis profile.

JAX reads these variables when it is first imported. They are set here, before any test module is, so that this file
need not import JAX itself: tests of import times and of `import swplan` would otherwise measure nothing. Child
processes inherit them.
"""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

DEVICE_COUNT = 8

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = str(DEVICE_COUNT)
os.environ["SWPLAN_CHIPS"] = os.devnull  # no chip of the user's own, such as a `host` that was calibrated here

gc.set_threshold(100_000, 20, 100)  # traced and compiled programs are millions of objects, of which few are garbage

settings.register_profile("swplan", derandomize=True, deadline=None, database=None)
settings.load_profile("swplan")

VALIDATION = Path(__file__).resolve().parents[2] / "shared" / "validation"


@pytest.fixture
def strict_jax():
    """Within the test, mixed dtypes and mixed ranks are errors.

    For swplan's own arithmetic; models written by others may rely on promotion, and are tested without it.
    """
    import jax

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(scope="session")
def validation_dir() -> Path:
    """The folder of published measurements that lies beside the repository; the test is skipped without it."""
    if not VALIDATION.is_dir():
        pytest.skip(f"needs the published measurements in {VALIDATION}, which this checkout does not have")
    return VALIDATION
