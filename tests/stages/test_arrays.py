"""Arrays are made once, also where several jobs start together, and anew of files that were corrected."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.arrays import write_arrays
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.arrays import make_arrays
from phantoms import AFFINE, write_phantoms

SPEC = PreprocessSpec(spacing_mm=3.0)


@pytest.fixture
def cases(tmp_path: Path) -> list[tuple[str, Path, Path]]:
    data = write_phantoms(tmp_path / "data", labelled=6, unlabelled=0)
    names = [f"p{number}" for number in range(6)]
    return [(name, data / f"{name}_T1w.nii.gz", data / f"{name}_lesion.nii.gz") for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.npy"))}


def modified(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_jobs_that_start_together_end_with_the_same_arrays(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    make_arrays(tmp_path / "alone", cases, SPEC)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(make_arrays, tmp_path / "together", cases, SPEC) for _ in range(3)]
    assert [list(job.result()) for job in jobs] == [[case_id for case_id, _, _ in cases]] * 3
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


def test_what_is_there_is_not_made_again(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    make_arrays(tmp_path / "arrays", cases[:1], SPEC)
    before = modified(tmp_path / "arrays")
    make_arrays(tmp_path / "arrays", cases, SPEC)
    assert modified(tmp_path / "arrays").items() > before.items()


def test_a_corrected_mask_is_prepared_again_and_no_other(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    folder = tmp_path / "arrays"
    old = make_arrays(folder, cases, SPEC)["p1"]
    before = modified(folder)
    lesion_voxels = int(old.mask.sum())
    mask = read_image(cases[1][2]).voxels > 0
    write_image(cases[1][2], mask & (np.arange(mask.shape[0]) < 9)[:, None, None], AFFINE)
    new = make_arrays(folder, cases, SPEC)["p1"]
    assert new.case_id == "p1"
    assert 0 < int(new.mask.sum()) < lesion_voxels
    after = modified(folder)
    assert before.items() < after.items()  # the old ones stay: a training may have them mapped
    assert {name.split("/")[0] for name in after.keys() - before.keys()} == {"p1"}


def test_files_that_are_only_touched_or_gone_prepare_nothing(
    tmp_path: Path, cases: list[tuple[str, Path, Path]]
) -> None:
    make_arrays(tmp_path / "arrays", cases, SPEC)
    before = modified(tmp_path / "arrays")
    os.utime(cases[0][2], (0, 0))
    cases[1][1].unlink()
    assert list(make_arrays(tmp_path / "arrays", cases, SPEC)) == [case_id for case_id, _, _ in cases]
    assert modified(tmp_path / "arrays") == before


def test_arrays_of_an_earlier_version_are_not_believed(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    write_arrays(tmp_path / "arrays", "p0", np.zeros((2, 2, 2), np.float32), np.zeros((2, 2, 2), bool))
    before = modified(tmp_path / "arrays")
    assert make_arrays(tmp_path / "arrays", cases[:1], SPEC)["p0"].lesion_voxels.size
    assert before.items() < modified(tmp_path / "arrays").items()


def test_sets_of_masks_share_the_arrays_of_their_scans(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    scans = tmp_path / "arrays" / "scans"
    alone = make_arrays(tmp_path / "alone" / "0", cases, SPEC)
    for fold in ("0", "1"):
        shared = make_arrays(tmp_path / "arrays" / fold, cases, SPEC, scans)
        for case_id, case in alone.items():
            for name in ("scan", "mask", "lesion_voxels"):
                assert np.array_equal(getattr(shared[case_id], name), getattr(case, name)), (case_id, name)
    before = modified(tmp_path / "arrays")
    assert sum(name.endswith("_scan.npy") for name in before) == len(cases)
    make_arrays(tmp_path / "arrays" / "1", cases, SPEC, scans)
    assert modified(tmp_path / "arrays") == before
    next(scans.rglob("*_scan.npy")).unlink()
    make_arrays(tmp_path / "arrays" / "0", cases, SPEC, scans)
    assert contents(scans).keys() == {name.removeprefix("scans/") for name in before if name.startswith("scans/")}


def test_arrays_alone_train_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    data = write_phantoms(tmp_path / "data", labelled=2)
    assert main(["prepare", str(data), "-o", str(run.path)]) == 0
    assert main(["train", str(run.path), "--size", "tiny", "--arrays-only"]) == 0
    assert len(list(run.arrays.rglob("*_lesion.npy"))) == 2
    assert not run.members.exists()
