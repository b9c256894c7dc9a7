"""What several tests of the stages share."""

from pathlib import Path

import pytest

from mapping_stroke.dataset.preprocess import PreprocessSpec
from small_models import member_card, write_model


@pytest.fixture(scope="session")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one untrained member, which segments phantoms in a blink."""
    path = tmp_path_factory.mktemp("model") / "one.mapping"
    write_model(path, member_card("default", 0, preprocess=PreprocessSpec(3.0), patch=(8, 8, 8)))
    return path
