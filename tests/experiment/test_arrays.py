"""Arrays are made once, also where several jobs start together."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.experiment.arrays import make_arrays
from mapping_stroke.run_folder import RunFolder
from phantoms import write_phantoms

SPEC = PreprocessSpec(spacing_mm=3.0)


@pytest.fixture
def cases(tmp_path: Path) -> list[tuple[str, Path, Path]]:
    data = write_phantoms(tmp_path / "data", labelled=6, unlabelled=0)
    names = [f"p{number}" for number in range(6)]
    return [(name, data / f"{name}_T1w.nii.gz", data / f"{name}_lesion.nii.gz") for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_jobs_that_start_together_end_with_the_same_arrays(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    make_arrays(tmp_path / "alone", cases, SPEC)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(make_arrays, tmp_path / "together", cases, SPEC) for _ in range(3)]
    assert [list(job.result()) for job in jobs] == [[case_id for case_id, _, _ in cases]] * 3
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")


def test_what_is_there_is_not_made_again(tmp_path: Path, cases: list[tuple[str, Path, Path]]) -> None:
    make_arrays(tmp_path / "arrays", cases[:1], SPEC)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "arrays").iterdir()}
    make_arrays(tmp_path / "arrays", cases, SPEC)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_arrays_alone_train_nothing(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    data = write_phantoms(tmp_path / "data", labelled=2)
    assert main(["prepare", str(data), "-o", str(run.path)]) == 0
    assert main(["train", str(run.path), "--size", "tiny", "--arrays-only"]) == 0
    assert len(list(run.arrays.rglob("*_lesion.npy"))) == 2
    assert not run.members.exists()
