"""Our side of a measurement is what `mapping train` does."""

from dataclasses import replace
from pathlib import Path

from benchmarks.our_training import train_ours
from mapping_stroke.networks.member_folder import read_card
from training_jobs import RESIDUAL_TASK, phantom_job


def test_a_member_is_trained_at_the_size_of_the_task(tmp_path: Path) -> None:
    job = replace(phantom_job(tmp_path, RESIDUAL_TASK), precision="float32")
    train_ours(job)
    card, _ = read_card(Path(job.folder))
    assert card.network == RESIDUAL_TASK.network
    assert (card.training["epochs"], card.training["training_cases"], card.training["precision"]) == (4, 2, "float32")
    assert not job.memory_file.exists()
