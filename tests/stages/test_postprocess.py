"""Masks of a run and of any folder of maps."""

import errno
from pathlib import Path

import numpy as np
import pytest

from broken_disk import fail_to_look_at
from mapping_stroke.cli import main
from mapping_stroke.errors import CaseError, ConfigError, RunFolderError
from mapping_stroke.files import read_json
from mapping_stroke.images.image import Mask, read_image, write_image
from mapping_stroke.run_folder import RunFolder, read_sections
from mapping_stroke.stages import postprocess as module
from mapping_stroke.stages.postprocess import find_maps, postprocess_folder, postprocess_run
from predicted_runs import LABELLED, METHODS, SHAPE, UNLABELLED, write_predicted_run, write_probability


def read_masks(folder: Path) -> dict[str, Mask]:
    return {path.name: read_image(path).voxels > 0 for path in sorted(folder.glob("*.nii.gz"))}


def written_at(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.nii.gz")}


def touch_nothing(folder: Path) -> dict[str, int]:
    """Make the masks look old, so that a new one is told from it."""
    import os

    for path in folder.glob("*.nii.gz"):
        os.utime(path, ns=(0, 0))
    return written_at(folder)


def test_every_method_gets_masks_and_the_ensemble_also_with_the_rule(tmp_path: Path) -> None:
    run = write_predicted_run(tmp_path / "run")
    assert postprocess_run(run, "challenge").failed == {}
    files = [f"{case_id}_mask.nii.gz" for case_id in (*LABELLED, UNLABELLED)]
    for method in METHODS:
        masks = read_masks(run.masks(method))
        assert list(masks) == files
        assert np.argwhere(masks[files[0]]).tolist() == [[1, 1, 1], [4, 3, 2]]
        assert read_json(run.masks(method) / "settings.json")["settings"]["rule"] == "none"
    final = read_masks(run.masks("ensemble-pp"))
    assert np.argwhere(final[files[0]]).tolist() == [[1, 1, 1]]
    assert read_json(run.masks("ensemble-pp") / "settings.json")["settings"]["rule"] == "challenge"
    assert read_sections(run.config_toml)["postprocess"]["rule"] == "challenge"


def test_a_run_without_an_ensemble_has_no_final_masks(tmp_path: Path) -> None:
    run = write_predicted_run(tmp_path / "run")
    for path in run.probabilities("ensemble").glob("*.nii.gz"):
        path.unlink()
    assert postprocess_run(run).failed == {}
    assert sorted(path.name for path in (run.path / "postprocess").iterdir()) == ["default", "residual"]


def test_masks_that_match_are_not_made_again(tmp_path: Path) -> None:
    for case_id in ("one", "two"):
        write_probability(tmp_path / "maps", case_id)
    postprocess_folder(tmp_path / "maps", tmp_path / "masks")
    before = touch_nothing(tmp_path / "masks")
    write_probability(tmp_path / "maps", "two", np.full(SHAPE, 0.8, np.float32))
    postprocess_folder(tmp_path / "maps", tmp_path / "masks")
    after = written_at(tmp_path / "masks")
    assert after["one_mask.nii.gz"] == before["one_mask.nii.gz"]
    assert read_masks(tmp_path / "masks")["two_mask.nii.gz"].all()


def test_another_rule_makes_all_masks_again(tmp_path: Path) -> None:
    write_probability(tmp_path / "maps", "one")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks", "challenge")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks", "none")
    assert read_masks(tmp_path / "masks")["one_mask.nii.gz"].sum() == 2


@pytest.mark.parametrize("rule", ["challenge", "paper"])
def test_a_rule_that_counts_voxels_says_once_what_its_limit_is(
    rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case_id in ("one", "two"):
        write_probability(tmp_path / "maps", case_id)  # voxels of 2 mm3
    assert main(["postprocess", str(tmp_path / "maps"), "-o", str(tmp_path / "masks"), "--rule", rule]) == 0
    told = capsys.readouterr().err
    assert told.count("warning") == 1
    assert f"rule {rule}: a load is small below 3000 voxels, which is 6 mL with voxels of 2 mm3, not 3 mL" in told
    assert "`--rule mapping`" in told


@pytest.mark.parametrize("rule", ["mapping", "none"])
def test_other_rules_say_nothing_about_voxels(rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_probability(tmp_path / "maps", "one")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks", rule)
    assert capsys.readouterr().err == ""


def test_voxels_of_1_mm3_need_no_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "maps" / "one_probability.nii.gz", np.zeros(SHAPE, np.float32), np.eye(4))
    postprocess_folder(tmp_path / "maps", tmp_path / "masks", "challenge")
    assert capsys.readouterr().err == ""


def test_a_run_warns_of_its_rule_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_predicted_run(tmp_path / "run")
    postprocess_run(run, "challenge")
    assert capsys.readouterr().err.count("3000 voxels") == 1


def test_a_lost_mask_or_a_damaged_record_is_made_again(tmp_path: Path) -> None:
    write_probability(tmp_path / "maps", "one")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks")
    (tmp_path / "masks" / "one_mask.nii.gz").unlink()
    postprocess_folder(tmp_path / "maps", tmp_path / "masks")
    (tmp_path / "masks" / "settings.json").write_text("{}")
    before = touch_nothing(tmp_path / "masks")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks")
    assert written_at(tmp_path / "masks") != before


def test_a_broken_map_is_told_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    maps = tmp_path / "maps"
    write_probability(maps, "good")
    write_probability(maps, "wild", np.full(SHAPE, 1.5, np.float32))
    broken = write_probability(maps, "broken")
    broken.write_bytes(broken.read_bytes()[:40])
    assert list(postprocess_folder(maps, tmp_path / "masks").failed) == ["broken", "wild"]
    assert list(read_masks(tmp_path / "masks")) == ["good_mask.nii.gz"]
    told = capsys.readouterr().err
    assert "broken_probability.nii.gz: cannot be read" in told
    assert "wild_probability.nii.gz: probabilities must lie in [0, 1]" in told


def test_a_map_without_memory_for_it_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for case_id in ("one", "two"):
        write_probability(tmp_path / "maps", case_id)
    real = module._postprocess_file

    def fail(source: Path, mask: Path, rule: str) -> float:
        if source.name.startswith("one"):
            raise MemoryError
        return real(source, mask, rule)

    monkeypatch.setattr(module, "_postprocess_file", fail)
    assert list(postprocess_folder(tmp_path / "maps", tmp_path / "masks").failed) == ["one"]
    assert list(read_masks(tmp_path / "masks")) == ["two_mask.nii.gz"]
    assert "one_probability.nii.gz: MemoryError: out of memory; close" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "maps" / "two_probability.nii.gz").unlink()
    with pytest.raises(CaseError, match=r"one_probability\.nii\.gz: MemoryError: out of memory"):
        postprocess_folder(tmp_path / "maps", tmp_path / "masks")


def test_the_old_mask_of_a_map_that_broke_is_removed(tmp_path: Path) -> None:
    path = write_probability(tmp_path / "maps", "one")
    write_probability(tmp_path / "maps", "two")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks")
    path.write_bytes(b"no image")
    assert list(postprocess_folder(tmp_path / "maps", tmp_path / "masks").failed) == ["one"]
    assert list(read_masks(tmp_path / "masks")) == ["two_mask.nii.gz"]


def test_a_folder_in_the_place_of_a_mask_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for case_id in ("one", "two"):
        write_probability(tmp_path / "maps", case_id)
    (tmp_path / "masks" / "one_mask.nii.gz").mkdir(parents=True)
    assert list(postprocess_folder(tmp_path / "maps", tmp_path / "masks").failed) == ["one"]
    assert (tmp_path / "masks" / "two_mask.nii.gz").is_file()
    assert "one_probability.nii.gz: IsADirectoryError: " in " ".join(capsys.readouterr().err.split())


def test_failures_of_a_run_name_method_and_case(tmp_path: Path) -> None:
    run = write_predicted_run(tmp_path / "run")
    (run.probabilities("ensemble") / "sub-a_probability.nii.gz").write_bytes(b"")
    assert list(postprocess_run(run).failed) == ["ensemble/sub-a", "ensemble-pp/sub-a"]


def test_the_mask_lies_where_the_map_lies_and_mapping_counts_mm3(tmp_path: Path) -> None:
    path = write_probability(tmp_path / "maps", "one")
    postprocess_folder(tmp_path / "maps", tmp_path / "masks", "mapping")
    np.testing.assert_array_equal(read_image(tmp_path / "masks" / "one_mask.nii.gz").affine, read_image(path).affine)


def test_a_run_without_predictions_is_refused(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match="run `mapping predict"):
        postprocess_run(run)
    run.probabilities("ensemble").mkdir(parents=True)
    with pytest.raises(RunFolderError, match="holds no probability map; run `mapping predict"):
        postprocess_run(run)


def test_a_folder_without_maps_and_an_unknown_rule_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"holds no <case>_probability\.nii\.gz"):
        find_maps(tmp_path)
    with pytest.raises(ConfigError, match="unknown post-processing rule"):
        postprocess_folder(tmp_path, tmp_path / "masks", "best")
    assert not (tmp_path / "masks").exists()


def test_a_map_that_the_system_cannot_look_at_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for case_id in ("one", "two"):
        write_probability(tmp_path / "maps", case_id)
    fail_to_look_at("one_probability", monkeypatch, errno.ESTALE)
    assert list(postprocess_folder(tmp_path / "maps", tmp_path / "masks").failed) == ["one"]
    assert "one_probability.nii.gz: cannot be read ([Errno 116] Stale file handle" in capsys.readouterr().err
    assert list(read_masks(tmp_path / "masks")) == ["two_mask.nii.gz"]


def test_a_full_disk_stops_the_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for case_id in ("one", "two"):
        write_probability(tmp_path / "maps", case_id)

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_image", fail)
    with pytest.raises(OSError, match="No space left"):
        postprocess_folder(tmp_path / "maps", tmp_path / "masks")
