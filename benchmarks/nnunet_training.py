"""Data set, plans and commands for the stock nnU-Net v2 on our cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.commands import BenchError, follow_command
from benchmarks.training_task import TrainingJob, TrainingTask
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.files import write_json
from mapping_stroke.interop.nnunet_export import CONFIGURATION, make_dataset, make_plans
from mapping_stroke.networks.cards import MemberCard

DATASET_NUMBER = 901
DATASET = f"Dataset{DATASET_NUMBER}_MappingBench"
PLANS = "MappingBenchPlans"
DRIVER = Path(__file__).with_name("nnunet_driver.py")
EPOCH_LINE = r": Epoch \d+"
"""Printed by the trainer when an epoch begins."""


@dataclass(frozen=True)
class Invocation:
    """A command and the environment variables it needs in addition to those of this process."""

    command: Sequence[str]
    environment: Mapping[str, str]


def find_program(nnunet: Path, name: str) -> str:
    """A program of an nnU-Net environment. Raises `BenchError` if its folder `bin` has none of that name."""
    if not (nnunet / name).is_file():
        raise BenchError(f"{nnunet / name}: no such file; name the folder of nnU-Net v2's commands with --nnunet")
    return str(nnunet / name)


def nnunet_versions(nnunet: Path) -> str:
    """Versions of nnU-Net and its torch."""
    ask = (
        "from importlib.metadata import version; print(*(f'{p} {version(p)}' for p in ('nnunetv2', 'torch')), sep=', ')"
    )
    _, lines = follow_command([find_program(nnunet, "python"), "-c", ask])
    return f"nnU-Net: {lines[-1].text.strip()}"


def write_nnunet_data(job: TrainingJob) -> None:
    """Write the files that nnU-Net's preprocessing reads: data set, plans and split. Scans are not copied."""
    prepared, raw = (Path(job.prepared) / kind / DATASET for kind in ("preprocessed", "raw"))
    cases = {case.case_id: {"images": [case.scan], "label": case.mask} for case in job.cases}
    dataset = {**make_dataset(), "numTraining": len(cases), "dataset": cases}
    for folder in (prepared, raw):
        write_json(folder / "dataset.json", dataset)
    write_json(prepared / f"{PLANS}.json", make_task_plans(job.task))
    write_json(prepared / "dataset_fingerprint.json", {})
    split = {
        "train": [case.case_id for case in job.training],
        "val": [case.case_id for case in job.validation],
    }
    write_json(prepared / "splits_final.json", [split])


def make_task_plans(task: TrainingTask) -> dict[str, Any]:
    """`plans.json` for a task, with nnU-Net's default spline resampling."""
    card = MemberCard("bench", 0, task.network, PreprocessSpec(task.spacing_mm, resampling="cubic"), task.patch, {})
    plans = make_plans(card, DATASET, PLANS)
    plans["configurations"][CONFIGURATION]["batch_size"] = task.batch
    return plans


def prepare_command(job: TrainingJob, nnunet: Path, processes: int = 2) -> Invocation:
    """The command that preprocesses all scans."""
    program = find_program(nnunet, "nnUNetv2_preprocess")
    names = ["-d", str(DATASET_NUMBER), "-plans_name", PLANS, "-c", CONFIGURATION]
    return Invocation([program, *names, "-np", str(processes), "--no_pbar"], _folders(job))


def train_command(job: TrainingJob, nnunet: Path) -> Invocation:
    """Write the driver's settings next to the job's folder, and return the command that trains."""
    settings = {
        "dataset": DATASET,
        "plans": PLANS,
        "epochs": job.task.epochs,
        "steps": job.task.steps,
        "validation_steps": job.task.validation_steps,
        "seed": job.seed,
        "device": job.device,
        "threads": job.threads,
        "memory": str(job.memory_file),
    }
    write_json(job.file, settings)
    return Invocation([find_program(nnunet, "python"), "-u", str(DRIVER), str(job.file)], _folders(job))


def predict_command(job: TrainingJob, scans: Path, masks: Path, nnunet: Path) -> Invocation:
    """The command that segments a folder of `<case>_0000.nii.gz` with the trained network, without mirroring."""
    program = find_program(nnunet, "nnUNetv2_predict_from_modelfolder")
    model = Path(job.folder) / DATASET / f"nnUNetTrainer__{PLANS}__{CONFIGURATION}"
    paths = ["-i", str(scans), "-o", str(masks), "-m", str(model), "-f", "0"]
    options = ["-device", job.device, "--disable_tta", "-npp", "1", "-nps", "1"]
    return Invocation([program, *paths, *options], _folders(job))


def _folders(job: TrainingJob) -> dict[str, str]:
    prepared = Path(job.prepared)
    return {
        "nnUNet_raw": str(prepared / "raw"),
        "nnUNet_preprocessed": str(prepared / "preprocessed"),
        "nnUNet_results": job.folder,
    }
