"""Scores of a run and of any folder of masks."""

import errno
import gzip
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from broken_disk import fail_to_look_at
from mapping_stroke.errors import CaseError, ConfigError, ImageError, RunFolderError
from mapping_stroke.evaluation.profiles import ATLAS2022, ISLES2026
from mapping_stroke.evaluation.tables import SCORE_COLUMNS, SUMMARY_COLUMNS
from mapping_stroke.files import read_csv
from mapping_stroke.images.image import Mask, read_image, read_mask, reorient, write_image
from mapping_stroke.run_folder import RunFolder, read_sections
from mapping_stroke.stages import evaluate as score_files
from mapping_stroke.stages.evaluate import evaluate_folder, evaluate_run, pair_folders
from mapping_stroke.stages.postprocess import postprocess_run
from predicted_runs import AFFINE, LABELLED, METHODS, SHAPE, reference_mask, write_predicted_run, write_probability


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run as `postprocess` leaves it."""
    run = write_predicted_run(tmp_path / "run")
    postprocess_run(run)
    return run


def write_masks(folder: Path, masks: Mapping[str, Mask | np.ndarray]) -> Path:
    for name, mask in masks.items():
        write_image(folder / f"{name}.nii.gz", mask, AFFINE)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two predicted masks, one right and one empty, and their references."""
    right, nothing = reference_mask(), np.zeros(SHAPE, np.bool_)
    masks = write_masks(tmp_path / "team", {"right_mask": right, "empty_mask": nothing})
    references = write_masks(tmp_path / "references", {"right_mask": right, "empty": right * np.float32(255)})
    return masks, references


def test_a_run_gets_one_row_per_method_and_labelled_case(run: RunFolder) -> None:
    assert evaluate_run(run).failed == {}
    rows = read_csv(run.scores_csv)
    methods = ["default", "residual", "ensemble", "ensemble-pp"]
    assert [(row["method"], row["case_id"], row["fold"]) for row in rows] == [
        (method, case_id, str(fold)) for method in methods for fold, case_id in enumerate(LABELLED)
    ]
    assert tuple(rows[0]) == (*SCORE_COLUMNS, *ATLAS2022.keys)
    assert rows[0] == {
        "method": "default", "case_id": "sub-a", "fold": "0", "load_vox": "2", "dice": "0.5",
        "volume_difference_vox": "0.0", "simple_lesion_count": "1.0", "lesion_f1": str(1 / 1.5),
        "hd95_mm": rows[0]["hd95_mm"],
    }  # fmt: skip
    assert float(rows[0]["hd95_mm"]) == pytest.approx(np.percentile([0, np.hypot(6, 2), 0, 1], 95))
    assert rows[-1]["dice"] == str(2 / 3)


def test_a_run_gets_a_summary_over_all_and_per_fold(run: RunFolder) -> None:
    evaluate_run(run)
    rows = read_csv(run.scores_csv.with_name("summary.csv"))
    assert tuple(rows[0]) == SUMMARY_COLUMNS
    assert len(rows) == (len(METHODS) + 1) * 3 * len(ATLAS2022.keys)
    assert rows[0] == {
        "method": "default", "fold": "all", "metric": "dice", "mean": "0.5", "std": "0.0", "cases": "2",
        "undefined": "0",
    }  # fmt: skip
    assert [row["fold"] for row in rows[:15:5]] == ["all", "0", "1"]
    assert read_sections(run.config_toml)["evaluate"] == {"profile": "atlas2022"}


def test_what_is_scored_is_not_scored_again(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_run(run)
    before = run.scores_csv.read_text()
    scored = []

    def count(comparison: score_files.Comparison, *_: object) -> None:
        scored.append(f"{comparison.method}/{comparison.case_id}")
        raise ImageError("not now")

    monkeypatch.setattr(score_files, "_score", count)
    assert evaluate_run(run).failed == {}
    assert (scored, run.scores_csv.read_text()) == ([], before)
    write_image(run.masks("default") / "sub-b_mask.nii.gz", reference_mask(), AFFINE)
    assert list(evaluate_run(run).failed) == scored == ["default/sub-b"]
    (run.scores_csv.parent / "scored.json").write_text("[]")
    assert len(evaluate_run(run).failed) == 8


def test_a_mask_that_cannot_be_scored_stops_no_other(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    score = score_files._score

    def fail(comparison: score_files.Comparison, *more: object) -> object:
        if (comparison.method, comparison.case_id) == ("default", "sub-a"):
            raise ValueError("no distance")
        return score(comparison, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(score_files, "_score", fail)
    assert list(evaluate_run(run).failed) == ["default/sub-a"]
    assert len(read_csv(run.scores_csv)) == 7
    assert "default/sub-a: ValueError: no distance" in capsys.readouterr().err


def test_an_interruption_keeps_what_is_scored(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    score, scored = score_files._score, []

    def interrupt_at_third(*arguments: object) -> object:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(arguments)
        return score(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(score_files, "_score", interrupt_at_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate_run(run)
    assert not run.scores_csv.exists()
    scored.clear()
    monkeypatch.setattr(score_files, "_score", lambda *arguments: scored.append(arguments) or score(*arguments))
    assert evaluate_run(run).failed == {}
    assert len(scored) == 6


def test_cases_without_a_mask_are_left_out_and_told(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (run.masks("residual") / "sub-b_mask.nii.gz").unlink()
    assert evaluate_run(run).failed == {}
    assert len(read_csv(run.scores_csv)) == 7
    assert "residual: 1 of 2 labelled cases have no mask and are left out" in capsys.readouterr().err


def test_a_broken_file_fails_its_case_alone(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (run.masks("default") / "sub-a_mask.nii.gz").write_bytes(b"")
    assert list(evaluate_run(run).failed) == ["default/sub-a"]
    assert len(read_csv(run.scores_csv)) == 7
    assert "warning: default/sub-a: " in capsys.readouterr().err


def test_a_mask_on_another_grid_fails_its_case_alone(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(run.masks("default") / "sub-a_mask.nii.gz", reference_mask(), np.eye(4))
    write_image(run.masks("default") / "sub-b_mask.nii.gz", reference_mask()[1:], AFFINE)
    assert list(evaluate_run(run).failed) == ["default/sub-a", "default/sub-b"]
    told = capsys.readouterr().err
    assert "mm away from its reference" in told
    assert "resample the mask onto the reference's grid" in told


def turn(path: Path, axes: str) -> None:
    image = reorient(read_image(path), axes)
    write_image(path, image.voxels, image)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR"])
def test_masks_and_maps_are_laid_on_the_reference_whichever_way_their_axes_point(run: RunFolder, axes: str) -> None:
    assert evaluate_run(run, "isles2026").failed == {}
    before = read_csv(run.scores_csv)
    for stage in (run.masks("default").parent, run.probabilities("default").parent):
        for path in stage.glob("*/sub-*.nii.gz"):
            turn(path, axes)
    assert evaluate_run(run, "isles2026").failed == {}
    assert read_csv(run.scores_csv) == before


def test_a_map_on_another_grid_fails_its_case_alone(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    maps = run.probabilities("default")
    there = read_image(maps / "sub-a_probability.nii.gz")
    write_image(maps / "sub-a_probability.nii.gz", there.voxels, AFFINE @ np.diag([-1.0, 1, 1, 1]))
    write_image(maps / "sub-b_probability.nii.gz", there.voxels[1:], AFFINE)
    assert list(evaluate_run(run, "isles2026").failed) == ["default/sub-a", "default/sub-b"]
    told = " ".join(capsys.readouterr().err.split())
    assert "sub-a_probability.nii.gz: the probability map lies up to" in told
    assert "sub-b_probability.nii.gz: the probability map has shape" in told
    assert "resample the map onto the reference's grid" in told
    assert evaluate_run(run, "atlas2022").failed == {}


def test_what_is_doubtful_about_a_reference_is_told(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Distances in mm follow its header."""
    reference = folders[1] / "right_mask.nii.gz"
    whole = bytearray(gzip.decompress(reference.read_bytes()))
    struct.pack_into("<f", whole, 80, 0.0)
    reference.write_bytes(gzip.compress(whole))
    assert evaluate_folder(*folders, tmp_path / "out").failed == {}
    assert "right_mask.nii.gz: the header gives voxels of 0 x " in capsys.readouterr().err


def test_isles2026_has_its_own_columns_and_reads_the_maps(run: RunFolder) -> None:
    assert evaluate_run(run, "isles2026").failed == {}
    rows = read_csv(run.scores_csv)
    assert tuple(rows[0]) == (*SCORE_COLUMNS, *ISLES2026.keys)
    assert [float(row["pr_auc"]) for row in rows] == pytest.approx([1 / 2 + (1 / 2 + 2 / 3) / 4] * len(rows))


def test_a_folder_is_scored_against_a_folder(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert evaluate_folder(*folders, tmp_path / "out").failed == {}
    rows = read_csv(tmp_path / "out" / "scores.csv")
    assert [(row["method"], row["case_id"], row["fold"], row["dice"], row["hd95_mm"]) for row in rows] == [
        ("team", "empty", "", "0.0", ""),
        ("team", "right", "", "1.0", "0.0"),
    ]
    summary = {row["metric"]: row for row in read_csv(tmp_path / "out" / "summary.csv")}
    assert (summary["hd95_mm"]["mean"], summary["hd95_mm"]["undefined"], summary["hd95_mm"]["std"]) == ("0.0", "1", "")


def test_a_map_beside_a_mask_is_scored_by_isles2026_alone(folders: tuple[Path, Path]) -> None:
    path = write_probability(folders[0], "right")
    assert [pair.probability for pair in pair_folders(*folders, "isles2026")] == [None, path]
    assert [pair.probability for pair in pair_folders(*folders, "atlas2022")] == [None, None]


def test_the_summary_is_shown(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate_run(run)
    shown = capsys.readouterr().out
    assert "0.50 ± 0.00" in shown
    assert "95HD is undefined where a mask is empty" in shown
    assert f"Scores: {run.scores_csv}\nScores: {run.scores_csv.with_name('summary.csv')}\n" in shown


# Refusals


def test_a_mask_without_a_reference_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, references = folders
    write_masks(masks, {"new_mask": reference_mask()})
    with pytest.raises(CaseError, match="holds 0 references of new, expected one file new_mask or new"):
        evaluate_folder(masks, references, tmp_path / "out")
    write_masks(references, {"new_mask": reference_mask(), "new": reference_mask()})
    with pytest.raises(CaseError, match="holds 2 references of new"):
        evaluate_folder(masks, references, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_masks_and_an_unknown_profile_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"holds no <case>_mask\.nii\.gz"):
        evaluate_folder(tmp_path, folders[1], tmp_path / "out")
    with pytest.raises(ConfigError, match="unknown scoring profile"):
        evaluate_folder(*folders, tmp_path / "out", "brats")


def test_a_run_without_masks_is_refused(tmp_path: Path) -> None:
    run = write_predicted_run(tmp_path / "run")
    with pytest.raises(RunFolderError, match="run `mapping postprocess"):
        evaluate_run(run)
    (run.path / "postprocess").mkdir()
    with pytest.raises(RunFolderError, match="holds no mask of a labelled case"):
        evaluate_run(run)


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 0.9999), (0, 0), (1, 1)])
def test_a_mask_holds_one_positive_value(values: tuple[float, float], tmp_path: Path) -> None:
    voxels = np.resize(np.float32(values), SHAPE)
    write_image(tmp_path / "mask.nii.gz", voxels, AFFINE)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.nii.gz")[0], voxels > 0)


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 0.4, 0.9), (-1, 0, 1)])
def test_labels_and_probabilities_are_no_mask(values: tuple[float, ...], tmp_path: Path) -> None:
    write_image(tmp_path / "labels.nii.gz", np.resize(np.float32(values), SHAPE), AFFINE)
    with pytest.raises(ImageError, match="is not a mask, it has more than two values"):
        read_mask(tmp_path / "labels.nii.gz")


def test_a_mask_that_the_system_cannot_look_at_stops_no_other(
    run: RunFolder, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks, references = folders
    fail_to_look_at("right_mask", monkeypatch, errno.EIO)
    assert list(evaluate_folder(masks, references, tmp_path / "out").failed) == ["team/right"]
    assert [row["case_id"] for row in read_csv(tmp_path / "out" / "scores.csv")] == ["empty"]
    fail_to_look_at(f"{LABELLED[0]}_mask", monkeypatch, errno.EIO)
    assert set(evaluate_run(run).failed) == {f"{method}/{LABELLED[0]}" for method in (*METHODS, "ensemble-pp")}
    assert len(read_csv(run.scores_csv)) == 4
