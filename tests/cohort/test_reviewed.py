"""Reviewed results as training data: `mapping prepare` on a folder of `mapping segment` or `mapping bids`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bids_data import write_bids
from dicom_files import write_series
from mapping_stroke.cli import main
from mapping_stroke.cohort.review import rate_scan, read_review, save_edit
from mapping_stroke.cohort.reviewed import WITH_REVIEWED, open_layout
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.files import read_csv
from mapping_stroke.images.image import Image, Mask, read_image, write_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.lesions import bounding_box
from mapping_stroke.models.judge import find_labelled
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.run_folder import BRAIN_SUFFIX, EDITED_SUFFIX, MASK_SUFFIX, RunFolder
from mapping_stroke.space import model_input
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.intensities import divide_bias, find_bias
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.rough_fit import Quality
from moved_heads import move, moved_scan
from phantoms import AFFINE, phantom
from small_models import member_card, write_model, write_seeing_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


@pytest.fixture(scope="module")
def segmented(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four scans, and their results in `out`."""
    folder = tmp_path_factory.mktemp("cohort")
    for number in range(4):
        write_image(folder / "scans" / f"p{number}.nii.gz", phantom(number)[0], AFFINE)
    assert segment(model, folder / "out", folder / "scans") == 0
    return folder


@pytest.fixture
def folder(segmented: Path) -> Path:
    """The same, nobody has reviewed it yet; the scans' paths are the same in each test."""
    for path in [*(segmented / "out").glob("*_review.json"), *(segmented / "out").glob(f"*{EDITED_SUFFIX}")]:
        path.unlink()
    return segmented


def segment(model: Path, output: Path, *arguments: Path | str) -> int:
    given = ["--model", str(model), "--device", "cpu", "--no-picture"]
    return main(["segment", *map(str, arguments), "-o", str(output), *given])


def prepare(results: Path, run: Path, *more: str) -> int:
    return main(["prepare", str(results), "-o", str(run), *more])


def rate(results: Path, name: str, rating: str) -> None:
    layout = open_layout(results)
    rate_scan(layout, name, rating, "", read_review(layout, name).revision)


def correct(results: Path, name: str, mask: Mask) -> None:
    layout = open_layout(results)
    save_edit(layout, name, mask, read_review(layout, name).revision)


def one_voxel() -> Mask:
    mask = np.zeros(phantom(0)[1].shape, np.bool_)
    mask[10, 11, 9] = True
    return mask


def small_native_scan() -> tuple[Image, Affine]:
    """A turned brain on a grid of 3 mm that just holds it, and the template's millimetres to the scan's."""
    to_scan = move((10, -8, 15), (30, -20, 25))
    scan = moved_scan(to_scan, axes="LAS")
    box = bounding_box(scan.voxels > 0, 2)
    affine = scan.affine.copy()
    affine[:3, 3] += scan.affine[:3, :3] @ [edge.start for edge in box]
    return Image(np.ascontiguousarray(scan.voxels[box]), affine), to_scan


def cases(run: Path) -> dict[str, Case]:
    return {case.case_id: case for case in read_cases(RunFolder(run).cases_csv)}


def one_line(error: str) -> str:
    (line,) = [line for line in error.splitlines() if line]
    return line


def test_accepted_and_corrected_scans_are_cases(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = folder / "out"
    rate(results, "p0", "accept")
    correct(results, "p1", one_voxel())
    rate(results, "p2", "reject")
    assert prepare(results, tmp_path / "run") == 0
    told = capsys.readouterr()
    found = cases(tmp_path / "run")
    assert list(found) == ["p0", "p1"]
    assert found["p0"].scan == folder / "scans" / "p0.nii.gz"
    assert found["p0"].mask == results / "p0_mask.nii.gz"
    assert found["p0"].load_vox == phantom(0)[1].sum()
    assert found["p1"].mask == results / f"p1{EDITED_SUFFIX}"
    assert found["p1"].load_vox == 1
    assert "2 scans found, layout results (reviewed results)" in told.out
    assert "2 of 4 scans left out: 1 not reviewed, 1 rejected" in told.err
    assert not (tmp_path / "run" / "prepare" / "scans").exists()  # this model reads scans as they are


@pytest.mark.parametrize(("rating", "used"), [("accept", True), ("", True), ("doubtful", False), ("reject", False)])
def test_a_rating_decides_about_a_corrected_mask(folder: Path, rating: str, *, used: bool) -> None:
    results = folder / "out"
    rate(results, "p0", "accept")
    correct(results, "p1", one_voxel())
    rate(results, "p1", rating)
    found = find_cases(results, layouts=WITH_REVIEWED).cases
    assert ("p1" in {case.case_id for case in found}) == used


def test_a_new_review_changes_the_cases(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, run = folder / "out", tmp_path / "run"
    rate(results, "p0", "accept")
    assert prepare(results, run) == 0
    assert prepare(results, run) == 0
    assert "unchanged since the last check" in capsys.readouterr().out
    correct(results, "p1", one_voxel())
    assert prepare(results, run) == 0
    assert list(cases(run)) == ["p0", "p1"]


def test_cases_of_a_derivative_have_person_session_and_site(model: Path, tmp_path: Path) -> None:
    raw, results = write_bids(tmp_path / "raw"), tmp_path / "raw" / "derivatives" / "mapping"
    (raw / "participants.tsv").write_text("participant_id\tsite\nsub-01\tBern\nsub-02\tKiel\n")
    options = ["--model", str(model), "--device", "cpu", "--space", "mni"]
    assert main(["bids", str(raw), str(results), "participant", *options]) == 0
    rate(results, "sub-01_T1w", "accept")
    correct(results, "sub-02_ses-2_acq-mprage_run-1_T1w", one_voxel())
    assert prepare(results, tmp_path / "run") == 0
    found = cases(tmp_path / "run")
    assert [(case.case_id, case.subject, case.session, case.site) for case in found.values()] == [
        ("sub-01", "01", "", "Bern"),
        ("sub-02_ses-2_acq-mprage_run-1", "02", "2", "Kiel"),
    ]
    edited = found["sub-02_ses-2_acq-mprage_run-1"]
    assert edited.load_vox == 1
    assert edited.mask is not None
    assert edited.mask.name == "sub-02_ses-2_acq-mprage_run-1_space-orig_label-L_desc-edited_mask.nii.gz"


def test_a_native_scan_is_written_as_its_model_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, to_scan = small_native_scan()
    brain = Brain(scan.voxels > 0, stripped=True, source="shown")
    corrected = divide_bias(scan, find_bias(scan, brain.mask))
    quality = Quality(0.9, 0.95, (1.0, 1.0, 1.0), 0.0)
    placed = PlacedScan(scan, corrected, brain, np.linalg.inv(to_scan), quality, left_alone=False, starts=1)
    monkeypatch.setattr(model_input, "place_scan", lambda *_: placed)  # registration is tested elsewhere
    card = member_card("default", preprocess=PreprocessSpec(6.0), patch=(32, 40, 32))  # one window is quick
    model = write_model(tmp_path / "brains.mapping", card, contrast="T1w", space="MNI152", shows="brain").path
    write_image(tmp_path / "scans" / "a.nii.gz", scan.voxels, scan.affine)
    assert segment(model, tmp_path / "out", tmp_path / "scans") == 0
    drawn = np.zeros(scan.shape, np.bool_)
    x, y, z = (edge // 2 for edge in scan.shape)
    drawn[x - 3 : x + 3, y - 3 : y + 3, z - 3 : z + 3] = True
    correct(tmp_path / "out", "a", drawn)
    assert prepare(tmp_path / "out", tmp_path / "run") == 0
    written = tmp_path / "run" / "prepare" / "scans"
    assert f"Scans and masks are written to {written}" in capsys.readouterr().out.replace("\n", " ")
    case = cases(tmp_path / "run")["a"]
    assert (case.scan, case.mask) == (written / "a_T1w.nii.gz", written / "a_lesion.nii.gz")
    assert (case.shape, case.spacing_mm) == (ATLAS_GRID.shape, (1.0, 1.0, 1.0))
    read_by_model = model_input.make_model_input(scan, open_bundle(model).card, "auto").image
    np.testing.assert_allclose(read_image(case.scan).voxels, read_by_model.voxels, atol=0.01)
    to_mni = np.array(read_csv(written / "sources.csv")[0]["to_mni"].split(), np.float64).reshape(4, 4)
    growth = abs(np.linalg.det(to_mni[:3, :3]))
    assert case.load_ml == pytest.approx(drawn.sum() * scan.voxel_volume_mm3 / 1000 * growth, rel=0.02)
    middle = ATLAS_GRID.affine @ [*np.argwhere(read_image(case.mask).voxels > 0).mean(axis=0), 1]
    np.testing.assert_allclose(middle, to_mni @ scan.affine @ [*(np.argwhere(drawn).mean(axis=0)), 1], atol=0.5)
    (tmp_path / "out" / f"a{BRAIN_SUFFIX}").unlink()
    capsys.readouterr()
    assert prepare(tmp_path / "out", tmp_path / "other") == 2
    assert "a: its brain mask is gone; segment it again" in one_line(capsys.readouterr().err)


def test_a_dicom_series_is_a_case(model: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "scans" / "d", np.rint(phantom(0)[0]).astype(np.int16), np.diag([3.0, 3, 3, 1]))
    assert segment(model, tmp_path / "out", tmp_path / "scans" / "d") == 0
    rate(tmp_path / "out", "d", "accept")
    assert prepare(tmp_path / "out", tmp_path / "run") == 0
    case = cases(tmp_path / "run")["d"]
    assert case.scan == tmp_path / "run" / "prepare" / "scans" / "d_T1w.nii.gz"
    mask = read_image(tmp_path / "out" / f"d{MASK_SUFFIX}")
    assert case.load_vox == (mask.voxels > 0).sum()
    np.testing.assert_allclose(read_image(case.scan).affine, mask.affine)
    assert b"Planted" not in case.scan.read_bytes()
    case.scan.unlink()
    assert prepare(tmp_path / "out", tmp_path / "run") == 0
    assert case.scan.is_file()


def test_results_that_nobody_reviewed_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(folder / "out", tmp_path / "run") == 2
    line = one_line(capsys.readouterr().err)
    assert "none of 4 segmented scans was accepted or corrected (4 not reviewed); review them with `mapping app" in line
    assert not (tmp_path / "run").exists()


def test_a_scan_that_moved_or_changed_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("p0", "p1", "p2", "p3"):
        rate(folder / "out", name, "accept")
    kept = tmp_path / "kept"
    shutil.copytree(folder / "scans", kept)
    try:
        (folder / "scans" / "p1.nii.gz").unlink()
        write_image(folder / "scans" / "p2.nii.gz", phantom(9)[0], AFFINE)
        assert prepare(folder / "out", tmp_path / "run") == 2
        told = capsys.readouterr().err
        assert "error: p1: the segmented scan is no longer there; put it back" in told
        assert "error: p2: the scan has changed since it was segmented; segment it again" in told
        assert "2 of 4 cases have problems" in told
        assert prepare(folder / "out", tmp_path / "run", "--exclude-bad") == 3
        assert list(cases(tmp_path / "run")) == ["p0", "p3"]
    finally:
        shutil.copytree(kept, folder / "scans", dirs_exist_ok=True)


def test_a_relative_path_is_looked_up_where_the_command_runs(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "p0.nii.gz", phantom(0)[0], AFFINE)
    monkeypatch.chdir(tmp_path)
    assert segment(model, tmp_path / "out", "p0.nii.gz") == 0
    rate(tmp_path / "out", "p0", "accept")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert prepare(tmp_path / "out", tmp_path / "run") == 2
    assert "run the command in the folder in which the scans were segmented" in one_line(capsys.readouterr().err)
    monkeypatch.chdir(tmp_path)
    assert prepare(tmp_path / "out", tmp_path / "run") == 0
    assert cases(tmp_path / "run")["p0"].scan == tmp_path / "p0.nii.gz"


def test_a_review_of_an_earlier_mask_is_no_review(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "out"
    shutil.copytree(folder / "out", results)
    rate(results, "p0", "accept")
    correct(results, "p1", one_voxel())
    for name in ("p0", "p1"):  # as if another model had segmented them meanwhile
        path = results / f"{name}{MASK_SUFFIX}"
        write_image(path, ~(read_image(path).voxels > 0), read_image(path))
    assert prepare(results, tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert "p0: the scan was segmented again, with another mask, after it was accepted; check the new mask" in told
    assert "p1: the scan was segmented again after its mask was corrected; check the corrected mask" in told
    rate(results, "p0", "accept")
    assert prepare(results, tmp_path / "run") == 0


def test_other_folders_of_results_are_not_mistaken(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "out"
    shutil.copytree(folder / "out", results)
    values = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps(values | {"format": 99}))
    assert prepare(results, tmp_path / "run") == 2
    assert "written by another version (format 99, expected 1)" in one_line(capsys.readouterr().err)
    assert prepare(folder / "scans", tmp_path / "run", "--layout", "results") == 2
    assert "no scans found among 4 image files; looked for reviewed results" in one_line(capsys.readouterr().err)


def test_a_model_is_evaluated_on_reviewed_results(folder: Path) -> None:
    rate(folder / "out", "p0", "accept")
    correct(folder / "out", "p1", one_voxel())
    found, bad = find_labelled(folder / "out")
    assert [(case.case_id, case.mask) for case in found] == [
        ("p0", folder / "out" / "p0_mask.nii.gz"),
        ("p1", folder / "out" / f"p1{EDITED_SUFFIX}"),
    ]
    assert bad == []
