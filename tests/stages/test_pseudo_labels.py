"""Self-training on phantoms: who is labelled, by whom, which labels train, and that none of them judges."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import Stopped, TrainingError
from mapping_stroke.images.image import Probability, read_image, write_image
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages import pseudo_labels
from mapping_stroke.stages.pseudo_labels import choose_labels
from mapping_stroke.training import loop
from mapping_stroke.training.batches import Batch
from mapping_stroke.training.schemes import NONE
from phantoms import AFFINE, write_phantoms

pytestmark = pytest.mark.usefixtures("nano")

UNLABELLED = ("p4", "p5", "p6")
SELF_TRAINING = ("--size", "tiny", "--device", "cpu", "--epochs", "1", "--schemes", "self-training")


@pytest.fixture(scope="module")
def default_only(tmp_path_factory: pytest.TempPathFactory, nano: None) -> RunFolder:
    """Four labelled scans, three without; p4 is a second scan of the person of p0. Only `default` is trained."""
    root = tmp_path_factory.mktemp("self-training")
    run = RunFolder(root / "run")
    assert main(["prepare", str(write_phantoms(root / "data", 4, 3)), "-o", str(run.path)]) == 0
    assert main(["folds", str(run.path), "--number", "2"]) == 0
    rows = read(run.cases_csv)
    for row in rows:
        if row["case_id"] == "p4":
            row["subject"] = next(other["subject"] for other in rows if other["case_id"] == "p0")
    with run.cases_csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main(["train", str(run.path), "--size", "tiny", "--device", "cpu", "--schemes", "default"]) == 0
    return run


@pytest.fixture
def run(default_only: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy to train in."""
    shutil.copytree(default_only.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


class Drawn:
    """Which cases patches were drawn from."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.training: set[str] = set()
        self.validation: set[str] = set()
        self._draw = loop.draw_batch
        patch.setattr(loop, "draw_batch", self.draw)

    def draw(self, cases: Sequence[CaseArrays], *arguments: Any) -> Batch:
        seen = self.validation if arguments[2] is NONE else self.training
        seen |= {case.case_id for case in cases}
        return self._draw(cases, *arguments)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def fold_of(run: RunFolder, case_id: str) -> int:
    return next(int(row["fold"]) for row in read(run.folds_csv) if row["case_id"] == case_id)


def labelled_in(run: RunFolder, fold: int) -> set[str]:
    return {row["case_id"] for row in read(run.folds_csv) if int(row["fold"]) == fold}


def provenance_of(run: RunFolder, fold: int) -> dict[str, Any]:
    card = json.loads((run.member("self-training", fold) / "member.json").read_text())
    return dict(card["training"]["pseudo_labels"])


@contextmanager
def replaced(run: RunFolder, case_id: str) -> Iterator[None]:
    """Another scan in the place of that case's, which other tests read, too."""
    scan = next(Path(row["scan"]) for row in read(run.cases_csv) if row["case_id"] == case_id)
    whole = scan.read_bytes()
    try:
        write_image(scan, np.asarray(0.5 * read_image(scan).voxels, np.float32), AFFINE)
        yield
    finally:
        scan.write_bytes(whole)


@pytest.mark.parametrize("fold", [0, 1])
def test_pseudo_labels_train_and_never_judge(run: RunFolder, fold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(monkeypatch)
    assert main(["train", str(run.path), *SELF_TRAINING, "--folds", str(fold)]) == 0
    of_others = set(UNLABELLED) - ({"p4"} if fold_of(run, "p0") == fold else set())
    assert drawn.validation == labelled_in(run, fold)
    assert drawn.training == labelled_in(run, 1 - fold) | {f"{case_id}_pseudo" for case_id in of_others}
    assert provenance_of(run, fold)["confidence"].keys() == of_others


def test_the_maker_is_named_and_never_saw_who_judges(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    fold = fold_of(run, "p0")
    assert main(["train", str(run.path), *SELF_TRAINING, "--folds", str(fold)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Pseudo-labels of fold {fold}: 2 unlabelled scans, by default" in said
    assert f"Pseudo-labels of fold {fold}: 1 scans of people whose labelled scans validate it are left out" in said
    provenance, maker = provenance_of(run, fold), run.member("default", fold)
    assert (provenance["scheme"], provenance["fold"]) == ("default", fold)
    assert provenance["weights_sha256"] == json.loads((maker / "member.json").read_text())["weights_sha256"]
    assert provenance["bundle_sha256"] == open_bundle(maker).sha256
    assert (provenance["confidence_floor"], provenance["left_out"]) == (None, [])
    assert all(0.5 < mean <= 1 for mean in provenance["confidence"].values())
    recipe = json.loads((maker / "recipe.json").read_text())["settings"]
    assert not labelled_in(run, fold) & set(recipe["training"])


def test_labels_below_the_floor_are_left_out(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = 1 - fold_of(run, "p0")
    train = ["train", str(run.path), *SELF_TRAINING, "--folds", str(fold), "--confidence-floor"]
    assert main([*train, "1.0"]) == 2
    message = f"fold {fold}: none of 3 pseudo-labels reaches --confidence-floor 1.0 (the highest mean confidence is 0."
    assert message in " ".join(capsys.readouterr().err.split())
    labels = run.pseudo_labels(fold)
    confidence = json.loads((labels / "provenance.json").read_text())["confidence"]
    before = {path: path.stat().st_mtime_ns for path in labels.glob("*.nii.gz")}
    lowest, next_lowest = sorted(confidence, key=confidence.get)[:2]
    floor = confidence[next_lowest]
    assert confidence[lowest] < floor
    drawn = Drawn(monkeypatch)
    assert main([*train, str(floor)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"2 of 3 reach the confidence floor of {floor}; 1 left out ({lowest})" in said
    assert drawn.training == labelled_in(run, 1 - fold) | {f"{name}_pseudo" for name in confidence if name != lowest}
    provenance = provenance_of(run, fold)
    assert (provenance["confidence_floor"], provenance["left_out"]) == (floor, [lowest])
    assert provenance["confidence"] == confidence
    assert {path: path.stat().st_mtime_ns for path in labels.glob("*.nii.gz")} == before  # labelled once, chosen twice
    assert main([*train, str(floor)]) == 0
    assert "already trained" in capsys.readouterr().out
    assert main(train[:-1]) == 2
    assert "holds a member trained with other settings" in capsys.readouterr().err


def test_labels_of_a_scan_that_was_replaced_are_made_anew(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = 1 - fold_of(run, "p0")
    train = ["train", str(run.path), *SELF_TRAINING, "--folds", str(fold)]
    assert main(train) == 0
    marks = [json.loads((run.pseudo_labels(fold) / "provenance.json").read_text())["scans"]]
    with replaced(run, "p5"):
        assert main(train) == 2
        assert "holds a member trained with other settings or cases" in capsys.readouterr().err
        assert main([*train, "--overwrite"]) == 0
    marks.append(provenance_of(run, fold)["scans"])
    assert marks[0] != marks[1]


def test_interrupted_labelling_goes_on_where_it_was(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = 1 - fold_of(run, "p0")  # in which all three are labelled
    call = ["train", str(run.path), *SELF_TRAINING, "--folds", str(fold)]
    made, real = [], pseudo_labels.make_pseudo_label

    def label(probability: Probability) -> Any:
        if len(made) == 2:
            raise Stopped("stopped by SIGTERM")
        made.append(probability)
        return real(probability)

    with monkeypatch.context() as patch:
        patch.setattr(pseudo_labels, "make_pseudo_label", label)
        assert main(call) == 75
    assert main(call) == 0
    assert "3 unlabelled scans, 2 of them already labelled, by default" in capsys.readouterr().out
    in_one_go = RunFolder(run.path.with_name("in one go"))
    resumed = (run.pseudo_labels(fold) / "provenance.json").read_bytes()
    shutil.copytree(run.path, in_one_go.path)
    shutil.rmtree(in_one_go.pseudo_labels(fold))
    shutil.rmtree(in_one_go.member("self-training", fold))
    assert main(["train", str(in_one_go.path), *call[2:]]) == 0
    assert (in_one_go.pseudo_labels(fold) / "provenance.json").read_bytes() == resumed


def test_a_fold_whose_people_are_all_that_is_unlabelled_is_refused(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = run.cases_csv.read_text().splitlines()
    run.cases_csv.write_text("\n".join(line for line in lines if not line.startswith(("p5", "p6"))) + "\n")
    assert main(["train", str(run.path), *SELF_TRAINING, "--folds", str(fold_of(run, "p0"))]) == 2
    found = "all 1 unlabelled scans are of people whose labelled scans validate it"
    assert found in " ".join(capsys.readouterr().err.split())


def test_empty_labels_alone_reach_no_floor() -> None:
    labels = {"fold": 3, "confidence": {"a": None}}
    with pytest.raises(TrainingError, match=r"fold 3: none of 1 pseudo-labels .* \(all are empty\); lower the floor"):
        choose_labels(labels, 0.6)
    assert choose_labels(labels, None)["left_out"] == []


@pytest.mark.parametrize("floor", ["1.5", "-0.1", "nan"])
def test_a_floor_that_is_no_share_is_refused(run: RunFolder, floor: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(run.path), *SELF_TRAINING, f"--confidence-floor={floor}"]) == 2
    assert f"got --confidence-floor {floor}, expected 0 to 1" in capsys.readouterr().err
