"""Equal quality: how cases are split, what is kept, how the verdict is told; nobody is trained here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bench_command import run_bench
from benchmarks import quality
from benchmarks.commands import BenchError, Cost
from benchmarks.quality import (
    Program,
    Quality,
    QualityResult,
    QualityRun,
    as_nifti,
    bench_quality,
    describe_quality,
    link_scans,
    score_masks,
    split_cohort,
)
from benchmarks.training_task import LabelledScan
from cohorts import write_atlas
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.networks.cards import MemberCard
from phantoms import AFFINE, phantom, write_phantoms
from small_models import PLAIN, write_trained_member
from training_jobs import TASK, write_programs


def result_of(ours: Sequence[float], theirs: Sequence[float]) -> QualityResult:
    def runs(program: Program, dices: Sequence[float]) -> list[QualityRun]:
        return [QualityRun(program, seed, {"dice": (d, d), "lesion_f1": (0.5, 0.1)}) for seed, d in enumerate(dices)]

    return QualityResult((*runs("nnunet", theirs), *runs("ours", ours)), 42, 21, "bfloat16", "nnU-Net: nnunetv2 2")


def test_a_third_of_the_cases_is_scored_and_nobody_is_in_both(tmp_path: Path) -> None:
    training, validation = split_cohort(write_atlas(tmp_path, loads=range(2, 11), unlabelled=1))
    assert (len(training), len(validation)) == (6, 3)
    assert {case.case_id for case in training}.isdisjoint(case.case_id for case in validation)
    assert (training, validation) == split_cohort(tmp_path)


def test_a_cohort_of_few_scans_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="has 3 labelled scans, expected 6 or more"):
        split_cohort(write_atlas(tmp_path))


def test_scans_are_linked_under_the_names_that_nnunet_wants(tmp_path: Path) -> None:
    cases, _ = split_cohort(write_phantoms(tmp_path / "data", 6, 0))
    for _ in range(2):
        link_scans(cases, tmp_path / "scans")
    assert read_image(tmp_path / "scans" / f"{cases[0].case_id}_0000.nii.gz").shape == (20, 22, 18)


def test_scans_and_masks_of_other_formats_are_copied_for_nnunet(tmp_path: Path) -> None:
    voxels, lesion = phantom(0)
    nib.save(nib.MGHImage(voxels, AFFINE), tmp_path / "a.mgz")
    write_image(tmp_path / "a_mask.nii", lesion, AFFINE)
    write_image(tmp_path / "b.nii.gz", voxels, AFFINE)
    names = (("a", "a.mgz", "a_mask.nii"), ("b", "b.nii.gz", "a_mask.nii"))
    cases = [LabelledScan(case, str(tmp_path / scan), str(tmp_path / mask)) for case, scan, mask in names]
    for _ in range(2):
        same = as_nifti(cases, tmp_path / "nifti")
        link_scans(same, tmp_path / "scans")
    np.testing.assert_array_equal(read_image(tmp_path / "scans" / "a_0000.nii.gz").voxels, voxels)
    np.testing.assert_array_equal(read_image(Path(same[0].mask)).voxels > 0, lesion)
    assert same[1].scan == str(tmp_path / "b.nii.gz")
    assert {path.name for path in (tmp_path / "nifti").iterdir()} == {
        "a_scan.nii.gz",
        "a_mask.nii.gz",
        "b_mask.nii.gz",
    }


def test_masks_of_both_programs_are_scored_and_a_missing_one_told(tmp_path: Path) -> None:
    cases, _ = split_cohort(write_phantoms(tmp_path / "data", 6, 0))
    masks = tmp_path / "masks"
    for case, ending in zip(cases[:2], (".nii.gz", "_0000_mask.nii.gz"), strict=True):
        truth = read_image(Path(case.mask))
        write_image(masks / f"{case.case_id}{ending}", truth.voxels > 0, truth)
    assert score_masks(cases[:2], masks) == {"dice": [1.0, 1.0], "lesion_f1": [1.0, 1.0]}
    with pytest.raises(BenchError, match=f"has no mask of {cases[2].case_id}"):
        score_masks(cases[:3], masks)


def test_what_is_scored_is_kept_and_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort, programs = write_phantoms(tmp_path / "data", 6, 0), write_programs(tmp_path / "bin")
    config = Quality(cohort, programs, tmp_path / "work", seeds=2)
    monkeypatch.setattr(quality, "TASK", TASK)
    called: list[str] = []

    def stand_in(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
        """Every prediction is the reference; our members get the card that is read for its precision."""
        called.append(
            next(
                word
                for word in ("preprocess", "driver", "our_training", "predict", "segment")
                if any(word in part for part in command[:4])
            )
        )
        if "our_training" in called[-1]:
            card = MemberCard("default", 0, PLAIN, PreprocessSpec(3.0), (8, 8, 8), {"precision": "float16"})
            folder = Path(command[-1]).with_suffix("")
            if not folder.is_dir():
                write_trained_member(folder, card)
        if "-o" in command:
            for case in split_cohort(cohort)[1]:
                truth = read_image(Path(case.mask))
                write_image(Path(command[command.index("-o") + 1]) / f"{case.case_id}.nii.gz", truth.voxels > 0, truth)
        return Cost(1.0, 1.0)

    monkeypatch.setattr(quality, "run_command", stand_in)
    monkeypatch.setattr(quality, "nnunet_versions", lambda nnunet: "nnU-Net: nnunetv2 2")
    result = bench_quality(config)
    assert sorted(called) == ["driver"] * 2 + ["our_training"] * 2 + ["predict"] * 2 + ["preprocess"] + ["segment"] * 2
    assert [(run.program, run.seed) for run in result.runs] == [("nnunet", 0), ("nnunet", 1), ("ours", 0), ("ours", 1)]
    assert result.precision == "float16"
    called.clear()
    assert bench_quality(config) == result
    bench_quality(replace(config, seeds=3))
    assert sorted(called) == ["driver", "our_training", "predict", "segment"]


@pytest.mark.parametrize(("ours", "verdict"), [((0.41, 0.42, 0.43), "not lower"), ((0.3, 0.3, 0.3), "LOWER")])
def test_the_verdict_compares_means_with_the_spread_of_seeds(ours: tuple[float, ...], verdict: str) -> None:
    text = describe_quality(result_of(ours, (0.42, 0.43, 0.44)), "python -m benchmarks quality")
    assert f"Ours is {verdict} than nnU-Net by more than its seed noise." in text
    assert "the standard deviation over nnU-Net's seeds is 0.0100" in text
    assert "| stock nnU-Net | 2 | 0.4400 | 0.4400 | 0.3000 |" in text
    assert "| stock nnU-Net | 3 | **0.4300** | 0.0100 | 0.3000 |" in text


def test_one_seed_tells_nothing_of_the_noise() -> None:
    text = describe_quality(result_of((0.4,), (0.5,)), "python -m benchmarks quality")
    assert "Ours minus nnU-Net: **-0.1000**; a single seed does not show the noise." in text


def test_the_command_prints_the_result_and_refuses_no_seeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Quality] = []

    def stand_in(config: Quality) -> QualityResult:
        asked.append(config)
        return result_of((0.4,), (0.4,))

    monkeypatch.setattr(quality, "bench_quality", stand_in)
    command = ["quality", "data/cohort", "--nnunet", "bin"]
    assert run_bench([*command, "--seeds", "0"]) == 2
    assert "--seeds must be 1 or more" in capsys.readouterr().err
    assert run_bench(command) == 0
    assert [(each, each.folder) for each in asked] == [
        (Quality(Path("data/cohort"), Path("bin"), seeds=3), Path("data/cohort-quality"))
    ]
    assert quality.TITLE in capsys.readouterr().out
