"""What two programs train alike, as data."""

from pathlib import Path

import pytest

from benchmarks.training_task import read_job
from mapping_stroke.files import write_json
from mapping_stroke.networks.typed_json import TypedJsonError
from training_jobs import RESIDUAL_TASK, TASK, phantom_job


def test_a_job_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    job = phantom_job(tmp_path)
    assert read_job(job.write()) == job
    assert job.file == tmp_path / "runs" / "one.json"


def test_a_job_that_says_too_little_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "job.json", {"seed": 1})
    with pytest.raises(TypedJsonError, match=r"job\.json has no entry"):
        read_job(tmp_path / "job.json")


def test_both_encoders_are_trained_by_the_usual_loss_and_augmentation() -> None:
    for task in (TASK, RESIDUAL_TASK):
        assert task.size.network(task.scheme) == task.network
        assert (task.scheme.loss, task.scheme.augmentation) == ("dice+ce", "default")
        assert (task.size.optimiser, task.size.learning_rate, task.size.momentum) == ("sgd", 0.01, 0.99)
        assert task.size.epochs_of(task.scheme) == 4
