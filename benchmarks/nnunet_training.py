"""The stock nnU-Net v2 on our cases: its data set, plans and commands."""

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
"""What the trainer says when an epoch begins."""


@dataclass(frozen=True)
class Told:
    """A command and the environment variables that it needs beside those of this process."""

    command: Sequence[str]
    environment: Mapping[str, str]


def find_program(nnunet: Path, name: str) -> str:
    """A program of an nnU-Net environment; raises `BenchError` where its folder `bin` has none of that name."""
    if not (nnunet / name).is_file():
        raise BenchError(f"{nnunet / name}: no such file; name the folder of nnU-Net v2's commands with --nnunet")
    return str(nnunet / name)


def nnunet_versions(nnunet: Path) -> str:
    """Versions of nnU-Net and of the torch that it computes with."""
    ask = (
        "from importlib.metadata import version; print(*(f'{p} {version(p)}' for p in ('nnunetv2', 'torch')), sep=', ')"
    )
    _, lines = follow_command([find_program(nnunet, "python"), "-c", ask])
    return f"nnU-Net: {lines[-1].text.strip()}"


def write_nnunet_data(job: TrainingJob) -> None:
    """Write what nnU-Net reads before it prepares scans: data set, plans, split; the scans stay where they are."""
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
    """`plans.json` for a task, resampling by nnU-Net's usual splines."""
    card = MemberCard("bench", 0, task.network, PreprocessSpec(task.spacing_mm, resampling="cubic"), task.patch, {})
    plans = make_plans(card, DATASET, PLANS)
    plans["configurations"][CONFIGURATION]["batch_size"] = task.batch
    return plans


def tell_prepare(job: TrainingJob, nnunet: Path, processes: int = 2) -> Told:
    """Prepare all scans."""
    program = find_program(nnunet, "nnUNetv2_preprocess")
    names = ["-d", str(DATASET_NUMBER), "-plans_name", PLANS, "-c", CONFIGURATION]
    return Told([program, *names, "-np", str(processes), "--no_pbar"], _places(job))


def tell_train(job: TrainingJob, nnunet: Path) -> Told:
    """Train, after writing the driver's settings beside the job's folder."""
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
    return Told([find_program(nnunet, "python"), "-u", str(DRIVER), str(job.file)], _places(job))


def tell_predict(job: TrainingJob, scans: Path, masks: Path, nnunet: Path) -> Told:
    """Segment a folder of `<case>_0000.nii.gz` with what was trained, without mirroring."""
    program = find_program(nnunet, "nnUNetv2_predict_from_modelfolder")
    model = Path(job.folder) / DATASET / f"nnUNetTrainer__{PLANS}__{CONFIGURATION}"
    places = ["-i", str(scans), "-o", str(masks), "-m", str(model), "-f", "0"]
    return Told([program, *places, "-device", job.device, "--disable_tta", "-npp", "1", "-nps", "1"], _places(job))


def _places(job: TrainingJob) -> dict[str, str]:
    prepared = Path(job.prepared)
    return {
        "nnUNet_raw": str(prepared / "raw"),
        "nnUNet_preprocessed": str(prepared / "preprocessed"),
        "nnUNet_results": job.folder,
    }
