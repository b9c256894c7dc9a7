"""The settings of the stages. They are the options of the commands: each field's text is the help of its option."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from mapping_stroke.errors import ConfigError
from mapping_stroke.names import (
    PAPER_SCHEMES,
    EngineName,
    GroupBy,
    LayoutName,
    PrecisionName,
    ProfileName,
    RuleName,
    SizeName,
    TrainingPrecision,
    VariantName,
)
from mapping_stroke.work import slice_of_shard

if TYPE_CHECKING:
    from mapping_stroke.training.schemes import Scheme, Size


@dataclass(frozen=True)
class PrepareConfig:
    """How cases are found and checked."""

    layout: LayoutName = "auto"
    """Layout of the folder; `auto` detects it and reports it. `results`: reviewed results of `mapping segment` or
    `mapping bids`."""
    scans: Annotated[str | None, arg(metavar="PATTERN")] = None
    """Plain folder: name pattern of the scans, such as '*_T1w.nii.gz' or '*/T1.nii.gz'; `*` stands for the case id."""
    masks: Annotated[str | None, arg(metavar="PATTERN")] = None
    """Plain folder: name pattern of the masks, such as '{id}_lesion.nii.gz', next to the scan or relative to DATA."""
    exclude_bad: bool = False
    """Leave out cases with problems (exit status 3) instead of stopping."""


@dataclass(frozen=True)
class FoldsConfig:
    """How cases are split into folds."""

    number: int = 5
    """Number of folds."""
    seed: int = 0
    """The same seed gives the same folds."""
    group_by: GroupBy = "subject"
    """Keep all scans of a person, or all of a site, in one fold."""
    folds: Annotated[Path | None, arg(metavar="FILE")] = None
    """Use this assignment instead: CSV with case_id,fold, or the authors' Name,Fold."""


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, and how."""

    from_: Annotated[str, arg(name="from")] = ""
    """Fine-tune this model (as for `mapping segment`) on the cases instead of training from scratch: each member starts
    from the model's member of its scheme, with few epochs and a thirtieth of the learning rate."""
    schemes: tuple[str, ...] = ()
    """Training schemes. Default: the paper's four; with `--from`, those of the model. `carvemix` and `mixup` are
    available in addition. Schemes that need pseudo-labels are trained last."""
    folds: tuple[int, ...] = ()
    """Numbers of the folds to train. Default: all folds."""
    size: SizeName | None = None
    """`full` (the default) is the paper's (a GPU, days); `compact`, `fine`, `small` and `tiny` run on a CPU (hours to
    minutes). With `--from`, the model's own."""
    epochs: int | None = None
    """Epochs of every member. Default: those of the size; 10 with `--from`."""
    learning_rate: float | None = None
    """Learning rate of the first epoch. Default: that of the size; a thirtieth of it with `--from`."""
    variant: VariantName = "paper"
    """Schemes as in the paper, or as in the authors' container (800 epochs of dice-topk10, strong augmentation for
    self-training)."""
    seed: int = 0
    """Determines initial weights, patches and augmentation."""
    confidence_floor: float | None = None
    """Leave out pseudo-labels that are empty or whose mean P inside is below this (0.5 to 1). Default: use all."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    precision: TrainingPrecision = "auto"
    """Precision of the convolutions; `auto` uses bfloat16 if the device has instructions for it."""
    compile: bool = False
    """Compile each network first: takes a minute or two at every start, then steps are faster. Needs a C++ compiler on
    a CPU."""
    devices: int = 1
    """GPUs that train each member together, each on its share of every batch; with `--device cpu`, processes."""
    nodes: int = 1
    """Machines that train together, each with `--devices`: start the command on all of them, with `torchrun` or
    `srun`."""
    batch: int | None = None
    """Patches per step, on all devices together. Default: that of the size (2), for which the schemes are tuned."""
    jobs: int = 1
    """Folds trained at the same time, each in a process with its share of the CPU cores."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints; one is also written after every epoch."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"got --epochs {self.epochs}, expected 1 or more")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise ConfigError(f"got --learning-rate {self.learning_rate}, expected above 0 and up to 1, such as 0.001")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"got --batch {self.batch}, expected 1 or more")
        if self.seed < 0:
            raise ConfigError(f"got seed {self.seed}, expected 0 or more; give --seed 0 or more")
        if self.confidence_floor is not None and not 0 <= self.confidence_floor <= 1:
            raise ConfigError(
                f"got --confidence-floor {self.confidence_floor}, expected 0 to 1, such as 0.8 (labels have over 0.5)"
            )
        if not self.save_minutes >= 0:
            raise ConfigError(f"got --save-minutes {self.save_minutes}, expected 0 (every step) or more, such as 10")
        if self.jobs < 1:
            raise ConfigError(f"got {self.jobs} jobs, expected 1 or more")
        if self.schemes:
            self.find_schemes()
        if self.devices * self.nodes > 1:
            self._require_shares(self.devices * self.nodes)

    def find_schemes(self) -> "list[Scheme]":
        """The schemes to train, those with pseudo-labels last; the paper's if none is named."""
        from mapping_stroke.training.schemes import find_scheme

        schemes = [find_scheme(name, self.variant) for name in self.schemes or PAPER_SCHEMES]
        return sorted(schemes, key=lambda scheme: scheme.pseudo_labels)

    @property
    def wanted_size(self) -> "Size":
        """The size, with the batch, epochs and learning rate that were asked for."""
        from mapping_stroke.training.schemes import find_size

        size = find_size(self.size or "full")
        return replace(
            size,
            batch=size.batch if self.batch is None else self.batch,
            epochs=size.epochs if self.epochs is None else self.epochs,
            learning_rate=size.learning_rate if self.learning_rate is None else self.learning_rate,
        )

    def _require_shares(self, processes: int) -> None:
        """Refuse a batch that cannot be split equally between the processes, and folds trained side by side."""
        if self.jobs > 1:
            raise ConfigError("--jobs trains each fold on one device; leave out --jobs, or --devices and --nodes")
        batch = self.wanted_size.batch
        if batch % processes:
            enough = -(-batch // processes) * processes
            raise ConfigError(
                f"a batch of {batch} patches cannot be split equally between {processes} processes; give fewer "
                f"--devices, or --batch {enough} (which trains another network than the size's own batch does)"
            )


@dataclass(frozen=True)
class PredictConfig:
    """How cases are predicted."""

    mirror: bool = False
    """Average over all mirrorings of each patch that the member was trained with (8 for the paper's), as the paper
    does."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: EngineName = "auto"
    """Engine that computes the networks; `auto`: OpenVINO on x86 processors, torch elsewhere."""
    precision: PrecisionName = "auto"
    """Precision of the convolutions; `auto`: bfloat16 if the chip computes in it."""
    shard: str = ""
    """`i/N`: only the i-th of N shares of the scans, for N processes or machines."""

    def __post_init__(self) -> None:
        slice_of_shard(self.shard)


@dataclass(frozen=True)
class ExperimentConfig:
    """The settings that decide the results of an experiment. They are fixed once their stage has begun."""

    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    folds: int = 5
    """Number of folds."""
    group_by: GroupBy = "subject"
    """Keep all scans of a person, or all of a site, in one fold."""
    given_folds: Annotated[Path | None, arg(metavar="FILE")] = None
    """Use this assignment instead: CSV with case_id,fold, or the authors' Name,Fold."""
    schemes: tuple[str, ...] = ()
    """Training schemes. Default: the paper's four, without self-training if the data set has no unlabelled scan."""
    size: SizeName = "full"
    """`full` is the paper's (a GPU, days); `compact`, `fine`, `small` and `tiny` run on a CPU (hours to minutes)."""
    epochs: int | None = None
    """Epochs of every member. Default: those of the size."""
    variant: VariantName = "paper"
    """Schemes as in the paper, or as in the authors' container."""
    confidence_floor: float | None = None
    """Leave out pseudo-labels that are empty or whose mean P inside is below this (0.5 to 1). Default: use all."""
    seed: int = 0
    """Determines the folds, initial weights, patches and augmentation."""
    mirror: bool = False
    """Average predictions over the mirrorings that the members were trained with, as the paper does."""
    rule: RuleName = "challenge"
    """Post-processing of the method `ensemble-pp`, see `mapping postprocess`."""
    scoring: ProfileName = "atlas2022"
    """Scoring profile, see `mapping evaluate --profile`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`; may change when the experiment is resumed."""

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ConfigError(f"got --folds {self.folds}, expected 2 or more")
        self.training()  # checks the settings that it takes

    def splitting(self) -> FoldsConfig:
        """The settings of the stage `folds`."""
        return FoldsConfig(self.folds, self.seed, self.group_by, self.given_folds)

    def training(self) -> TrainConfig:
        """The settings of the stage `train`."""
        return TrainConfig(
            schemes=self.schemes,
            size=self.size,
            epochs=self.epochs,
            variant=self.variant,
            seed=self.seed,
            confidence_floor=self.confidence_floor,
        )
