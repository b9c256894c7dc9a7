"""How a model is trained from brains and masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapping_stroke.errors import ConfigError
from mapping_stroke.experiment.lessons import FINER, FIRST, LONG, LONG_FINER, SECOND, Lesson
from mapping_stroke.training.schemes import SCHEMES, find_scheme, find_size

FEWEST_CASES = 8
"""In a ring."""


@dataclass(frozen=True)
class ModelConfig:
    """How a model is trained.

    Attributes:
        size: Name of the size of networks and training.
        seed: Decides weights, cases and augmentation.
        device: `auto`, `cpu`, `cuda` or `mps`.
        precision: Of the convolutions; see `Hardware`.
        unlabelled: Simulated scans whose masks are thrown away and made up again by the best member, for self-training.
        pseudo_share: How often self-training draws one of these instead of a new case.
        save_minutes: Longest time between two checkpoints.
        jobs: Members trained at once, each in a process with its share of the CPU cores; the weights are the same.
        cases: Simulated cases that are drawn once, kept on disk and shared by the members; 0 draws a new one for
            every patch.
        branch: Begin a member that has the network of an earlier one with the weights of that, and train it less: for
            devices on which steps are dear.
        model: Go on with the members of this model, by a later lesson; empty for fresh weights.
        epochs: Of every member, but a share of them for one that branches off; 0 for the size's own.
        compiled: See `Hardware`.
        schemes: With `model`: which to train; empty for all.
        beside: With `model`: pack the new members beside its own.
        patches: Train on a schedule of so many; 0 to count in epochs.
        state: Of a training on a schedule: a small state to go on from, or a folder of them; None for none.
        minutes: Train on a schedule by the clock: so long this time; 0 for no clock.
        of: Minutes of the whole schedule, all calls together; 0 for one call.
        batch: Patches of a step of a training on a schedule; 0 for the size's own.
    """

    size: str = "compact"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    unlabelled: int = 48
    pseudo_share: float = 0.3
    save_minutes: float = 10.0
    jobs: int = 1
    cases: int = 0
    branch: bool = False
    model: str = ""
    epochs: int = 0
    compiled: bool = False
    schemes: tuple[str, ...] = ()
    beside: bool = False
    patches: int = 0
    state: Path | None = None
    minutes: float = 0.0
    of: float = 0.0
    batch: int = 0

    def __post_init__(self) -> None:
        find_size(self.size)
        if self.epochs < 0:
            raise ConfigError(f"got {self.epochs} epochs, expected 1 or more, or 0 for those of size {self.size}")
        if self.branch and self.model:
            raise ConfigError("members that go on with a model's do not branch off one another; leave --branch out")
        if ((self.schemes and not self.on_schedule) or self.beside) and not self.model:
            raise ConfigError("some schemes alone, or members beside others, are for going on with a model; add --from")
        if self.on_schedule or self.state or self.of or self.batch:
            self._require_schedule()
        for name in self.schemes:
            if name not in {scheme.name for scheme in SCHEMES}:
                find_scheme(name)
                raise ConfigError(f"{name} is none of the paper's schemes, which a model is made of")
        if self.jobs < 1:
            raise ConfigError(f"got {self.jobs} jobs, expected 1 or more")
        if self.cases < 0:
            raise ConfigError(f"got {self.cases} cases to keep, expected 1 or more, or 0 for a new one at every patch")
        if self.unlabelled < 1 or not 0 < self.pseudo_share < 1:
            raise ConfigError(
                f"got {self.unlabelled} unlabelled scans with a share of {self.pseudo_share}, expected 1 or more, "
                "and a share between 0 and 1"
            )

    def _require_schedule(self) -> None:
        """Raise `ConfigError` where a training on a schedule cannot be had with the other settings."""
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
        if self.branch or self.epochs or self.jobs > 1:
            raise ConfigError(
                "on a schedule one network is trained at a time, alone; leave out --branch, --epochs and --jobs"
            )
        if any(find_scheme(name).pseudo_labels for name in self.schemes):
            raise ConfigError("self-training branches off in epochs; train it with --from, without a schedule")
        if 0 < self.cases < FEWEST_CASES:
            raise ConfigError(f"got {self.cases} cases, expected {FEWEST_CASES} or more, or 0 for a new one each time")

    @property
    def on_schedule(self) -> bool:
        """Whether a schedule is counted, in patches or minutes, and not epochs."""
        return bool(self.patches or self.minutes)

    @property
    def length(self) -> int:
        """Of the schedule, in what it counts."""
        return self.patches or round(60 * (self.of or self.minutes))

    @property
    def counts(self) -> Literal["patches", "seconds"]:
        """What the schedule counts."""
        return "patches" if self.patches else "seconds"

    @property
    def lesson(self) -> Lesson:
        """What is trained on."""
        if self.on_schedule:
            return LONG_FINER if self.model else LONG
        if not self.model:
            return FIRST
        return SECOND if find_size(self.size).plain.unshuffle == 1 else FINER

    @property
    def rounds(self) -> tuple[tuple[str, ...], ...]:
        """Names of schemes that may be trained side by side, round after round: each needs only what came before."""
        if self.on_schedule:
            return (self.schemes or (SCHEMES[0].name,),)
        if self.model:
            return (tuple(scheme.name for scheme in SCHEMES if not self.schemes or scheme.name in self.schemes),)
        first = {scheme.encoder: scheme.name for scheme in reversed(SCHEMES)}
        early = [s.name for s in SCHEMES if not s.pseudo_labels and (not self.branch or first[s.encoder] == s.name)]
        return tuple(early), tuple(scheme.name for scheme in SCHEMES if scheme.name not in early)
