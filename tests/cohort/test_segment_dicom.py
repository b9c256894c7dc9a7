"""`mapping segment` on DICOM folders: the same result as on a NIfTI file, names, choices, DICOM SEG, failures."""

import json
import shutil
from pathlib import Path
from typing import Any

import highdicom
import nibabel as nib
import numpy as np
import pytest

import mapping_stroke as ms
from dicom_files import PERSON, write_series
from mapping_stroke.cli import main
from mapping_stroke.cohort.inputs import find_scans
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.interop import dicom_seg
from mapping_stroke.rules import RULES
from phantoms import phantom
from small_models import member_card, write_model

PLACED = np.array([[-2.9, 0.3, 0, 20], [-0.3, -2.9, 0, 30], [0, 0, 3, -25], [0, 0, 0, 1]])
GIVEN = {"preprocess": PreprocessSpec(3.0), "patch": (8, 8, 8)}

WITH_DICOM = (".json", "_lesions.tsv", "_mask.dcm", "_mask.nii.gz", "_probability.nii.gz", "_uncertainty.nii.gz")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, rule = tmp_path_factory.mktemp("model") / "two.mapping", RULES["challenge"]
    write_model(path, *(member_card("default", fold, **GIVEN) for fold in range(2)), postprocess=rule)
    return path


def write_scan(folder: Path, seed: int = 0, **tags: Any) -> np.ndarray:
    """A phantom as a DICOM series; returns its voxels."""
    voxels = np.rint(phantom(seed)[0] * 100).astype(np.int16)
    write_series(folder, voxels, PLACED, **tags)
    return voxels


def segment(model: Path, output: Path, *arguments: Path | str) -> int:
    return main(["segment", *map(str, arguments), "-o", str(output), "--model", str(model), "--device", "cpu"])


def names(folder: Path) -> set[str]:
    """The files of single scans."""
    ours = {"run.json", *FlatLayout.group.all}
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} - ours


def test_a_series_gives_what_the_same_volume_gives(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voxels = write_scan(tmp_path / "p0" / "DICOM")
    write_image(tmp_path / "same.nii.gz", voxels.astype(np.float32), PLACED)
    assert segment(model, tmp_path / "out", tmp_path / "p0", tmp_path / "same.nii.gz", "--no-picture") == 0
    assert f"{tmp_path / 'p0'}: reads series 4 't1_mprage_sag' (" in capsys.readouterr().out
    for kind in ("mask", "probability", "uncertainty"):
        dicom, nifti = (read_image(tmp_path / "out" / f"{name}_{kind}.nii.gz") for name in ("p0", "same"))
        np.testing.assert_array_equal(dicom.voxels, nifti.voxels)
        np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-6)
    assert read_image(tmp_path / "out" / "p0_mask.nii.gz").voxels.any()
    source = json.loads((tmp_path / "out" / "p0.json").read_text())["source"]
    assert (source["scan"], source["series"]) == (str(tmp_path / "p0"), "4")


@pytest.mark.filterwarnings("ignore:its non-zero voxels span")  # a phantom is smaller than a brain
def test_python_reads_the_same_series_of_a_folder(model: Path, tmp_path: Path) -> None:
    scan, out = tmp_path / "p0", tmp_path / "out"
    write_scan(scan)
    assert segment(model, out, scan, "--series", "4", "--no-picture") == 0
    found = ms.Segmenter(model, device="cpu")(scan, series="4")
    assert found.name == "p0_series-4"
    saved = found.save(tmp_path / "saved")
    for kind in ("_mask.nii.gz", "_probability.nii.gz", "_lesions.tsv"):
        assert (saved / f"{found.name}{kind}").read_bytes() == (out / f"{found.name}{kind}").read_bytes()
    with pytest.raises(ms.MappingError, match=f"^{scan}: "):
        ms.Segmenter(model, device="cpu")(scan, series="5")


def test_a_finished_series_is_not_computed_again_and_a_changed_one_is(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "p0")
    assert segment(model, tmp_path / "out", tmp_path / "p0") == 0
    stamp = tmp_path / "out" / "p0.json"
    before = stamp.stat().st_mtime_ns
    shutil.move(tmp_path / "p0", tmp_path / "moved")
    for number, file in enumerate(sorted((tmp_path / "moved").iterdir())):
        file.rename(file.with_name(f"{999 - number}"))
    shutil.move(tmp_path / "moved", tmp_path / "p0")
    assert segment(model, tmp_path / "out", tmp_path / "p0") == 0
    assert stamp.stat().st_mtime_ns == before
    shutil.rmtree(tmp_path / "p0")
    write_scan(tmp_path / "p0", seed=1)
    assert segment(model, tmp_path / "out", tmp_path / "p0") == 0
    assert stamp.stat().st_mtime_ns > before


def test_a_mask_is_written_as_dicom_if_asked_for(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "p0")
    assert segment(model, tmp_path / "out", tmp_path / "p0", "--no-picture") == 0
    assert "p0_mask.dcm" not in names(tmp_path / "out")
    assert segment(model, tmp_path / "out", tmp_path / "p0", "--no-picture", "--dicom-seg") == 0
    mask = nib.load(tmp_path / "out" / "p0_mask.nii.gz").get_fdata() > 0
    volume = highdicom.seg.segread(tmp_path / "out" / "p0_mask.dcm").get_volume(combine_segments=True)
    to_ras = np.diag([-1, -1, 1, 1]) @ volume.affine
    marked = np.c_[np.argwhere(volume.array), np.ones(np.count_nonzero(volume.array))] @ to_ras.T
    back = np.rint(marked @ np.linalg.inv(PLACED).T)[:, :3].astype(int)
    assert sorted(map(tuple, back)) == sorted(map(tuple, np.argwhere(mask)))
    before = (tmp_path / "out" / "p0_mask.dcm").stat().st_mtime_ns
    assert segment(model, tmp_path / "out", tmp_path / "p0", "--no-picture", "--dicom-seg") == 0
    assert (tmp_path / "out" / "p0_mask.dcm").stat().st_mtime_ns == before


@pytest.mark.parametrize("missing", ["DICOM", "highdicom"])
def test_a_mask_cannot_be_dicom_where_the_scan_is_not_or_highdicom_lacks(
    missing: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing == "DICOM":
        write_image(tmp_path / "p0.nii.gz", phantom(0)[0], PLACED)
        said = "p0.nii.gz: is not DICOM, which --dicom-seg needs"
    else:
        write_scan(tmp_path / "p0")
        monkeypatch.setattr(dicom_seg, "find_spec", lambda name: None)
        said = "pip install 'mapping-stroke[dicom]'"
    assert segment(model, tmp_path / "out", next(tmp_path.glob("p0*")), "--dicom-seg") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_of_several_series_is_chosen_and_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "p0" / "a", SeriesNumber=4)
    other = write_scan(tmp_path / "p0" / "b", seed=1, SeriesNumber=9)
    assert segment(model, tmp_path / "out", tmp_path / "p0") == 2
    told = capsys.readouterr().err
    assert "2 series look like a T1w scan: 4 't1_mprage_sag' (" in told
    assert "choose one with --series NUMBER" in told
    assert not (tmp_path / "out").exists()
    assert segment(model, tmp_path / "out", tmp_path / "p0", "--series", "9") == 0
    assert "p0_series-9_mask.nii.gz" in names(tmp_path / "out")
    assert read_image(tmp_path / "p0", series="9").voxels.tolist() == other.tolist()


def test_a_folder_that_cannot_be_read_stops_no_other(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "p0")
    write_scan(tmp_path / "p1", Modality="CT")
    write_scan(tmp_path / "p2")
    sorted((tmp_path / "p2").iterdir())[5].unlink()
    out = tmp_path / "out"
    assert segment(model, out, *(tmp_path / name for name in ("p0", "p1", "p2")), "--no-picture") == 3
    scans = json.loads((out / "run.json").read_text())["record"]["scans"]
    assert [scans[name]["status"] for name in ("p0", "p1", "p2")] == ["done", "failed", "failed"]
    assert "has modality CT, expected MR" in scans["p1"]["error"]
    assert "missing" in scans["p2"]["error"]
    assert not any(str(value) in (out / "run.json").read_text() for value in PERSON.values())


def test_a_series_that_dicom_seg_cannot_refer_to_stops_no_other(model: Path, tmp_path: Path) -> None:
    write_scan(tmp_path / "p0")
    write_scan(tmp_path / "p1", seed=1, FrameOfReferenceUID=None)
    write_scan(tmp_path / "p2", seed=2)
    scans, out = [tmp_path / f"p{number}" for number in range(3)], tmp_path / "out"
    for _ in range(2):
        assert segment(model, out, *scans, "--no-picture", "--dicom-seg") == 3
        record = json.loads((out / "run.json").read_text())["record"]
        assert (record["status"], record["done"], record["failed"]) == ("done", 2, 1)
        assert "its headers are insufficient for a DICOM SEG" in record["scans"]["p1"]["error"]
        assert names(out) == {f"{name}{suffix}" for name in ("p0", "p2") for suffix in WITH_DICOM}
    assert segment(model, out, *scans, "--no-picture") == 0


def test_folders_stand_for_their_images_or_for_their_dicom_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "both")
    write_image(tmp_path / "both" / "scan.nii.gz", phantom(0)[0], PLACED)
    assert find_scans([tmp_path / "both"]) == {"scan": tmp_path / "both" / "scan.nii.gz"}
    assert find_scans([tmp_path / "both"], "t1 mprage/sag") == {"both_series-t1-mprage-sag": tmp_path / "both"}
    (tmp_path / "neither").mkdir()
    (tmp_path / "neither" / "notes.txt").write_text("no image")
    for given, series, said in (
        ("neither", "", "holds no image file"),
        ("neither", "4", "holds no DICOM file, so no --series 4"),
        ("both/scan.nii.gz", "4", "--series 4 selects from DICOM folders, but none is given"),
    ):
        choice = ["--series", series] if series else []
        assert main(["segment", str(tmp_path / given), "-o", str(tmp_path / "out"), *choice]) == 2
        assert said in capsys.readouterr().err
