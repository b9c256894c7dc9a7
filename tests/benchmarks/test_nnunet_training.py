"""The data set, plans and commands for nnU-Net, which itself is not needed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.commands import BenchError
from benchmarks.nnunet_training import (
    DATASET,
    DRIVER,
    PLANS,
    make_task_plans,
    nnunet_versions,
    predict_command,
    prepare_command,
    train_command,
    write_nnunet_data,
)
from mapping_stroke.files import read_json
from training_jobs import RESIDUAL_TASK, TASK, phantom_job, write_programs

STAND_IN = """
class Trainer:
    def run_training(self):
        print("trained", self.asked, self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch)


def get_trainer_from_args(*names, device):
    trainer = Trainer()
    trainer.asked = (*names, str(device))
    return trainer
"""


def test_the_scans_stay_where_they_are_and_the_split_is_ours(tmp_path: Path) -> None:
    job = phantom_job(tmp_path)
    write_nnunet_data(job)
    prepared = tmp_path / "prepared" / "preprocessed" / DATASET
    dataset = read_json(tmp_path / "prepared" / "raw" / DATASET / "dataset.json")
    assert dataset == read_json(prepared / "dataset.json")
    assert dataset["dataset"]["p2"] == {"images": [job.cases[2].scan], "label": job.cases[2].mask}
    assert dataset["numTraining"] == 3
    assert read_json(prepared / "splits_final.json") == [{"train": ["p0", "p1"], "val": ["p2"]}]
    assert (prepared / "dataset_fingerprint.json").is_file()


def test_the_plans_say_what_the_task_says() -> None:
    plans = make_task_plans(RESIDUAL_TASK)["configurations"]["3d_fullres"]
    assert (plans["patch_size"], plans["spacing"], plans["batch_size"]) == ([8, 8, 8], [3.0, 3.0, 3.0], 2)
    assert plans["resampling_fn_data_kwargs"]["order"] == 3
    assert plans["architecture"]["network_class_name"].endswith("ResidualEncoderUNet")


def test_each_command_is_told_where_its_folders_are(tmp_path: Path) -> None:
    job, programs = phantom_job(tmp_path), write_programs(tmp_path / "bin")
    prepare = prepare_command(job, programs)
    assert prepare.command[:3] == [str(programs / "nnUNetv2_preprocess"), "-d", "901"]
    assert prepare.environment["nnUNet_results"] == job.folder
    predict = predict_command(job, tmp_path / "scans", tmp_path / "masks", programs).command
    assert f"{job.folder}/{DATASET}/nnUNetTrainer__{PLANS}__3d_fullres" in predict
    assert "--disable_tta" in predict


def test_a_folder_without_its_commands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"nnUNetv2_preprocess: no such file; name the folder .* with --nnunet"):
        prepare_command(phantom_job(tmp_path), tmp_path)


def test_the_driver_sets_lengths_and_lets_the_stock_trainer_run(tmp_path: Path) -> None:
    job, programs = phantom_job(tmp_path), write_programs(tmp_path / "bin")
    settings = train_command(job, programs).command[-1]
    assert json.loads(Path(settings).read_text())["epochs"] == TASK.epochs
    module = tmp_path / "stand-in" / "nnunetv2" / "run" / "run_training.py"
    module.parent.mkdir(parents=True)
    module.write_text(STAND_IN)
    start = f"import runpy, sys; sys.path.insert(0, {str(tmp_path / 'stand-in')!r}); sys.argv[:] = ['', {settings!r}]; "
    command = [sys.executable, "-c", f"{start}runpy.run_path({str(DRIVER)!r}, run_name='__main__')"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    asked = (DATASET, "3d_fullres", 0, "nnUNetTrainer", PLANS, "cpu")
    assert done.stdout == f"trained {asked} 4 3 1\n"


def test_the_version_of_nnunet_is_asked_of_its_own_python(tmp_path: Path) -> None:
    programs = write_programs(tmp_path / "bin")
    (programs / "python").write_text("#!/bin/sh\necho a warning\necho nnunetv2 2.0, torch 3.0\n")
    (programs / "python").chmod(0o755)
    assert nnunet_versions(programs) == "nnU-Net: nnunetv2 2.0, torch 3.0"
