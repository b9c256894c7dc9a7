"""Settings of `mapping models`: each class is both a group of options on the command line and a value in Python."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from mapping_stroke.errors import ConfigError
from mapping_stroke.names import PresetName, SizeName, TrainingPrecision

FEWEST_CASES = 8
"""Fewest cases kept for a training on a schedule."""


@dataclass(frozen=True)
class ModelLabels:
    """Text and facts for a model's card; anything left out stays as the source has it."""

    name: str = ""
    """Name of the model, in one line."""
    description: str = ""
    """Its purpose, and how it was made."""
    training_data: str = ""
    """The training scans: data set, version, number, selection. For `train`: origin and terms of brains and masks."""
    licence: str = ""
    """Terms under which others may use it, such as `CC-BY-4.0`."""
    citation: str = ""
    """Work to cite."""
    contrast: Literal["keep", "unknown", "T1w", "other"] = "keep"
    """Contrast of the training scans; with `T1w`, `mapping segment` warns of scans that do not look like it."""
    space: Literal["keep", "unknown", "MNI152", "native"] = "keep"
    """Space of the training scans; with `MNI152`, `mapping segment` registers scans that lie elsewhere."""
    shows: Literal["keep", "unknown", "head", "brain"] = "keep"
    """Anatomy in the training scans; with `brain`, `mapping segment` removes everything else from a head."""
    rule: Literal["keep", "mapping", "challenge", "paper", "none"] = "keep"
    """Store the thresholds of this post-processing rule as the model's own; `keep` leaves them as they are."""
    fast_cover: Literal["keep", "tiles", "window"] = "keep"
    """How the preset `fast` covers a scan: `window`, if that costs under 0.005 Dice (benchmark `agreement`)."""
    mirror: Literal["keep", "asked", "always"] = "keep"
    """Which presets average over the mirrorings that each member was trained with: `asked` is only `paper`, `always` is
    every one, if that is worth twice the time or more."""


@dataclass(frozen=True)
class Selection:
    """Which members are packed, in which order, and how their weights are stored."""

    schemes: tuple[str, ...] = ()
    """Take only the members of these schemes."""
    folds: tuple[int, ...] = ()
    """Take only the members of these folds."""
    half: bool = False
    """Store weights in float16: half the bytes, and nearly identical masks (benchmark `agreement`)."""
    spread: bool = False
    """Shift the members' grids by fractions of a voxel, for networks whose voxels are larger than the scans'."""
    beside: str = ""
    """Add them to all members of this model, as for `show`: members with other voxels make other mistakes."""
    first: str = ""
    """Put this member first, such as `residual, fold 0`: the preset `fast` uses only the first."""


@dataclass(frozen=True)
class ImportConfig:
    """How the result folders of nnU-Net are read."""

    scheme: tuple[str, ...] = ()
    """Scheme of the members of each folder, one name per folder; guessed if left out."""
    orientation: str = "RAS"
    """Axis orientation of the training scans, which nnU-Net does not record; RAS for scans in MNI space."""
    checkpoint: Literal["final", "best", "latest"] = "final"
    """Checkpoint to take from each fold."""


@dataclass(frozen=True)
class Prediction:
    """How the members predict."""

    preset: PresetName = "balanced"
    """As for `mapping segment`; `fit` fits the levels for it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""


@dataclass(frozen=True)
class EvaluateConfig:
    """The scans a model is evaluated on, none of which it was trained on."""

    cohort: Path
    """Labelled cases in any layout that `mapping prepare` reads; the model must not have been trained on them."""
    healthy: tuple[Path, ...] = ()
    """Healthy scans, or folders of them: everything marked there is a false positive."""
    heads: tuple[Path, ...] = ()
    """Healthy scans of whole heads, or folders of them: reported separately from --healthy, and never in a picture."""
    hard: tuple[Path, ...] = ()
    """Scans of patients without a mask, or folders of them, such as tumours: the marked volume is listed by scan."""
    prediction: Prediction = Prediction()


@dataclass(frozen=True)
class FitConfig:
    """The scans a rule is fitted on, none of which the model was trained on."""

    cohort: Path
    """Labelled cases in any layout that `mapping prepare` reads. The model must not have been trained on them: it is
    overconfident on such cases, which would bias the levels."""
    healthy: tuple[Path, ...] = ()
    """Healthy scans, or folders of them: what a rule marks there counts like a metric, as in labelled cases
    without lesion."""
    keep_maps: bool = False
    """Keep the predicted maps next to the model, for another fit; a few MB per scan."""
    prediction: Prediction = Prediction()


@dataclass(frozen=True)
class AuditConfig:
    """Simulated cases that a model is audited on, and how it predicts."""

    cases: int = 60
    """Number of cases of people and masks that no training has seen."""
    known: int = 30
    """Number of cases of the people and masks that models are trained on."""
    seed: int = 0
    """Seed of the cases."""
    prediction: Prediction = Prediction()

    def __post_init__(self) -> None:
        if self.cases < 3 or self.known < 0:
            raise ConfigError(f"got --cases {self.cases} --known {self.known}, expected 3 or more, and 0 or more")


@dataclass(frozen=True)
class HeldOutCases:
    """Number of simulated cases held out of a training."""

    validation: int = 60
    """Number of cases of held-out people and masks, for fitting the rule."""
    test: int = 120
    """Number of cases of yet other people and masks, for evaluating the model."""
    heads: tuple[Path, ...] = ()
    """Healthy scans of whole heads, files or folders, for evaluating the model; none is trained on."""

    def __post_init__(self) -> None:
        if self.validation < 10 or self.test < 1:
            raise ConfigError(
                f"got --validation {self.validation} --test {self.test}, expected 10 or more to fit the rule and 1 or "
                "more to evaluate the model"
            )


@dataclass(frozen=True)
class ModelConfig:
    """How a model is trained."""

    size: SizeName = "compact"
    """Size of networks and training. `fine` is for fine-tuning a model of size `compact`: its members grow, and read
    voxels half as large."""
    seed: int = 0
    """Seed of initial weights, cases and augmentation."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    precision: TrainingPrecision = "auto"
    """Precision of the convolutions; `auto` uses bfloat16 if the device supports it natively."""
    from_: Annotated[str, arg(name="from")] = ""
    """Warm start: continue from this model (as for `mapping segment`) of the same size (or see --size), at half the
    learning rate, on new cases. Give the --brains and --rescans of that model, so that the same people are held out."""
    schemes: tuple[str, ...] = ()
    """With --from, --patches or --minutes: train only these of the paper's schemes. If left out, all four; with
    --patches or --minutes, which allows one, `default`."""
    epochs: int = 0
    """Epochs of every member; 0 for those of the size."""
    patches: int = 0
    """Train for days, on a schedule of this many patches, one network at a time; 0 to count in epochs. The packed
    weights are a running average. A small file for moving to another machine is written with every checkpoint, see
    --state."""
    minutes: float = 0.0
    """Train by the clock, on a GPU that is available for minutes: the command ends within this time, and the next one
    continues. It simulates its cases itself, in the device's memory, and leaves all that another machine needs in
    RUN_FOLDER/pieces, in files below 15 MB. Packing and evaluation are left to a later call, after the training."""
    of: float = 0.0
    """With --minutes: length of the entire schedule, all calls together; 0 for a single call."""
    batch: int = 0
    """With --patches or --minutes: patches per step; 0 for that of the size (2). The learning rate is scaled by the
    square root of the ratio."""
    state: Path | None = None
    """With --patches or --minutes: continue from this `.state` file, or from the one for this size and scheme in this
    folder (or the pieces there), unless the run folder is further on."""
    jobs: int = 1
    """Members trained at once, each in a process with its share of the CPU cores; the weights are the same."""
    cases: int = 0
    """Simulated cases to draw once, keep on disk (2 to 8 MB each) and reuse; 0 draws a new one for every patch, which
    costs a GPU next to nothing, but a CPU as much time as the training step. With --patches, this many lie on disk at a
    time: a low-priority process makes them, and each is used for --uses patches. With --minutes, this many lie in the
    device's memory (256 for 0)."""
    uses: int = 25
    """With --patches and --cases: patches to cut from each case. Fewer leave the network less to learn by heart, but
    need a faster processor to make new cases, or the training waits for them."""
    compile: bool = False
    """Compile the networks: up to twice as fast on a CPU; needs a C++ compiler, and a minute or two at the start."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints, in minutes; one is also written after every epoch."""

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(f"got {self.epochs} epochs, expected 1 or more, or 0 for those of size {self.size}")
        if self.schemes and not self.on_schedule and not self.from_:
            raise ConfigError("--schemes is for a warm start or a schedule; add --from, --patches or --minutes")
        if self.on_schedule or self.state or self.of or self.batch:
            self._require_schedule()
        if self.schemes:
            self._require_schemes()
        if self.jobs < 1:
            raise ConfigError(f"got {self.jobs} jobs, expected 1 or more")
        if self.cases < 0:
            raise ConfigError(f"got {self.cases} cases to keep, expected 1 or more, or 0 for a new one at every patch")
        if self.uses < 1:
            raise ConfigError(f"got --uses {self.uses}, expected 1 or more patches of each case")

    def _require_schedule(self) -> None:
        """Raise `ConfigError` if the other settings rule out a training on a schedule."""
        if not self.on_schedule:
            raise ConfigError("--state, --of and --batch are for a training on a schedule; add --patches or --minutes")
        if self.patches and self.minutes:
            raise ConfigError("the length of a schedule is counted in --patches or in --minutes; leave one out")
        if self.patches < 0 or self.minutes < 0 or self.batch < 0:
            raise ConfigError(
                f"got {self.patches} patches, {self.minutes:g} minutes, a batch of {self.batch}; expected more than 0"
            )
        if self.of and not 0 < self.minutes <= self.of:
            raise ConfigError(f"got {self.minutes:g} minutes of {self.of:g}, expected no more than the whole")
        if self.minutes and len(self.schemes) > 1:
            raise ConfigError(f"got {len(self.schemes)} schemes, but by the clock one network is trained; name one")
        if self.epochs or self.jobs > 1:
            raise ConfigError("a schedule trains one network at a time; leave out --epochs and --jobs")
        if 0 < self.cases < FEWEST_CASES:
            raise ConfigError(f"got {self.cases} cases, expected {FEWEST_CASES} or more, or 0 for a new one each time")

    def _require_schemes(self) -> None:
        """Raise `ConfigError` for a scheme that cannot be trained with these settings."""
        # imported here, because it loads torch
        from mapping_stroke.training.schemes import SCHEMES, find_scheme

        paper = {scheme.name: scheme for scheme in SCHEMES}
        for name in self.schemes:
            if name not in paper:
                find_scheme(name)
                raise ConfigError(f"{name} is none of the paper's schemes, which a model is made of")
            if self.on_schedule and paper[name].pseudo_labels:
                raise ConfigError("a schedule has no pseudo-labels; train self-training with --from, in epochs")

    @property
    def on_schedule(self) -> bool:
        """Whether the training follows a schedule of patches or minutes instead of epochs."""
        return bool(self.patches or self.minutes)

    @property
    def length(self) -> int:
        """Length of the schedule, in the unit that it counts."""
        return self.patches or round(60 * (self.of or self.minutes))

    @property
    def counts(self) -> Literal["patches", "seconds"]:
        """Unit that the schedule counts."""
        return "patches" if self.patches else "seconds"
