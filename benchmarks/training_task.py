"""A training task for two programs, as data: one network, one split of labelled scans, a number of steps."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.files import read_json, write_json
from mapping_stroke.images.nifti import Shape
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.typed_json import read_typed
from mapping_stroke.training.schemes import Scheme, Size


@dataclass(frozen=True)
class TrainingTask:
    """What is trained; all else is what both programs do unasked.

    Attributes:
        network: Plain or residual U-Net.
        patch: Voxels of a patch along each axis.
        spacing_mm: Edge of the network's voxels.
        epochs: Of the whole training; the learning rate falls from 0.01 to 0 over them.
        steps: Training steps of an epoch.
        validation_steps: Validation steps of an epoch.
        batch: Patches of a step.
    """

    network: NetworkSpec
    patch: Shape
    spacing_mm: float
    epochs: int
    steps: int
    validation_steps: int
    batch: int = 2

    @property
    def size(self) -> Size:
        """The task as a size of ours."""
        return Size(
            "bench",
            PreprocessSpec(self.spacing_mm),
            self.patch,
            plain=self.network,
            residual=self.network,
            steps_per_epoch=self.steps,
            validation_steps=self.validation_steps,
            epochs=self.epochs,
            batch=self.batch,
        )

    @property
    def scheme(self) -> Scheme:
        """The scheme of ours that does as the stock nnU-Net trainer, for this network."""
        return Scheme("default") if self.network.encoder == "plain" else Scheme("plain-residual", encoder="residual")


@dataclass(frozen=True)
class LabelledScan:
    """A scan and its reference mask, as paths; both programs may read them where they lie."""

    case_id: str
    scan: str
    mask: str


@dataclass(frozen=True)
class TrainingJob:
    """One training of a task by one program.

    Attributes:
        task: What is trained.
        training: Cases to learn from.
        validation: Cases to validate on.
        folder: Where this training writes; no other job writes there.
        prepared: Where the prepared scans lie, which all jobs of a program read.
        seed: Decides initial weights, and for ours all else too.
        device: `cpu` or `cuda`.
        threads: Of torch; 0 for all cores.
        precision: Of ours.
        compiled: Of ours.
    """

    task: TrainingTask
    training: tuple[LabelledScan, ...]
    validation: tuple[LabelledScan, ...]
    folder: str
    prepared: str
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    precision: str = "auto"
    compiled: bool = False

    @property
    def cases(self) -> tuple[LabelledScan, ...]:
        """Of both kinds."""
        return (*self.training, *self.validation)

    @property
    def file(self) -> Path:
        """Where the job is written for the process that does it."""
        return Path(self.folder).with_name(f"{Path(self.folder).name}.json")

    @property
    def memory_file(self) -> Path:
        """Where that process writes the peak memory on a GPU, `allocated` and `reserved` bytes."""
        return Path(self.folder) / "gpu-memory.json"

    def write(self) -> Path:
        """Write the job for the process that does it."""
        write_json(self.file, asdict(self))
        return self.file


def read_job(path: Path) -> TrainingJob:
    """The inverse of `TrainingJob.write`; raises `TypedJsonError` where an entry is not what it should be."""
    values: Any = read_json(path)
    job: TrainingJob = read_typed(TrainingJob, values, path.name)
    return job
