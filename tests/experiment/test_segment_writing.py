"""Scans that cannot be written: each is told, leaves nothing, and stops no other, neither now nor in the next run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.experiment.segment_files import ScanFiles
from mapping_stroke.image import write_image
from phantoms import AFFINE, phantom
from small_models import member_card, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "one.mapping"
    write_model(path, member_card("default", 0, preprocess=PreprocessSpec(3.0), patch=(8, 8, 8)))
    return path


@pytest.fixture
def run(model: Path, tmp_path: Path) -> Callable[..., int]:
    """Segments p0, p1 and p2, or those named, into `out`."""
    for number in range(3):
        write_image(tmp_path / "scans" / f"p{number}.nii", phantom(number)[0], AFFINE)

    def segment(*names: str) -> int:
        scans = [str(tmp_path / "scans" / f"{name}.nii") for name in names or ("p0", "p1", "p2")]
        options = ["-o", str(tmp_path / "out"), "--model", str(model), "--device", "cpu", "--no-picture"]
        return main(["segment", *scans, *options])

    return segment


def scans_of(out: Path) -> dict[str, Any]:
    record = json.loads((out / "run.json").read_text())["record"]
    assert record["status"] == "done"
    scans: dict[str, Any] = record["scans"]
    return scans


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "p1"), "PermissionError: [Errno 13] Permission denied: 'p1'"),
        (ValueError("no\nhead"), "ValueError: no head"),
    ],
)
def test_a_scan_that_cannot_be_written_stops_no_other_and_leaves_nothing(
    error: Exception, told: str, run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, out = nib.save, tmp_path / "out"

    def save(image: object, path: Path) -> None:
        if "p1_uncertainty" in str(path):  # behind its mask
            raise error
        real(image, path)

    monkeypatch.setattr(nib, "save", save)
    for _ in range(2):
        assert run() == 3
        assert {name: entry["status"] for name, entry in scans_of(out).items()} == {
            "p0": "done",
            "p1": "failed",
            "p2": "done",
        }
        assert scans_of(out)["p1"]["error"] == told
        assert not list(out.glob("p1*"))
    assert [path.name for path in (out / ".mapping").iterdir()] == ["p1.failed.json"]
    monkeypatch.undo()
    assert run() == 0
    assert scans_of(out)["p1"]["status"] == "done"


def test_the_only_scan_is_one_line_and_leaves_nothing(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no head")

    monkeypatch.setattr(ScanFiles, "write_stamp", fail)
    assert run("p1") == 2
    assert capsys.readouterr().err.endswith("p1.nii: ValueError: no head\n")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_place_of_a_result_stops_no_other(run: Callable[..., int], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("p0", "p2") == 0
    (out / "p1_mask.nii.gz").mkdir()
    (out / "p1_probability.nii.gz").touch()  # of another scan, perhaps
    for _ in range(2):
        assert run() == 3
        assert scans_of(out)["p1"]["error"].startswith("IsADirectoryError: ")
        assert [path.name for path in out.glob("p1*")] == ["p1_mask.nii.gz"]
    (out / "p2.json").unlink()
    assert run() == 3
    assert [entry["status"] for entry in scans_of(out).values()] == ["done", "failed", "done"]
