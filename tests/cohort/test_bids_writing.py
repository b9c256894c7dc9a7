"""What a BIDS derivative holds of a scan is written as a whole."""

from pathlib import Path

import pytest

from bids_data import NAMES, SCANS, write_bids
from mapping_stroke.cli import main
from mapping_stroke.cohort import bids_derivative as bids_writing
from small_models import write_seeing_model


def test_a_scan_whose_copies_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = write_bids(tmp_path / "raw", SCANS[:2]), tmp_path / "out"
    model = write_seeing_model(tmp_path / "seeing.mapping").path
    real = bids_writing.write_json

    def write(path: Path, value: object) -> None:
        if path.name.startswith("sub-01_space-MNI152NLin2009aSym_seg"):  # the last sidecar
            (labels,) = path.parent.glob("*_dseg.nii.gz")
            labels.unlink()
            labels.mkdir()  # what cannot be removed keeps nothing else
            raise PermissionError(13, "Permission denied", str(path))
        real(path, value)

    monkeypatch.setattr(bids_writing, "write_json", write)
    options = ["--model", str(model), "--device", "cpu", "--space", "mni", "--skip-bids-validation"]
    assert main(["bids", str(raw), str(out), "participant", *options]) == 3
    assert not [path for path in (out / "sub-01").rglob("*") if path.is_file()]
    assert (out / "logs" / f"{NAMES[1]}.json").is_file()
