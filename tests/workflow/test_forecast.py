"""The time left that is shown while jobs run: from what is expected, and from what was measured."""

from pathlib import Path

import pytest

from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.stages.expected_times import expect_seconds
from mapping_stroke.stages.experiment import KINDS
from mapping_stroke.stages.settings import ExperimentConfig
from mapping_stroke.workflow.forecast import Forecast, TimeLeft
from mapping_stroke.workflow.jobs import JobState

EXPECTED = {"prepare": 10.0, "train/a/fold_0": 100.0, "train/a/fold_1": 100.0, "predict/1_of_1": 50.0, "report": 20.0}


class Watched:
    """Jobs whose states and shares a test sets."""

    def __init__(self, at_once: int = 1) -> None:
        self.states: dict[str, JobState] = dict.fromkeys(EXPECTED, "waiting")
        self.shares: dict[str, float] = {}
        self.time_left = TimeLeft(list(EXPECTED), Forecast(EXPECTED, self.shares.get, KINDS), at_once)

    def at(self, now: float) -> tuple[float, float]:
        done, left = self.time_left.look(self.states, now)
        assert left is not None
        return done, left

    def after(self, now: float, job: str, state: JobState) -> tuple[float, float]:
        self.states[job] = state
        return self.at(now)


def test_before_anything_has_run_the_time_is_the_expected_one() -> None:
    assert Watched().at(0.0) == (0.0, 280.0)
    assert Watched(at_once=2).at(0.0) == (0.0, 180.0)


def test_a_running_job_counts_down_and_never_up() -> None:
    jobs = Watched()
    jobs.after(0.0, "prepare", "running")
    left = [jobs.at(float(now))[1] for now in range(0, 60, 5)]
    assert left[:3] == [280.0, 275.0, 270.0]
    assert left == sorted(left, reverse=True)
    assert left[-1] == 270.0  # nearly finished, whatever it takes


def test_the_speed_of_finished_jobs_is_that_of_their_kind() -> None:
    jobs = Watched()
    jobs.after(0.0, "train/a/fold_0", "running")
    jobs.after(300.0, "train/a/fold_0", "done")
    _, left = jobs.after(300.0, "train/a/fold_1", "running")
    assert left == 10.0 + 3 * (100.0 + 50.0) + 20.0


def test_the_progress_of_a_training_tells_its_speed() -> None:
    jobs = Watched()
    jobs.shares["train/a/fold_0"] = 0.5  # resumed
    jobs.after(0.0, "train/a/fold_0", "running")
    jobs.shares["train/a/fold_0"] = 0.6
    done, left = jobs.at(20.0)  # a tenth took 20 s, so the whole takes 200 s
    assert left == pytest.approx(10 + 2 * (40 + 100 + 50) + 20)
    assert done == pytest.approx(60 / 280)
    assert jobs.at(30.0)[1] == pytest.approx(left - 10)


def test_of_jobs_of_unknown_length_nothing_is_told_before_the_first_has_ended() -> None:
    jobs = ["share/1_of_2", "share/2_of_2"]
    watch = TimeLeft(jobs, Forecast(), 1)
    states: dict[str, JobState] = {"share/1_of_2": "running", "share/2_of_2": "waiting"}
    assert watch.look(states, 0.0) == (0.0, None)
    states["share/1_of_2"] = "done"
    assert watch.look(states, 40.0) == (0.5, 40.0)


def seconds(*, schemes: int = 4, **settings: object) -> dict[str, float]:
    names = ("default", "dice-topk10", "residual", "self-training")[:schemes]
    train = [f"train/{name}/fold_{fold}" for name in names for fold in range(5)]
    jobs = ["prepare", "folds", "arrays", *train, "predict/1_of_1", "postprocess", "evaluate", "report"]
    cases = [FoundCase(str(n), str(n), "", "", Path("scan"), Path("mask") if n < 655 else None) for n in range(955)]
    return expect_seconds(jobs, cases, ExperimentConfig(**settings))  # type: ignore[arg-type]


def test_the_expected_times_are_those_measured_on_two_cores() -> None:
    found = seconds(size="tiny", epochs=1)
    measured = {"prepare": 30, "arrays": 60, "train/default/fold_0": 25, "predict/1_of_1": 2200, "report": 42}
    for job, needed in measured.items():
        assert found[job] == pytest.approx(needed, rel=0.25), job


def test_more_epochs_and_larger_networks_take_their_time() -> None:
    one, many, full = (seconds(size=size, epochs=epochs) for size, epochs in (("tiny", 1), ("tiny", 100), ("full", 1)))
    assert many["train/default/fold_0"] > 15 * one["train/default/fold_0"]
    assert many["predict/1_of_1"] == one["predict/1_of_1"]
    assert full["train/default/fold_0"] > 500 * one["train/default/fold_0"]
    assert full["predict/1_of_1"] > 50 * one["predict/1_of_1"]
