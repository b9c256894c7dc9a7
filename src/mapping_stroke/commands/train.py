"""`mapping train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Train:
    """Train the members: every scheme on every fold.

    Ctrl-C, SIGTERM and SIGUSR1 save and end with status 75; the same command goes on.
    """

    run_folder: Positional[Path]
    """Run folder with cases and folds, as written by `mapping prepare` and `mapping folds`."""
    schemes: tuple[str, ...] = ("default", "dice-topk10", "residual", "self-training")
    """Training schemes; beside the paper's four there are `carvemix` and `mixup`. Those that need pseudo-labels are
    trained last."""
    folds: tuple[int, ...] = ()
    """Numbers of the folds to train; all folds where left out."""
    size: Literal["full", "compact", "small", "tiny"] = "full"
    """`full` is the paper's (a GPU, days); `compact`, `small` and `tiny` run on a CPU (hours to minutes)."""
    variant: Literal["paper", "container"] = "paper"
    """Schemes as the paper describes them, or as the authors' container has them (800 epochs of dice-topk10,
    strong augmentation for self-training)."""
    seed: int = 0
    """Decides initial weights, patches and augmentation."""
    confidence_floor: float | None = None
    """Pseudo-labels with a lower mean P inside (0.5 to 1), and empty ones, are left out; all are taken without it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the convolutions; `auto` takes bfloat16 where the device has instructions for it."""
    compile: bool = False
    """Compile each network first: a minute or two at every start, then faster steps where the device computes in
    float32. Needs a C++ compiler on a CPU."""
    devices: int = 1
    """GPUs that train each member together, each its share of every batch; with `--device cpu`, processes."""
    nodes: int = 1
    """Machines that do so, each with `--devices`: start the command on all of them, with `torchrun` or `srun`."""
    batch: int | None = None
    """Patches of a step, on all devices together; the size's own (2) where left out, for which schemes are made."""
    jobs: int = 1
    """Folds trained at once, each in a process with its share of the CPU cores."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints; one is written at every epoch's end anyway."""
    arrays_only: bool = False
    """Only prepare the arrays that all members read: the first job where members are trained by several at once."""
    overwrite: bool = False
    """Train anew where a member of other settings stands."""

    def run(self) -> int:
        """Train what is missing."""
        from mapping_stroke.experiment.arrays import arrays_run
        from mapping_stroke.experiment.train import TrainConfig
        from mapping_stroke.experiment.train_jobs import train_side_by_side
        from mapping_stroke.run_folder import RunFolder

        if self.arrays_only:
            arrays_run(RunFolder(self.run_folder), self.size)
            return 0
        config = TrainConfig(
            self.schemes,
            self.folds,
            self.size,
            self.variant,
            self.seed,
            self.device,
            self.precision,
            self.compile,
            self.confidence_floor,
            self.save_minutes,
            self.devices,
            self.nodes,
            self.batch,
        )
        trained = train_side_by_side(RunFolder(self.run_folder), config, self.jobs, overwrite=self.overwrite)
        return 3 if trained.failed else 0
