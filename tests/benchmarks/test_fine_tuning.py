"""Fine-tuning for an unseen scanner: who is in the cohorts, what is scored, what is kept; small networks, 6 mm."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench_command import run_bench
from benchmarks.fine_tuning import (
    UNSEEN,
    FineTuning,
    FineTuningResult,
    bench_fine_tuning,
    describe_fine_tuning,
    score_mask,
)
from mapping_stroke.cohort.segmenter import make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.models.judge import find_labelled, read_evaluation_case
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.report import distributions
from mapping_stroke.simulation import bank as simulation_bank
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.scanner import draw_any_scanner
from mapping_stroke.training.schemes import SIZES
from phantoms import NANO, write_phantoms
from small_models import member_card, write_model, write_seeing_model

pytestmark = pytest.mark.usefixtures("nano")


@pytest.fixture(scope="module")
def bench(nano: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FineTuning]:
    """An untrained member that says it is of the size `tiny`, on the template with drawn lesions."""
    folder = tmp_path_factory.mktemp("bench")
    training = {"size": "tiny", "epochs": 4}
    size = replace(NANO, preprocess=PreprocessSpec(6.0), patch=(16, 16, 16), steps_per_epoch=10)
    card = member_card(network=size.plain, preprocess=size.preprocess, patch=size.patch, training=training)
    model = write_model(folder / "start", card)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", size)
        patch.setattr(simulation_bank, "FINER", 1)
        patch.setattr(held_out, "SPACING_MM", 6.0)
        patch.setattr(distributions, "draw_examples", lambda *_: None)  # it would deface each
        yield FineTuning(folder / "work", str(model.path), cases=5, epochs=1, device="cpu")


@pytest.fixture(scope="module")
def result(bench: FineTuning) -> FineTuningResult:
    """What it comes to."""
    return bench_fine_tuning(bench)


def test_the_scanner_is_one_that_no_training_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_any_scanner(rng) for _ in range(500)]
    assert max(scanner.grey for scanner in drawn) < UNSEEN.grey - 0.03
    assert max(scanner.csf for scanner in drawn) < UNSEEN.csf - 0.03


@pytest.mark.slow
def test_two_cohorts_of_as_many_cases_are_written(bench: FineTuning, result: FineTuningResult) -> None:
    for name in ("learn", "judge"):
        cases, failed = find_labelled(bench.work / name)
        assert [case.case_id for case in cases] == [f"{name}-{number:03d}" for number in range(5)]
        assert failed == []
    members = open_bundle(bench.work / "run").card.members
    assert [member.card.name for member in members] == ["default, fold 0"]
    assert members[0].card.training["training_cases"] == 4


@pytest.mark.slow
def test_every_case_is_scored_before_and_after(result: FineTuningResult) -> None:
    assert result.before.keys() == result.after.keys()
    assert {len(values) for values in (*result.before.values(), *result.after.values())} == {5}
    assert np.isfinite(result.after["none/dice"]).all()
    estimate = result.difference("none/dice")
    assert estimate.mean == pytest.approx(np.mean(result.after["none/dice"] - result.before["none/dice"]))


@pytest.mark.slow
def test_the_same_call_computes_nothing_again(bench: FineTuning, result: FineTuningResult) -> None:
    kept = [*bench.work.glob("*.json"), *bench.work.glob("judge/*"), *bench.work.glob("run/train/*/*/weights*")]
    times = [path.stat().st_mtime_ns for path in kept]
    again = bench_fine_tuning(bench)
    assert [path.stat().st_mtime_ns for path in kept] == times
    np.testing.assert_array_equal(again.after["none/dice"], result.after["none/dice"])


@pytest.mark.slow
def test_the_report_tells_how_it_was_made_and_every_difference(bench: FineTuning, result: FineTuningResult) -> None:
    text = describe_fine_tuning(result, bench, "python -m benchmarks fine-tuning WORK")
    assert "Simulated data" in text
    assert "1 of 5 folds, each on about 4 cases; 1 epochs of 10 steps (25% of the epochs" in text
    assert len([line for line in text.splitlines() if line.startswith("| P > 0.5 |")]) == 4


def test_a_false_lesion_touches_no_true_one(tmp_path: Path) -> None:
    case = find_labelled(write_phantoms(tmp_path / "data", 1, 0))[0][0]
    bundle = write_seeing_model(tmp_path / "model")
    scan = read_evaluation_case(case, make_segmenter(Computation(device="cpu"), bundle))
    perfect = score_mask(scan.reference, scan)
    assert (perfect["dice"], perfect["false_lesions"], perfect["false_ml"]) == (1.0, 0.0, 0.0)
    with_specks = scan.reference.copy()
    with_specks[0, 0, :2] = with_specks[0, -1, 0] = True
    scores = score_mask(with_specks, scan)
    assert (scores["false_lesions"], scores["false_ml"]) == (2.0, pytest.approx(3 * 0.027))
    nothing = score_mask(np.zeros_like(scan.reference), scan)
    assert (nothing["dice"], nothing["false_lesions"]) == (0.0, 0.0)


def test_numbers_out_of_range_are_refused() -> None:
    for wrong in ({"cases": 4}, {"folds": 0}, {"folds": 6}):
        with pytest.raises(ConfigError, match="expected 5 or more cases, and 1 to 5 folds"):
            FineTuning(Path("work"), **wrong)


@pytest.mark.slow
def test_the_command_writes_the_report(
    bench: FineTuning, result: FineTuningResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", bench.model, "--cases", "5", "--epochs", "1", "--device", "cpu"]
    report = tmp_path / "result.md"
    assert run_bench(["fine-tuning", str(bench.work), *options, "-o", str(report)]) == 0
    assert "`python -m benchmarks fine-tuning WORK --model start --cases 5 --folds 1 --epochs 1`" in report.read_text()
    assert report.read_text() in capsys.readouterr().out
