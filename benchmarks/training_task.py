"""A training task for two programs, as data: network, split of labelled scans, number of steps."""

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
    """A training, in everything else with the defaults of both programs.

    Attributes:
        network: Plain or residual U-Net.
        patch: Voxels of a patch along each axis.
        spacing_mm: Edge of the network's voxels.
        epochs: Number of epochs, over which the learning rate falls from 0.01 to 0.
        steps: Training steps per epoch.
        validation_steps: Validation steps per epoch.
        batch: Patches per step.
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
        """The task as one of our sizes."""
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
        """Our scheme that matches the stock nnU-Net trainer, for this network."""
        return Scheme("default") if self.network.encoder == "plain" else Scheme("plain-residual", encoder="residual")


@dataclass(frozen=True)
class LabelledScan:
    """Paths of a scan and its reference mask. Both programs read the same files."""

    case_id: str
    scan: str
    mask: str


@dataclass(frozen=True)
class TrainingJob:
    """One training of a task by one program.

    Attributes:
        task: The task.
        training: Training cases.
        validation: Validation cases.
        folder: Output folder of this training only.
        prepared: Folder of the preprocessed scans, which all jobs of a program share.
        seed: Determines the initial weights, and for ours everything else.
        device: `cpu` or `cuda`.
        threads: Threads of torch; 0 for all cores.
        precision: Precision of ours.
        compiled: Whether ours is compiled.
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
        """Training and validation cases."""
        return (*self.training, *self.validation)

    @property
    def file(self) -> Path:
        """File from which the training process reads the job."""
        return Path(self.folder).with_name(f"{Path(self.folder).name}.json")

    @property
    def memory_file(self) -> Path:
        """File to which it writes the peak GPU memory, `allocated` and `reserved` bytes."""
        return Path(self.folder) / "gpu-memory.json"

    def write(self) -> Path:
        """Write the job for the training process."""
        write_json(self.file, asdict(self))
        return self.file


def read_job(path: Path) -> TrainingJob:
    """The inverse of `TrainingJob.write`. Raises `TypedJsonError` if an entry is invalid."""
    values: Any = read_json(path)
    job: TrainingJob = read_typed(TrainingJob, values, path.name)
    return job
