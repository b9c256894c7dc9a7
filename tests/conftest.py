"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from mapping_stroke.training.schemes import SIZES
from phantoms import NANO

torch.set_num_threads(1)  # tests use arrays so small that threads only wait for one another

hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")  # a busy machine is slow, not wrong


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden values, beside the checkout; tests that need it skip where it is absent."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "golden").is_dir():
            return parent / "shared"
    pytest.skip("no folder `shared` with real data and golden values beside the checkout")


@pytest.fixture(scope="module")
def nano() -> Iterator[None]:
    """Let the size `tiny` be one that trains in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", NANO)
        yield
