"""`mapping segment` from the command line to the files: formats, orientations, failures, resuming, what is recorded."""

import csv
import errno
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from mapping_stroke import files, pipeline
from mapping_stroke.cli import main
from mapping_stroke.cohort import loop as module
from mapping_stroke.cohort.inputs import find_scans
from mapping_stroke.cohort.review import review_reasons
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import CaseError
from mapping_stroke.images.image import Image, orientation_names, read_image, reorient, restore_axes, write_image
from mapping_stroke.inference import cost as memory
from mapping_stroke.inference.ensemble import Average
from mapping_stroke.rules import RULES
from phantoms import AFFINE, phantom
from small_models import member_card, write_model
from template_scans import template_scan

OUTPUTS = ("_mask.nii.gz", "_probability.nii.gz", "_uncertainty.nii.gz", "_lesions.tsv", ".png", ".html", ".json")
GIVEN = {"preprocess": PreprocessSpec(3.0), "patch": (8, 8, 8)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks that never learned anything; what they are surest of is marked, however unsure they are."""
    path, rule = tmp_path_factory.mktemp("model") / "three.mapping", RULES["challenge"]
    write_model(path, *(member_card("default", fold, **GIVEN) for fold in range(3)), postprocess=rule)
    return path


def scan_file(path: Path, seed: int = 0) -> Path:
    write_image(path, phantom(seed)[0], AFFINE)
    return path


def segment(model: Path, output: Path, *arguments: Path | str) -> int:
    return main(["segment", *map(str, arguments), "-o", str(output), "--model", str(model), "--device", "cpu"])


def record(output: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((output / "run.json").read_text())
    return told["record"]


def modified(folder: Path) -> dict[str, int]:
    """The files of single scans."""
    paths = [path for path in folder.iterdir() if path.name != "run.json" and not path.name.startswith("cohort")]
    return {path.name: path.stat().st_mtime_ns for path in paths}


def test_a_scan_leaves_its_files_and_a_record(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, out = scan_file(tmp_path / "p0_T1w.nii.gz"), tmp_path / "out"
    assert segment(model, out, scan) == 0
    assert {path.name for path in out.iterdir()} == {"run.json", *(f"p0_T1w{suffix}" for suffix in OUTPUTS)}
    told = json.loads((out / "run.json").read_text())
    assert {key: told[key] for key in ("format", "kind", "settings")} == {
        "format": 1,
        "kind": "segment",
        "settings": {
            "preset": "balanced",
            "rule": "mapping",
            "precision": told["settings"]["precision"],
            "storage": "uint8",
            "picture": True,
            "space": "auto",
        },
    }
    done = record(out)
    assert (done["status"], done["done"], done["failed"]) == ("done", 1, 0)
    assert done["members"] == ["default, fold 0", "default, fold 1", "default, fold 2"]
    assert done["model"] == {"name": "small", "path": str(model), "licence": "CC0-1.0"}
    assert done["postprocess"]["manner"] == "grow"
    assert done["versions"]["numpy"] == np.__version__
    assert done["peak_memory_mb"] > 10
    entry = done["scans"]["p0_T1w"]
    assert entry["status"] == "done"
    assert entry["source"]["scan"] == str(scan)
    assert list(entry["seconds"]) == ["read", "place", "prepare", "predict", "postprocess", "write"]
    assert entry["warnings"] == [
        "its non-zero voxels span 54 x 60 x 48 mm and fill 82 mL, less than a brain: check whether a part is missing"
    ]
    with (out / "p0_T1w_lesions.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == entry["lesions"] > 0
    assert sum(float(row["volume_ml"]) for row in rows) == pytest.approx(entry["load_ml"], abs=0.01)
    assert {"x_mm", "max_probability", "mean_probability", "agreement"} <= set(rows[0])
    screen = capsys.readouterr()
    assert "Segmenting 1 scan with 3 members (preset balanced, rule mapping) on the CPU" in screen.out
    assert f"p0_T1w: {entry['lesions']} lesion" in screen.out
    assert "1 scan in " in screen.out
    assert f"warning: {scan}: its non-zero voxels span" in screen.err


def test_maps_are_stored_in_steps_or_exactly(model: Path, tmp_path: Path) -> None:
    scan = scan_file(tmp_path / "p0.nii.gz")
    for storage, kind in (("uint8", np.uint8), ("float32", np.float32)):
        assert segment(model, tmp_path / storage, scan, "--probability", storage, "--no-picture") == 0
        assert not (tmp_path / storage / "p0.png").exists()
        for name in ("probability", "uncertainty"):
            assert nib.load(tmp_path / storage / f"p0_{name}.nii.gz").get_data_dtype() == kind
    for name, step in (("probability", 1 / 255), ("uncertainty", 0.5 / 255)):
        steps, exact = (read_image(tmp_path / each / f"p0_{name}.nii.gz").voxels for each in ("uint8", "float32"))
        np.testing.assert_allclose(steps, exact, atol=0.501 * step)
        assert exact.max() > 2 * step
    masks = [read_image(tmp_path / each / "p0_mask.nii.gz").voxels for each in ("uint8", "float32")]
    np.testing.assert_array_equal(*masks)


def write_format(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    if path.suffix in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(voxels, affine), path)
    elif path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    else:
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        edges = np.linalg.norm(lps[:3, :3], axis=0)
        image = sitk.GetImageFromArray(voxels.T)
        image.SetSpacing(edges.tolist())
        image.SetDirection((lps[:3, :3] / edges).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR"])
def test_a_tie_is_decided_alike_here_and_in_the_stage(
    axes: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five equal lesions the rule `challenge` drops one: on RAS axes the first, whatever axes the file has."""
    probability = np.zeros(phantom(0)[0].shape, np.float32)
    for corner in range(5):
        probability[4 + 3 * corner, 20 - 3 * corner, 5 + 2 * corner] = 0.9
    scan = reorient(Image(phantom(0)[0], AFFINE), axes)
    write_image(tmp_path / "p0.nii", scan.voxels, scan)
    there = reorient(Image(probability, AFFINE), axes).voxels
    mean = Average(there, np.zeros_like(there), np.zeros_like(there), 1)
    monkeypatch.setattr(module.Segmenter, "predict", lambda *_: mean)
    options = ["--no-picture", "--probability", "float32", "--rule", "challenge"]
    assert segment(model, tmp_path / "out", tmp_path / "p0.nii", *options) == 0
    assert main(["postprocess", str(tmp_path / "out"), "-o", str(tmp_path / "masks"), "--rule", "challenge"]) == 0
    here, stage = (read_image(tmp_path / folder / "p0_mask.nii.gz") for folder in ("out", "masks"))
    np.testing.assert_array_equal(here.voxels, stage.voxels)
    assert reorient(here).voxels.sum() == 4
    assert not reorient(here).voxels[4, 20, 5]


def test_every_format_gives_the_same_result_on_the_same_grid(model: Path, tmp_path: Path) -> None:
    voxels, _ = phantom(0)
    (tmp_path / "scans").mkdir()
    suffixes = (".nii", ".nii.gz", ".mgz", ".mgh", ".mha", ".mhd", ".nrrd")
    for suffix in suffixes:
        write_format(tmp_path / "scans" / f"as{suffix.replace('.', '_')}{suffix}", voxels, AFFINE)
    whole = nib.Nifti1Image(voxels.round().astype(np.int16)[..., None], AFFINE)
    whole.header.set_slope_inter(0.5, 0)
    nib.save(whole, tmp_path / "scans" / "scaled_4d.nii.gz")
    assert segment(model, tmp_path / "out", tmp_path / "scans", "--no-picture") == 0
    first = read_image(tmp_path / "out" / "as_nii_mask.nii.gz")
    assert first.voxels.any()
    for suffix in suffixes:
        mask = read_image(tmp_path / "out" / f"as{suffix.replace('.', '_')}_mask.nii.gz")
        np.testing.assert_array_equal(mask.voxels, first.voxels)
        np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-5)
    scaled = nib.load(tmp_path / "out" / "scaled_4d_mask.nii.gz")
    assert scaled.shape == voxels.shape
    np.testing.assert_array_equal(scaled.affine, AFFINE)


@pytest.mark.parametrize(
    "orientations",
    [
        pytest.param(orientation_names()[::3], id="16"),
        pytest.param(orientation_names(), id="48", marks=pytest.mark.slow),
    ],
)
def test_a_reoriented_copy_gives_the_reoriented_result(orientations: list[str], model: Path, tmp_path: Path) -> None:
    """On an oblique grid: mask and lesions equal, probabilities to 1e-5. The 16 of the 48 have axes in every order."""
    turn = np.eye(4)
    turn[:3, :3] = [[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]]
    image = Image(phantom(0)[0], turn @ AFFINE)
    (tmp_path / "scans").mkdir()
    for codes in orientations:
        copy = reorient(image, codes)
        write_image(tmp_path / "scans" / f"{codes}.nii", copy.voxels, copy.affine)
    assert segment(model, tmp_path / "out", tmp_path / "scans", "--no-picture", "--probability", "float32") == 0
    reference, out = reorient(image, "RAS"), tmp_path / "out"
    for what in ("mask", "probability", "uncertainty"):
        expected = read_image(out / f"RAS_{what}.nii.gz")
        np.testing.assert_allclose(expected.affine, reference.affine, atol=1e-5)
        for codes in orientations:
            found = read_image(out / f"{codes}_{what}.nii.gz")
            assert found.orientation == codes
            back = restore_axes(found.voxels, expected, codes)
            np.testing.assert_allclose(back, expected.voxels, atol=0 if what == "mask" else 1e-5)
    tables = {(out / f"{codes}_lesions.tsv").read_text() for codes in orientations}
    assert len(tables) == 1


def test_results_repeat_a_header_that_contradicts_itself_and_tell_of_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = nib.Nifti1Image(phantom(0)[0], AFFINE)
    image.header.set_sform(AFFINE, code=1)
    image.header.set_qform(AFFINE, code=1)
    image.header["qoffset_y"] += 12
    nib.Nifti1Image(phantom(0)[0], None, image.header).to_filename(tmp_path / "p0.nii.gz")
    assert segment(model, tmp_path / "out", tmp_path / "p0.nii.gz", "--no-picture") == 0
    told = "the header's sform and qform place voxels up to 12.0 mm apart; the sform is used"
    assert told in capsys.readouterr().err
    assert told in record(tmp_path / "out")["scans"]["p0"]["warnings"]
    mask, scan = (nib.load(path).header for path in (tmp_path / "out" / "p0_mask.nii.gz", tmp_path / "p0.nii.gz"))
    np.testing.assert_array_equal(mask.get_qform(), scan.get_qform())
    np.testing.assert_array_equal(mask.get_sform(), scan.get_sform())


def test_voxels_of_no_size_or_of_two_are_never_silent(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both once gave volumes up to 47 % too large without a word."""
    for name in ("two", "none"):
        image = nib.Nifti1Image(phantom(0)[0], None)
        image.set_qform(AFFINE, 1)
        image.set_sform(np.diag([2.5, 2.5, 2.5, 1.0]), 1 if name == "two" else 0)
        image.to_filename(tmp_path / f"{name}.nii")
    whole = bytearray((tmp_path / "none.nii").read_bytes())
    whole[80:92] = bytes(12)
    (tmp_path / "none.nii").write_bytes(whole)
    scans = [scan_file(tmp_path / "good.nii"), tmp_path / "two.nii", tmp_path / "none.nii"]
    assert segment(model, tmp_path / "out", *scans, "--no-picture") == 3
    told = "the header gives voxels of 3 x 3 x 3 mm (pixdim) and of 2.5 x 2.5 x 2.5 mm (sform); the sform is used"
    refused = "the header gives voxels of 0 x 0 x 0 mm (pixdim) and no sform, expected edges above 0 mm"
    screen = capsys.readouterr().err
    assert f"two.nii: {told}" in screen
    assert f"none.nii: {refused}" in screen
    entries = record(tmp_path / "out")["scans"]
    assert told in entries["two"]["warnings"]
    assert told in json.loads((tmp_path / "out" / "two.json").read_text())["warnings"]
    assert told in review_reasons(entries["two"], "two")
    assert entries["none"]["error"].startswith(refused)
    assert not any("mm (" in line for line in entries["good"]["warnings"])


def test_a_scan_of_another_kind_than_the_model_knows_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t1w, t2w = template_scan("T1w"), template_scan("T2w")
    write_image(tmp_path / "fine.nii.gz", t1w.voxels, t1w.affine)
    write_image(tmp_path / "native.nii.gz", t1w.voxels, np.diag([4.0, 4.0, 4.0, 1.0]))
    untouched = ("--space", "mni", "--no-picture")
    write_image(tmp_path / "other.nii.gz", t2w.voxels, t2w.affine)
    card = member_card("default", 0, **{**GIVEN, "patch": (40, 40, 40)})
    write_model(tmp_path / "t1w.mapping", card, contrast="T1w", space="MNI152")
    write_model(tmp_path / "unknown.mapping", card)
    names = ("fine", "native", "other")
    scans = [tmp_path / f"{name}.nii.gz" for name in names]
    assert segment(tmp_path / "t1w.mapping", tmp_path / "out", *scans, *untouched) == 0
    told = {name: record(tmp_path / "out")["scans"][name]["warnings"] for name in names}
    assert [len(told[name]) for name in names] == [0, 1, 1]
    assert "does not lie in MNI152 space" in told["native"][0]
    assert "do not look like those of a T1w" in told["other"][0]
    assert "native.nii.gz: it does not lie in MNI152 space" in " ".join(capsys.readouterr().err.split())
    with pytest.warns(UserWarning, match="do not look like those of a T1w"):
        pipeline.segment(scans[2], tmp_path / "t1w.mapping", device="cpu", space="mni")
    assert segment(tmp_path / "unknown.mapping", tmp_path / "all", *scans, "--no-picture") == 0
    assert [record(tmp_path / "all")["scans"][name]["warnings"] for name in names] == [[], [], []]


def test_good_scans_among_bad_ones_are_done_and_the_bad_listed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    good = scan_file(scans / "b_good.nii.gz")
    (scans / "a_cut.nii.gz").write_bytes(good.read_bytes()[:200])
    write_image(scans / "c_mask.nii", phantom(0)[1], AFFINE)
    write_image(scans / "d_labels.nii", (phantom(0)[0] > 0) + np.uint8(phantom(0)[1]), AFFINE)
    scan_file(scans / "e_good.nii", 1)
    (scans / "notes.txt").write_text("no scan")
    (scans / "g_folder.nii.gz").mkdir()
    (scans / "old_mask.nii.gz").write_bytes(b"passed over, as an output of ours")
    assert segment(model, out, scans, tmp_path / "f_missing.nii", "--no-picture") == 3
    told = record(out)
    assert (told["status"], told["done"], told["failed"]) == ("done", 2, 5)
    assert {name: entry["status"] for name, entry in told["scans"].items()} == {
        "a_cut": "failed",
        "b_good": "done",
        "c_mask": "failed",
        "d_labels": "failed",
        "e_good": "done",
        "f_missing": "failed",
        "g_folder": "failed",
    }
    assert told["scans"]["a_cut"]["error"].startswith("cannot be read (")
    assert "not a mask" in told["scans"]["c_mask"]["error"]
    assert "label map" in told["scans"]["d_labels"]["error"]
    assert told["scans"]["f_missing"]["error"] == "no such file; check the path"
    assert told["scans"]["g_folder"]["error"].startswith("is a folder, expected an image file")
    assert {path.name.split("_")[0] for path in out.iterdir()} == {"b", "e", "cohort", "run.json", ".mapping"}
    assert [path.name for path in (out / ".mapping").iterdir() if not path.name.endswith(".failed.json")] == []
    screen = capsys.readouterr()
    assert "Segmenting 7 scans" in screen.out
    assert "2 scans in " in screen.out
    assert "5 of 7 scans failed: a_cut, c_mask, d_labels, f_missing, g_folder; " in screen.err


def test_a_failure_of_the_engine_ends_one_scan_only(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [scan_file(tmp_path / f"p{number}.nii", number) for number in range(2)]
    errors = iter([RuntimeError("out of GPU memory\nTried to allocate"), MemoryError()])

    def fail(*arguments: object) -> object:
        raise next(errors)

    monkeypatch.setattr(module.Segmenter, "segment", fail)
    assert segment(model, tmp_path / "out", *scans, "--no-picture") == 3
    told = record(tmp_path / "out")["scans"]
    assert told["p0"]["error"] == "RuntimeError: out of GPU memory Tried to allocate"
    assert told["p1"]["error"] == "MemoryError: out of memory; close other programs"
    monkeypatch.undo()
    assert segment(model, tmp_path / "out", *scans, "--no-picture") == 0


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["broken.nii.gz"], "broken.nii.gz: cannot be read (Empty file)"),
        (["missing.nii"], "missing.nii: no such file; check the path"),
        (["run.nii"], "the name run is taken"),
        (["Run.nii"], "the name Run is taken"),
        (["empty"], "empty: holds no image file itself, expected scans"),
        (["twice.nii", "twice.mha"], "twice.nii has the same name (ignoring case), and outputs are named after it; "),
        (["twice.nii", "Twice.mha"], "twice.nii has the same name (ignoring case), and outputs are named after it; "),
        ([], "no scan is given, expected one or more"),
    ],
)
def test_a_wrong_call_is_one_line_and_leaves_nothing(
    model: Path, tmp_path: Path, names: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("broken.nii.gz", "run.nii", "twice.nii", "twice.mha"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert segment(model, tmp_path / "out", *(tmp_path / name for name in names)) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_finished_scans_are_not_computed_again_and_changed_ones_are(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for number in range(3):
        scan_file(scans / f"p{number}.nii", number)
    assert segment(model, out, scans, "--no-picture") == 0
    before = modified(out)
    assert segment(model, out, scans, "--no-picture") == 0
    assert modified(out) == before
    assert "3 scans of 3 are already finished" in capsys.readouterr().out
    scan_file(scans / "p1.nii", 7)
    (out / "p2_uncertainty.nii.gz").unlink()
    assert segment(model, out, scans, "--no-picture") == 0
    after = modified(out)
    assert {name.split("_")[0].split(".")[0] for name in after if after[name] != before[name]} == {"p1", "p2"}
    assert "1 scan of 3 is already finished\nSegmenting 2 scans with" in capsys.readouterr().out
    assert set(record(out)["scans"]) == {"p0", "p1", "p2"}


def test_a_changed_scan_that_fails_leaves_nothing_of_what_it_was(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for number in range(2):
        scan_file(scans / f"p{number}.nii", number)
    assert segment(model, out, scans, "--no-picture") == 0
    write_image(scans / "p1.nii", np.ones((20, 20, 20), np.float32), AFFINE)
    assert segment(model, out, scans, "--no-picture") == 3
    assert not list(out.glob("p1*"))
    assert record(out)["scans"]["p1"]["status"] == "failed"
    assert segment(model, out, scans / "p0.nii", "--no-picture") == 0
    assert {name: entry["status"] for name, entry in record(out)["scans"].items()} == {"p0": "done", "p1": "failed"}
    (scans / "p1.nii").unlink()
    assert segment(model, out, scans, "--no-picture") == 0
    assert list(record(out)["scans"]) == ["p0"]


def test_results_stand_where_the_content_of_a_scan_was_dropped(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for number in range(3):
        (scans / f"p{number}.nii").symlink_to(tmp_path / "annex" / f"p{number}.nii")
    for number in range(2):
        scan_file(tmp_path / "annex" / f"p{number}.nii", number)
    assert segment(model, out, scans / "p0.nii", scans / "p1.nii", "--no-picture") == 0
    before = modified(out)
    (out / "p1_mask.nii.gz").unlink()
    shutil.rmtree(tmp_path / "annex")
    assert segment(model, out, scans, "--no-picture") == 3
    told = record(out)["scans"]
    assert {name: entry["status"] for name, entry in told.items()} == {"p0": "done", "p1": "failed", "p2": "failed"}
    assert told["p2"]["error"].startswith("is a link to a file that is not here; if this is a DataLad data set, run")
    after = modified(out)
    assert {name for name in before if after.get(name) != before[name]} == {"p1_mask.nii.gz"}


def test_other_voxels_behind_the_same_header_are_another_scan(model: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "p0.mhd", tmp_path / "out"
    write_format(path, phantom(0)[0], AFFINE)
    header = path.read_bytes()
    assert segment(model, out, path, "--no-picture") == 0
    before = modified(out)
    assert segment(model, out, path, "--no-picture") == 0
    assert modified(out) == before
    write_format(path, phantom(1)[0], AFFINE)
    assert path.read_bytes() == header
    assert segment(model, out, path, "--no-picture") == 0
    assert modified(out)["p0.json"] != before["p0.json"]


def test_scans_of_an_earlier_call_stay_in_the_record(model: Path, tmp_path: Path) -> None:
    first, second = scan_file(tmp_path / "p0.nii"), scan_file(tmp_path / "p1.nii", 1)
    assert segment(model, tmp_path / "out", first, "--no-picture") == 0
    assert segment(model, tmp_path / "out", second, "--no-picture") == 0
    assert {name: entry["status"] for name, entry in record(tmp_path / "out")["scans"].items()} == {
        "p0": "done",
        "p1": "done",
    }


def test_a_moved_scan_is_the_same_scan(model: Path, tmp_path: Path) -> None:
    scan, out = scan_file(tmp_path / "here" / "p0.nii"), tmp_path / "out"
    assert segment(model, out, scan, "--no-picture") == 0
    before = modified(out)
    (tmp_path / "there").mkdir()
    assert segment(model, out, shutil.move(scan, tmp_path / "there" / "p0.nii"), "--no-picture") == 0
    assert modified(out) == before


def test_a_killed_run_goes_on_where_it_was(model: Path, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    for number in range(4):
        scan_file(scans / f"p{number}.nii", number)
    killed_at_the_third = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from mapping_stroke.cohort.loop import segment_scans
        from mapping_stroke.cohort.results import ScanFiles
        from mapping_stroke.cohort.settings import Computation, ScanOptions
        real, calls = ScanFiles._write_maps, []
        def write(self, image, found):
            calls.append(1)
            if len(calls) == 3:
                real(self, image, found)  # all but the stamp
                os.kill(os.getpid(), signal.SIGKILL)
            real(self, image, found)
        ScanFiles._write_maps = write
        computation = Computation({str(model)!r}, device="cpu")
        segment_scans([Path({str(scans)!r})], Path({str(out)!r}), computation, ScanOptions(no_picture=True))
        """
    )
    process = subprocess.run([sys.executable, "-c", killed_at_the_third], check=False, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    told = record(out)
    assert (told["status"], sorted(told["scans"])) == ("running", ["p0", "p1"])
    before = modified(out)
    assert segment(model, out, scans, "--no-picture") == 0
    after = modified(out)
    assert all(after[name] == time for name, time in before.items() if name[:2] in ("p0", "p1"))
    assert all(
        after[f"p2{suffix}"] != before.get(f"p2{suffix}") for suffix in OUTPUTS if suffix not in (".png", ".html")
    )
    told = record(out)
    assert (told["status"], told["done"]) == ("done", 4)


def test_an_interrupted_run_says_so(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = [scan_file(tmp_path / f"p{number}.nii", number) for number in range(3)]

    def interrupt(*arguments: object) -> object:
        if (tmp_path / "out" / "p0.json").exists():
            raise KeyboardInterrupt
        return real(*arguments)

    real = module.ScanFiles.write
    monkeypatch.setattr(module.ScanFiles, "write", interrupt)
    assert segment(model, tmp_path / "out", *scans, "--no-picture") == 1
    told = record(tmp_path / "out")
    assert (told["status"], list(told["scans"])) == ("stopped", ["p0"])


def test_other_settings_are_not_mixed_in(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, out = scan_file(tmp_path / "p0.nii"), tmp_path / "out"
    assert segment(model, out, scan, "--no-picture") == 0
    for change in (["--preset", "fast"], ["--rule", "none"], ["--probability", "float32"]):
        assert segment(model, out, scan, "--no-picture", *change) == 2
        assert "holds another run (differs in settings)" in capsys.readouterr().err
    write_model(tmp_path / "other.mapping", member_card("default", 9, **GIVEN))
    assert segment(tmp_path / "other.mapping", out, scan, "--no-picture") == 2
    assert "differs in model_sha256" in capsys.readouterr().err
    assert segment(tmp_path / "other.mapping", out, scan, "--no-picture", "--overwrite") == 0
    assert record(out)["members"] == ["default, fold 9"]


def test_a_full_disk_stops_before_anything_is_computed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = scan_file(tmp_path / "p0.nii")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    assert segment(model, tmp_path / "out", scan) == 2
    assert "out: has room for 0 MB, about 12 MB are needed; free some space, or give" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_keeps_what_is_finished(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = [scan_file(tmp_path / f"p{number}.nii", number) for number in range(3)], tmp_path / "out"
    room = iter([10**9, 10])
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 0, next(room)))
    assert segment(model, out, *scans, "--no-picture") == 2
    assert "has room for 0 MB" in capsys.readouterr().err
    assert (record(out)["status"], list(record(out)["scans"])) == ("stopped", ["p0"])
    monkeypatch.undo()
    before = modified(out)
    assert segment(model, out, *scans, "--no-picture") == 0
    assert all(modified(out)[name] == time for name, time in before.items())


def test_a_disk_that_fills_up_while_writing_leaves_nothing_half_written(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = [scan_file(tmp_path / f"p{number}.nii", number) for number in range(3)], tmp_path / "out"
    real, written = nib.save, []

    def save(image: object, path: Path) -> None:
        written.append(path)
        if len(written) == 5:  # the second map of the second scan
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(image, path)

    monkeypatch.setattr(nib, "save", save)
    assert segment(model, out, *scans, "--no-picture") == 1
    assert "No space left on device; fix the problem and rerun the command" in capsys.readouterr().err
    assert (record(out)["status"], list(record(out)["scans"])) == ("stopped", ["p0"])
    assert sorted(path.name for path in out.iterdir() if path.name[:2] != "p0") == ["run.json"]
    monkeypatch.undo()
    assert segment(model, out, *scans, "--no-picture") == 0
    assert record(out)["done"] == 3


def test_a_scan_that_does_not_fit_into_memory_is_refused_with_the_remedy(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e5)
    scan = scan_file(tmp_path / "p0.nii")
    window = write_model(tmp_path / "window", member_card("default", 0, **GIVEN), fast_cover="window").path
    for made, preset, remedy in (
        (model, "fast", "use a machine with more memory"),
        (window, "fast", "use --preset balanced"),
        (window, "balanced", "use a machine with more memory"),
    ):
        assert segment(made, tmp_path / "out", scan, "--preset", preset) == 2
        told = capsys.readouterr().err
        assert "p0.nii: a scan of 20 x 22 x 18 voxels needs about 0.0 GB of memory" in told
        assert remedy in told
    assert not (tmp_path / "out").exists()


def test_memory_that_was_granted_is_not_asked_for_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first scan took may still be held by the process, which is no reason to refuse the second."""
    left = iter([1e9])
    monkeypatch.setattr(memory, "available_bytes", lambda: next(left))
    scans = [scan_file(tmp_path / f"p{number}.nii", number) for number in range(3)]
    assert segment(model, tmp_path / "out", *scans, "--no-picture") == 0


def test_one_scan_is_read_ahead_and_no_more() -> None:
    read: list[str] = []

    def remember(name: str) -> str:
        read.append(name)
        if name == "b":
            raise CaseError("b is damaged")
        return name.upper()

    coming = module.read_ahead(remember, ["a", "b", "c", "d"])
    name, load = next(coming)
    assert (name, load()) == ("a", "A")
    name, load = next(coming)
    with pytest.raises(CaseError, match="b is damaged"):
        load()
    assert set(read) <= {"a", "b", "c"}
    assert [(name, load()) for name, load in coming] == [("c", "C"), ("d", "D")]
    assert read == ["a", "b", "c", "d"]
    assert list(module.read_ahead(remember, [])) == []


def test_a_long_run_tells_how_long_it_will_take(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LONG_FLOP", 0)
    monkeypatch.setattr(module, "estimate_seconds", lambda *_: 100.0)
    scans = [scan_file(tmp_path / f"p{number}.nii", number) for number in range(3)]
    assert segment(model, tmp_path / "one", scans[0], "--no-picture") == 0
    assert "This takes about 1 min 40 s\n" in capsys.readouterr().out
    assert segment(model, tmp_path / "three", *scans, "--no-picture") == 0
    assert "This takes about 1 min 40 s per scan, 5 min 00 s in total\n" in capsys.readouterr().out


def test_presets_say_what_they_compute(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = scan_file(tmp_path / "p0.nii")
    for preset, told in (
        ("fast", "1 of 3 members (preset fast, rule mapping)"),
        ("paper", "3 members (preset paper, rule mapping, 8 mirrorings each)"),
    ):
        assert segment(model, tmp_path / preset, scan, "--no-picture", "--preset", preset) == 0
        assert f"Segmenting 1 scan with {told}" in capsys.readouterr().out


def test_scans_in_folders_of_their_own_are_segmented_in_one_call(model: Path, tmp_path: Path) -> None:
    for seed, person in enumerate(("p1", "p2")):
        scan_file(tmp_path / "data" / person / "T1.nii", seed)
    out = tmp_path / "data" / "results"
    for _ in range(2):
        assert segment(model, out, tmp_path / "data", "--scans", "*/T1.nii", "--no-picture") == 0
        assert list(record(out)["scans"]) == ["p1", "p2"]
    assert (out / "p2_mask.nii.gz").is_file()


def test_a_folder_stands_for_its_scans(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.mha", "c_mask.nii.gz", "c_probability.nii.gz", "._b.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "d.nii").touch()
    assert find_scans([tmp_path]) == {"a": tmp_path / "a.mha", "b": tmp_path / "b.nii.gz"}
    explicit = tmp_path / "c_mask.nii.gz"
    assert find_scans([explicit]) == {"c_mask": explicit}


def test_overwriting_leaves_files_that_no_run_wrote(model: Path, tmp_path: Path) -> None:
    scan, output = scan_file(tmp_path / "scan.nii.gz"), tmp_path / "out"
    assert segment(model, output, scan) == 0
    for name in ("notes.json", "figure.png"):
        (output / name).write_text("{}")
    assert segment(model, output, scan, "--rule", "none", "--overwrite") == 0
    assert (output / "notes.json").read_text() == (output / "figure.png").read_text() == "{}"
    assert (output / "scan.png").is_file()
    assert record(output)["scans"]["scan"]["status"] == "done"


def test_a_finished_scan_that_cannot_be_read_any_more_stops_no_other(model: Path, tmp_path: Path) -> None:
    scans, output = [scan_file(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")], tmp_path / "out"
    assert segment(model, output, scans[0]) == 0
    scans[0].unlink()
    scans[0].symlink_to(scans[0])  # a loop: looking at it is an error
    assert segment(model, output, *scans) == 3
    assert record(output)["scans"]["b"]["status"] == "done"
