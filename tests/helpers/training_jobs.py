"""Trainings to be measured, small enough for a test, and what stands in for nnU-Net there."""

from dataclasses import replace
from pathlib import Path

from benchmarks.training_task import LabelledScan, TrainingJob, TrainingTask
from phantoms import NANO, write_phantoms

TASK = TrainingTask(NANO.plain, (8, 8, 8), 3.0, epochs=4, steps=3, validation_steps=1)
RESIDUAL_TASK = replace(TASK, network=NANO.residual)


def phantom_job(folder: Path, task: TrainingTask = TASK) -> TrainingJob:
    """Two phantoms to learn from, one to validate on."""
    data = write_phantoms(folder / "data", 3, 0)
    scans = tuple(LabelledScan(f"p{n}", f"{data}/p{n}_T1w.nii.gz", f"{data}/p{n}_lesion.nii.gz") for n in range(3))
    return TrainingJob(task, scans[:2], scans[2:], str(folder / "runs" / "one"), str(folder / "prepared"), threads=1)


def write_programs(folder: Path) -> Path:
    """A folder that looks like the `bin` of an nnU-Net environment; nothing in it runs."""
    folder.mkdir()
    for name in ("python", "nnUNetv2_preprocess", "nnUNetv2_predict_from_modelfolder"):
        (folder / name).touch()
    return folder
