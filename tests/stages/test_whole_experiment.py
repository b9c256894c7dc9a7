"""Every stage through the command line, on phantoms: what a user types, and what is then on disk."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mapping_stroke as ms
from mapping_stroke.cli import main
from mapping_stroke.errors import MappingError
from mapping_stroke.images.image import Image, write_image
from mapping_stroke.inference.ensemble import Ensemble, PreparedScan
from mapping_stroke.networks import bundle
from mapping_stroke.pipeline import run_experiment
from mapping_stroke.run_folder import RunFolder, read_sections
from mapping_stroke.stages.settings import ExperimentConfig
from mapping_stroke.training.schemes import SIZES
from mapping_stroke.work import StageResult
from phantoms import AFFINE, LEARNING, SHAPE, write_phantoms
from small_models import write_seeing_model

SCHEMES = ("default", "dice-topk10", "residual", "self-training")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, learning: None) -> RunFolder:
    """A finished experiment."""
    root = tmp_path_factory.mktemp("experiment")
    data, folder = write_phantoms(root / "data"), str(root / "run")
    assert main(["prepare", str(data), "-o", folder]) == 0
    assert main(["folds", folder, "--number", "2"]) == 0
    assert main(["train", folder, "--size", "tiny", "--device", "cpu"]) == 0
    for stage in ("predict", "postprocess", "evaluate", "report"):
        assert main([stage, folder]) == 0, stage
    return RunFolder(root / "run")


@pytest.fixture(scope="module")
def learning() -> Iterator[None]:
    """Let the size `tiny` be one that learns in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", LEARNING)
        yield


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def modified(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_stage_leaves_its_files(run: RunFolder) -> None:
    for path in (run.cases_csv, run.folds_csv, run.scores_csv, run.report_html, run.config_toml):
        assert path.is_file(), path
    for scheme in SCHEMES:
        for fold in (0, 1):
            names = {path.name for path in run.member(scheme, fold).iterdir()}
            assert names == {
                "curves.png",
                "environments",
                "epochs.csv",
                "member.json",
                "recipe.json",
                "weights.safetensors",
            }
    for method in (*SCHEMES, "ensemble"):
        maps = sorted(path.name for path in run.probabilities(method).glob("*.nii.gz"))
        assert maps == [f"p{number}_probability.nii.gz" for number in range(5)]


def test_each_member_and_stage_records_its_environment(run: RunFolder) -> None:
    stages = [run.environments(name) for name in ("prepare", "folds", "predict", "postprocess", "evaluate")]
    for folder in (*stages, *(run.member(scheme, fold) / "environments" for scheme in SCHEMES for fold in (0, 1))):
        (record,) = folder.iterdir()
        assert {"mapping-stroke", "commit", "processor", "memory"} <= json.loads(record.read_text()).keys(), folder
    assert json.loads(next(run.member("default", 0).glob("environments/*")).read_text())["device"] == "cpu"


def test_the_arrays_of_a_scan_are_stored_once(run: RunFolder) -> None:
    scans = sorted(path.parent.name for path in run.arrays.rglob("*_scan.npy"))
    assert scans == ["p0", "p1", "p2", "p3", "p4_pseudo"]
    assert len(list(run.arrays.rglob("p4_pseudo/*_mask.npy"))) == 2


def test_the_settings_are_those_that_all_members_share(run: RunFolder) -> None:
    assert read_sections(run.config_toml)["train"] == {"size": "tiny", "variant": "paper", "seed": 0}


def test_each_epoch_has_its_record(run: RunFolder) -> None:
    rows = read(run.member("residual", 1) / "epochs.csv")
    assert list(rows[0]) == [
        "epoch", "loss", "foreground_dice", "validation_loss", "learning_rate", "seconds", "steps_per_second",
    ]  # fmt: skip
    assert [row["epoch"] for row in rows] == ["0", "1"]


def test_the_networks_learn_cases_they_never_saw(run: RunFolder) -> None:
    dice = [float(row["dice"]) for row in read(run.scores_csv) if row["method"] == "ensemble-pp"]
    assert len(dice) == 4
    assert np.mean(dice) > 0.7


def test_a_labelled_case_is_predicted_by_its_own_fold_alone(run: RunFolder) -> None:
    folds = {row["case_id"]: row["fold"] for row in read(run.folds_csv)}
    for case_id, fold in folds.items():
        sidecar = json.loads((run.probabilities("ensemble") / f"{case_id}_probability.json").read_text())
        assert set(sidecar["members"]) == {f"{scheme}, fold {fold}" for scheme in SCHEMES}
    unlabelled = json.loads((run.probabilities("ensemble") / "p4_probability.json").read_text())
    assert len(unlabelled["members"]) == 8


def test_the_ensemble_is_the_mean_of_the_schemes(run: RunFolder) -> None:
    each = [ms.read_image(run.probabilities(s) / "p0_probability.nii.gz").voxels for s in SCHEMES]
    ensemble = ms.read_image(run.probabilities("ensemble") / "p0_probability.nii.gz").voxels
    np.testing.assert_allclose(ensemble, np.mean(each, axis=0), atol=2e-4)


def test_no_validation_case_of_a_fold_trains_its_members_or_their_pseudo_labels(run: RunFolder) -> None:
    folds = {row["case_id"]: int(row["fold"]) for row in read(run.folds_csv)}
    for fold in (0, 1):
        recipe = json.loads((run.member("self-training", fold) / "recipe.json").read_text())["settings"]
        assert {folds[case_id] for case_id in recipe["training"]} == {1 - fold}
        pseudo = recipe["pseudo"]
        assert (pseudo["fold"], list(pseudo["confidence"])) == (fold, ["p4"])
        assert pseudo["scheme"] in SCHEMES[:3]
        member = json.loads((run.member(pseudo["scheme"], fold) / "member.json").read_text())
        assert pseudo["weights_sha256"] == member["weights_sha256"]
        labels = json.loads((run.pseudo_labels(fold) / "provenance.json").read_text())
        assert pseudo == labels | {"confidence_floor": None, "left_out": []}


def test_a_repeated_stage_makes_nothing_anew(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = modified(run.path / "train") | modified(run.path / "predict")
    assert main(["train", str(run.path), "--size", "tiny", "--device", "cpu"]) == 0
    assert main(["predict", str(run.path)]) == 0
    after = modified(run.path / "train") | modified(run.path / "predict")
    assert after == before
    assert "already trained" in capsys.readouterr().out


def test_other_settings_do_not_overwrite_members(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = modified(run.path / "train")
    assert main(["train", str(run.path), "--size", "tiny", "--seed", "9", "--device", "cpu"]) == 2
    assert "holds a member trained with other settings" in capsys.readouterr().err
    assert modified(run.path / "train") == before


def test_a_new_scan_is_segmented_on_its_own_grid(run: RunFolder, tmp_path: Path) -> None:
    scan = run.path.parent / "data" / "p4_T1w.nii.gz"
    out = tmp_path / "out"
    assert main(["segment", str(scan), "-o", str(out), "--model", str(run.path), "--device", "cpu"]) == 0
    written = {path.name for path in out.iterdir()}
    assert {
        "p4_T1w_mask.nii.gz",
        "p4_T1w_probability.nii.gz",
        "p4_T1w_uncertainty.nii.gz",
        "p4_T1w_lesions.tsv",
        "p4_T1w.png",
        "p4_T1w.json",
        "run.json",
    } <= written
    image, mask = ms.read_image(scan), ms.read_image(out / "p4_T1w_mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, image.affine)
    with pytest.warns(UserWarning, match="less than a brain"):
        python = ms.segment(scan, model=run.path, device="cpu")
    np.testing.assert_array_equal(python.mask, mask.voxels > 0)
    lesions = (out / "p4_T1w_lesions.tsv").read_text().splitlines()
    assert len(lesions) == 1 + len(python.lesions)
    before = modified(out)
    assert main(["segment", str(scan), "-o", str(out), "--model", str(run.path), "--device", "cpu"]) == 0
    assert {k: v for k, v in modified(out).items() if "p4" in k} == {k: v for k, v in before.items() if "p4" in k}


def test_damaged_bookkeeping_is_made_anew(run: RunFolder, tmp_path: Path) -> None:
    for path in (
        run.probabilities("ensemble") / "p0_probability.json",
        run.pseudo_labels(0) / "provenance.json",
        run.cases_csv.with_name("checked.txt"),
    ):
        whole = path.read_bytes()
        path.write_bytes(b"\xff[")
        for stage in (["prepare", str(run.path.parent / "data"), "-o"], ["predict"]):
            assert main([*stage, str(run.path)]) == 0
        assert main(["train", str(run.path), "--size", "tiny", "--device", "cpu"]) == 0
        assert path.read_bytes() == whole


def test_a_scan_that_broke_loses_its_maps_and_stops_no_other(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, copy.path)
    scan = run.path.parent / "data" / "p4_T1w.nii.gz"
    whole = scan.read_bytes()
    try:
        scan.write_bytes(whole[:100])
        assert main(["predict", str(copy.path)]) == 3
    finally:
        scan.write_bytes(whole)
    assert "p4: " in capsys.readouterr().err
    assert len(list(copy.probabilities("ensemble").glob("*.nii.gz"))) == 4
    assert main(["postprocess", str(copy.path)]) == 0
    assert len(list(copy.masks("ensemble-pp").glob("*.nii.gz"))) == 4


def test_a_failure_of_the_engine_stops_no_other_case(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, copy.path)
    for case_id in ("p0", "p4"):
        (copy.probabilities("ensemble") / f"{case_id}_probability.json").unlink()
    real, scans = Ensemble.prepare, []

    def fail_first(self: Ensemble, scan: Image) -> PreparedScan:
        scans.append(scan)
        if len(scans) == 1:
            raise RuntimeError("out of GPU memory")
        return real(self, scan)

    monkeypatch.setattr(Ensemble, "prepare", fail_first)
    assert main(["predict", str(copy.path)]) == 3
    assert len(scans) == 2
    assert "p0: RuntimeError: out of GPU memory" in capsys.readouterr().err


@pytest.mark.slow
def test_an_experiment_with_a_failed_case_ends_with_status_3(run: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(run.path, copy.path)
    stored = copy.probabilities("ensemble") / "p0_probability.json"
    data, config = run.path.parent / "data", ExperimentConfig(folds=2, size="tiny", device="cpu")
    assert run_experiment(data, copy, config) == StageResult((copy.report_html,))
    for masks in copy.path.glob("postprocess/*/p0_mask.nii.gz"):
        masks.unlink()
    (copy.probabilities("default") / "p0_probability.nii.gz").write_bytes(b"")
    assert stored.is_file()
    result = run_experiment(data, copy, config)
    assert (list(result.failed), result.status) == (["postprocess: default/p0"], 3)
    assert copy.report_html.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds", "7"], "no fold 7 in this run; it has 0, 1"),
        (["--schemes", "magic"], "no training scheme 'magic'; expected one of default"),
    ],
)
def test_unknown_folds_and_schemes_are_refused(
    run: RunFolder, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(run.path), "--size", "tiny", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_stages_before_their_time_name_the_one_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(tmp_path)]) == 2
    assert "run `mapping prepare" in capsys.readouterr().err
    assert main(["prepare", str(write_phantoms(tmp_path / "data", unlabelled=0)), "-o", str(tmp_path / "run")]) == 0
    assert main(["train", str(tmp_path / "run")]) == 2
    assert "run `mapping folds" in capsys.readouterr().err
    assert main(["folds", str(tmp_path / "run"), "--number", "2"]) == 0
    assert main(["predict", str(tmp_path / "run")]) == 2
    assert "run `mapping train" in capsys.readouterr().err


def test_self_training_needs_unlabelled_scans(nano: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    assert main(["prepare", str(write_phantoms(tmp_path / "data", unlabelled=0)), "-o", folder]) == 0
    assert main(["folds", folder, "--number", "2"]) == 0
    train = ["train", folder, "--size", "tiny", "--device", "cpu", "--folds", "0", "--schemes", "self-training"]
    assert main(train) == 2
    assert "needs unlabelled scans" in capsys.readouterr().err


def test_the_bundled_model_is_used_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path / "models")
    data = write_phantoms(tmp_path / "data", 1, 0)
    with pytest.raises(MappingError, match="no bundled model"):
        ms.segment(data / "p0_T1w.nii.gz")
    with pytest.raises(MappingError, match="holds no trained member"):
        ms.segment(data / "p0_T1w.nii.gz", model=data)
    write_seeing_model(tmp_path / "models" / "default.mapping")
    with pytest.warns(UserWarning, match="less than a brain"):
        found = ms.segment(data / "p0_T1w.nii.gz")
    assert len(found.lesions) > 0
    assert list(found.seconds) == ["place", "prepare", "predict", "postprocess"]


def test_a_scan_that_broke_after_its_check_is_named(
    nano: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = write_phantoms(tmp_path / "data", unlabelled=0), str(tmp_path / "run")
    assert main(["prepare", str(data), "-o", folder]) == 0
    assert main(["folds", folder, "--number", "2"]) == 0
    write_image(data / "p2_T1w.nii.gz", np.zeros(SHAPE, np.float32), AFFINE)
    assert main(["train", folder, "--size", "tiny", "--device", "cpu", "--schemes", "default"]) == 2
    assert "case p2: the scan is zero everywhere" in capsys.readouterr().err
