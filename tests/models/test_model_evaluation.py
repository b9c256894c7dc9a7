"""`mapping models evaluate`: what is written, what is not done twice, and what is refused."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.cohort.segmenter import Segmenter
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.evaluation.score import score
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.models import evaluate as model_failures
from mapping_stroke.models import judge as judging
from mapping_stroke.models.judge import EvaluationCase
from mapping_stroke.report import curves, pictures
from mapping_stroke.run_folder import MASK_SUFFIX
from phantoms import AFFINE, phantom, write_phantoms
from small_models import write_seeing_model

FILES = ["evaluation.json", "evaluation.md", "evaluation.png", "failures.jpg", "healthy.csv", "judged.json", "run.json"]
FILES += ["scores.csv"]
METHODS = [
    "default_fold_0",
    "default_fold_1",
    "ensemble-none",
    "ensemble-paper",
    "ensemble-challenge",
    "ensemble-mapping",
]


def write_healthy(folder: Path, number: int = 2) -> Path:
    for seed in range(number):
        voxels, lesion = phantom(seed)
        voxels[lesion] = 100
        write_image(folder / f"h{seed}_T1w.nii.gz", voxels, AFFINE)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A model, labelled and healthy scans."""
    write_seeing_model(tmp_path / "m.mapping")
    write_phantoms(tmp_path / "cohort", labelled=3, unlabelled=1)
    write_healthy(tmp_path / "healthy")
    return tmp_path


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files in place of pictures, most of whose time is matplotlib's; two tests below draw them."""
    monkeypatch.setattr(curves, "draw_evaluation", lambda _, path: path.touch())
    monkeypatch.setattr(pictures, "draw_failures", lambda _, path: path.touch())


def evaluate(data: Path, *more: object, model: str = "m.mapping") -> int:
    given = [data / model, "--cohort", data / "cohort", "--healthy", data / "healthy", "-o", data / "out", *more]
    return main(["models", "evaluate", *map(str, given), "--device", "cpu"])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_member_and_rule_is_scored_on_every_case(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(data) == 0
    assert sorted(path.name for path in (data / "out").iterdir()) == FILES
    found = rows(data / "out" / "scores.csv")
    assert [(row["case_id"], row["method"]) for row in found] == [
        (f"p{number}", method) for number in range(3) for method in METHODS
    ]
    assert float(found[0]["load_ml"]) == pytest.approx(125 * 27 / 1000)
    marked = rows(data / "out" / "healthy.csv")
    assert [(row["scan"], row["method"]) for row in marked] == [
        (f"h{number}", method) for number in range(2) for method in METHODS
    ]
    assert float(marked[0]["volume_mm3"]) > float(marked[1]["volume_mm3"]) > 0
    values = json.loads((data / "out" / "evaluation.json").read_text())
    assert (values["cases"], values["healthy_scans"], values["failed"]) == (3, 2, [])
    assert list(values["methods"]) == METHODS
    mean = np.mean([float(row["dice"]) for row in found if row["method"] == "ensemble-none"])
    assert values["scores"]["ensemble-none"]["dice"]["all"]["mean"] == pytest.approx(mean)
    assert values["scores"]["ensemble-none"]["dice"]["1 to 5 mL"]["cases"] == 3
    assert values["false_positives"]["healthy scans"]["default_fold_0"]["largest_ml"] > 0
    page = (data / "out" / "evaluation.md").read_text()
    assert "| 1 to 5 mL | 3 |" in page
    assert "| ensemble, rule mapping |" in page
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"Evaluation: {data / 'out' / 'failures.jpg'}"


@pytest.mark.usefixtures("blank_pictures")
def test_hard_scans_are_told_by_name_and_are_no_failures(data: Path) -> None:
    hard = write_healthy(data / "hard", 1).joinpath("h0_T1w.nii.gz").rename(data / "hard" / "tumour_T1w.nii.gz")
    assert evaluate(data, "--hard", hard) == 0
    page = (data / "out" / "evaluation.md").read_text()
    assert re.search(
        r"### Hard scans \(n = 1\)\n.*?Most marked, [^\n]*: tumour_T1w \(\d+\.\d\d mL\)\.", page, re.DOTALL
    )
    assert re.search(r"### Healthy scans \(n = 2\)\n.*?Most marked, [^\n]*: h0 \([^)]*\); h1 \(", page, re.DOTALL)
    marked = rows(data / "out" / "healthy.csv")
    assert [row["method"] for row in marked if (row["scan"], row["group"]) == ("tumour_T1w", "hard scans")] == METHODS
    values = json.loads((data / "out" / "evaluation.json").read_text())
    assert values["healthy_scans"] == 2
    assert "tumour" not in json.dumps(values["failures"])


@pytest.mark.usefixtures("blank_pictures")
def test_scores_are_those_of_what_segment_writes(data: Path) -> None:
    assert evaluate(data) == 0
    scan = data / "cohort" / "p1_T1w.nii.gz"
    given = ["-o", data / "masks", "--model", data / "m.mapping", "--device", "cpu", "--no-picture"]
    assert main(["segment", *map(str, [scan, *given])]) == 0
    mask = read_image(data / "masks" / f"p1_T1w{MASK_SUFFIX}").voxels
    expected = score(mask, phantom(1)[1], (3.0, 3.0, 3.0))
    row = next(
        r for r in rows(data / "out" / "scores.csv") if (r["case_id"], r["method"]) == ("p1", "ensemble-mapping")
    )
    assert {metric: float(row[metric]) for metric in expected} == pytest.approx(expected)


@pytest.mark.usefixtures("blank_pictures")
def test_what_is_judged_is_not_judged_again(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted: list[str] = []
    real = judging.read_evaluation_case
    monkeypatch.setattr(
        judging, "read_evaluation_case", lambda case, *how: predicted.append(case.case_id) or real(case, *how)
    )
    assert evaluate(data) == 0
    before = (data / "out" / "evaluation.json").read_bytes()
    assert evaluate(data) == 0
    assert (data / "out" / "evaluation.json").read_bytes() == before
    assert len(predicted) == 5
    assert "3 of 3 labelled scans have already been evaluated" in capsys.readouterr().out
    write_image(data / "cohort" / "p1_lesion.nii.gz", phantom(2)[1], AFFINE)
    assert evaluate(data) == 0
    assert predicted[5:] == ["p1"]


@pytest.mark.usefixtures("blank_pictures")
def test_an_interrupted_evaluation_goes_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted: list[str] = []
    real = judging.read_evaluation_case

    def read_two(case: FoundCase, segmenter: Segmenter) -> EvaluationCase:
        predicted.append(case.case_id)
        if len(predicted) == 3:
            raise KeyboardInterrupt
        return real(case, segmenter)

    monkeypatch.setattr(judging, "read_evaluation_case", read_two)
    assert evaluate(data) == 1
    assert evaluate(data) == 0
    assert predicted == ["p0", "p1", "p2", "p2", "h0", "h1"]


@pytest.mark.usefixtures("blank_pictures")
def test_another_model_starts_anew_and_only_when_told_to(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(data) == 0
    write_seeing_model(data / "three.mapping", folds=3)
    assert evaluate(data, model="three.mapping") == 2
    assert "differs in model_sha256" in capsys.readouterr().err
    assert evaluate(data, "--overwrite", model="three.mapping") == 0
    assert {row["method"] for row in rows(data / "out" / "scores.csv")} == {*METHODS, "default_fold_2"}


@pytest.mark.usefixtures("blank_pictures")
def test_a_broken_scan_is_named_and_stops_no_other(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cohort" / "p1_T1w.nii.gz").write_bytes(b"broken")
    write_image(data / "cohort" / "p2_lesion.nii.gz", np.ones((4, 4, 4), np.float32), AFFINE)
    (data / "healthy" / "h0_T1w.nii.gz").write_bytes(b"broken")
    assert evaluate(data) == 3
    told = capsys.readouterr().err
    assert "p1_T1w.nii.gz: cannot be read" in told
    assert "p2_lesion.nii.gz: the mask has shape" in told
    assert "3 scans failed and are left out: p1, p2, h0" in told
    assert {row["case_id"] for row in rows(data / "out" / "scores.csv")} == {"p0"}
    assert json.loads((data / "out" / "evaluation.json").read_text())["failed"] == ["p1", "p2", "h0"]


@pytest.mark.usefixtures("blank_pictures")
def test_whole_heads_are_told_apart_and_never_shown(data: Path) -> None:
    write_healthy(data / "heads", 1)
    assert evaluate(data, "--heads", data / "heads") == 0
    groups = [(row["group"], row["scan"]) for row in rows(data / "out" / "healthy.csv") if row["method"] == METHODS[0]]
    assert groups == [("healthy scans", "h0"), ("healthy scans", "h1"), ("whole heads", "h0")]
    values = json.loads((data / "out" / "evaluation.json").read_text())
    assert {group: found["ensemble-none"]["scans"] for group, found in values["false_positives"].items()} == {
        "labelled cases, outside their lesions": 3,
        "healthy scans": 2,
        "whole heads": 1,
    }
    assert "whole heads" not in {failure["group"] for failure in values["failures"]}


@pytest.mark.usefixtures("blank_pictures")
def test_failures_are_drawn_again_only_where_they_are_others(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    real = model_failures.read_evaluation_case
    monkeypatch.setattr(
        model_failures,
        "read_evaluation_case",
        lambda case, *how, again: drawn.append(case.case_id) or real(case, *how, again=again),
    )
    assert evaluate(data) == 0
    assert drawn == ["p0", "p1", "p2", "h0", "h1"]
    assert evaluate(data) == 0
    assert len(drawn) == 5
    (data / "out" / "failures.jpg").unlink()
    assert evaluate(data) == 0
    assert len(drawn) == 10
    write_image(data / "cohort" / "p1_lesion.nii.gz", phantom(2)[1], AFFINE)
    assert evaluate(data) == 0
    assert drawn[10:] == ["p1", "p0", "p2", "h0", "h1"]


def test_without_healthy_scans_the_page_says_so(data: Path) -> None:
    given = [data / "m.mapping", "--cohort", data / "cohort", "-o", data / "out", "--device", "cpu"]
    assert main(["models", "evaluate", *map(str, given)]) == 0
    assert "No healthy scans were given." in (data / "out" / "evaluation.md").read_text()
    assert rows(data / "out" / "healthy.csv") == []


@pytest.mark.usefixtures("blank_pictures")
def test_what_cannot_be_judged_is_refused_and_leaves_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (data / "cohort").glob("*_lesion*"):
        path.unlink()
    assert evaluate(data) == 2
    assert "none of its 4 scans has a usable mask, expected labelled cases" in capsys.readouterr().err
    write_phantoms(data / "cohort", labelled=1, unlabelled=0)
    write_phantoms(data / "healthy", labelled=1, unlabelled=0)
    assert evaluate(data) == 2
    assert "has a lesion mask (p0_lesion.nii.gz); give only scans without a mask" in capsys.readouterr().err
    for path in (data / "healthy").glob("p0*"):
        path.unlink()
    assert evaluate(data, "--healthy", data / "healthy", data / "healthy" / "h0_T1w.nii.gz") == 0
    for path in (data / "cohort").glob("p[1-9]*"):
        path.unlink()
    (data / "cohort" / "p0_T1w.nii.gz").write_bytes(b"broken")
    (data / "out" / "run.json").unlink()
    assert evaluate(data, "-o", data / "other") == 2
    assert "p0_T1w.nii.gz: cannot be read" in capsys.readouterr().err
    assert not (data / "other").exists()
