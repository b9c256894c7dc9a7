"""Scans that cannot be written: each is told, leaves nothing, and stops no other, neither now nor in the next run."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from broken_disk import fail_to_look_at
from mapping_stroke.cli import main
from mapping_stroke.cohort.results import ScanFiles
from mapping_stroke.images.image import write_image
from phantoms import AFFINE, phantom


@pytest.fixture
def run(one_member: Path, tmp_path: Path) -> Callable[..., int]:
    """Segments p0, p1 and p2, or those named, into `out`."""
    for number in range(3):
        write_image(tmp_path / "scans" / f"p{number}.nii", phantom(number)[0], AFFINE)

    def segment(*names: str) -> int:
        scans = [str(tmp_path / "scans" / f"{name}.nii") for name in names or ("p0", "p1", "p2")]
        options = ["-o", str(tmp_path / "out"), "--model", str(one_member), "--device", "cpu", "--no-picture"]
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


@pytest.mark.parametrize("length", [240, 251])
def test_a_scan_whose_results_would_have_too_long_names_stops_no_other(
    length: int, run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the second run, too, in which its failure is known."""
    out, name = tmp_path / "out", "n" * length
    write_image(tmp_path / "scans" / "short.nii", phantom(1)[0], AFFINE)
    (tmp_path / "scans" / "short.nii").rename(tmp_path / "scans" / f"{name}.nii")
    for _ in range(2):
        assert run("p0", name, "p2") == 3
        assert {key: entry["status"] for key, entry in scans_of(out).items()} == {
            "p0": "done",
            "p2": "done",
            name: "failed",
        }
        assert scans_of(out)[name]["error"].startswith(
            f"its name is too long: its results would have names of up to {length + 19} bytes, expected at most 255; "
            f"give it a name that is at least {length + 19 - 255} characters shorter"
        )
    assert f"warning: {tmp_path / 'scans' / name}.nii: its name is too long" in capsys.readouterr().err
    (tmp_path / "scans" / f"{name}.nii").unlink()
    assert run("p0", "p2") == 0
    assert list(scans_of(out)) == ["p0", "p2"]


def test_a_scan_with_the_longest_name_whose_results_fit_is_done(run: Callable[..., int], tmp_path: Path) -> None:
    name = "n" * 236
    (tmp_path / "scans" / "p1.nii").rename(tmp_path / "scans" / f"{name}.nii")
    assert run("p0", name) == 0
    assert [entry["status"] for entry in scans_of(tmp_path / "out").values()] == ["done", "done"]
    assert not (tmp_path / "out" / ".mapping").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.ESTALE])
@pytest.mark.parametrize("place", ["p1.nii", "p1_mask.nii.gz", "p1_lesions.tsv"])
def test_a_scan_that_the_system_cannot_look_at_stops_no_other(
    number: int, place: str, run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_look_at(place, monkeypatch, number)
    for _ in range(2):
        assert run() == 3
        scans = scans_of(tmp_path / "out")
        assert [entry["status"] for entry in scans.values()] == ["done", "failed", "done"]
        assert scans["p1"]["error"].startswith(f"OSError: [Errno {number}] {os.strerror(number)}: ")


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL, errno.ESTALE])
def test_a_scan_that_cannot_be_read_to_its_end_stops_no_other(
    number: int, run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def fail(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "p1.nii":
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", fail)
    assert run() == 3
    scans = scans_of(tmp_path / "out")
    assert [entry["status"] for entry in scans.values()] == ["done", "failed", "done"]
    assert os.strerror(number) in scans["p1"]["error"]


def test_a_claim_that_cannot_be_taken_fails_its_scan_alone(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_look_at("p1.claim", monkeypatch, errno.ESTALE)
    assert run() == 3
    assert [entry["status"] for entry in scans_of(tmp_path / "out").values()] == ["done", "failed", "done"]
