import zipfile
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden_models(tmp_path: Path) -> Path:
    """Result folders that the real nnU-Net wrote, one for each kind of network."""
    with zipfile.ZipFile(GOLDEN / "models.zip") as archive:
        archive.extractall(tmp_path / "models")
    return tmp_path / "models"
