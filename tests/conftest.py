"""Fixtures that every test may use."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.training.schemes import SIZES
from phantoms import NANO
from small_models import member_card, write_model

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


@pytest.fixture(scope="session")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one untrained member, which segments phantoms in a blink."""
    path = tmp_path_factory.mktemp("model") / "one.mapping"
    write_model(path, member_card("default", 0, preprocess=PreprocessSpec(3.0), patch=(8, 8, 8)))
    return path
