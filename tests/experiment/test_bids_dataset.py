"""What a BIDS derivative says of where its raw data lie."""

import os
from pathlib import Path

import pytest

from mapping_stroke.experiment.bids_dataset import link


def test_raw_data_are_found_from_the_derivative(tmp_path: Path) -> None:
    assert link(tmp_path / "raw", tmp_path / "raw" / "derivatives" / "mapping") == "../.."
    assert link(tmp_path / "raw", tmp_path / "out") == "../raw"


def test_raw_data_on_another_drive_have_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert link(tmp_path / "my raw", tmp_path / "out") == f"file://{tmp_path.as_posix()}/my%20raw"
