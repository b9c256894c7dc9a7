"""`mapping train`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Train:
    """Train the members: every scheme on every fold.

    Ctrl-C, SIGTERM and SIGUSR1 save and end with status 75; the same command goes on.
    """

    run_folder: Positional[Path]
    """Run folder with cases and folds, as written by `mapping prepare` and `mapping folds`."""
    from_: Annotated[str, arg(name="from")] = ""
    """Fine-tune this model (as for `mapping segment`) on the cases instead of training from nothing: each member begins
    with the model's of its scheme, and is trained shortly, at a thirtieth of the learning rate."""
    schemes: tuple[str, ...] = ()
    """Training schemes; the paper's four where left out, with `--from` those of the model. Beside the paper's there are
    `carvemix` and `mixup`. Those that need pseudo-labels are trained last."""
    folds: tuple[int, ...] = ()
    """Numbers of the folds to train; all folds where left out."""
    size: Literal["full", "compact", "fine", "small", "tiny"] | None = None
    """`full` (where left out) is the paper's (a GPU, days); `compact`, `fine`, `small` and `tiny` run on a CPU (hours
    to minutes). With `--from` the model's own."""
    epochs: int | None = None
    """Of every member; the size's own where left out, 10 with `--from`."""
    learning_rate: float | None = None
    """Of the first epoch; the size's own where left out, a thirtieth of it with `--from`."""
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
    """Compile each network first: a minute or two at every start, then faster steps. Needs a C++ compiler on a CPU."""
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
    """Train anew where a member of other settings or data stands."""

    def run(self) -> int:
        """Train what is missing."""
        from mapping_stroke.experiment.fine_tuning import fine_tuning_config
        from mapping_stroke.experiment.train import prepare_arrays
        from mapping_stroke.experiment.train_config import TrainConfig
        from mapping_stroke.experiment.train_jobs import train_side_by_side
        from mapping_stroke.run_folder import RunFolder

        run = RunFolder(self.run_folder)
        usual = fine_tuning_config(self.from_, self.size) if self.from_ else TrainConfig(size=self.size or "full")
        config = replace(usual, **self._asked())
        if self.arrays_only:
            prepare_arrays(run, config)
            return 0
        trained = train_side_by_side(run, config, self.jobs, overwrite=self.overwrite)
        return 3 if trained.failed else 0

    def _asked(self) -> dict[str, Any]:
        """What the configuration takes as it was given; what was left out keeps its usual value."""
        same = (
            *("folds", "variant", "seed", "device", "precision", "confidence_floor"),
            *("save_minutes", "devices", "nodes", "batch"),
        )
        asked = {name: getattr(self, name) for name in same} | {"compiled": self.compile}
        usual = {name: getattr(self, name) for name in ("schemes", "epochs", "learning_rate")}
        return asked | {name: value for name, value in usual.items() if value not in (None, ())}
