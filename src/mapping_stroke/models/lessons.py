"""Settings of a model's training, its curriculum stages, and settings for fine-tuning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource
from mapping_stroke.errors import ConfigError
from mapping_stroke.names import SizeName
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.networks.growth import can_grow
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.simulation.bank import DEFAULT_MIX, FINER_MIX, PLACED_MIX, Mix
from mapping_stroke.stages.settings import TrainConfig
from mapping_stroke.stages.warm_start import WarmStart, choose_warm_start
from mapping_stroke.training.schemes import EXTRA_SCHEMES, SCHEMES, Size, find_scheme, find_size

FOLD = 0
"""There are no folds: other people and other masks are held out, see `dataset.simulate.parts`."""


@dataclass(frozen=True)
class Lesson:
    """What members are trained on.

    Attributes:
        mix: Of what kinds cases are.
        augmentation: Of their patches: simulated cases vary already in all that the schemes' sets change, and more as
            scans do.
        case_seed: Beside the model's own: no case of one lesson is that of another.
        rate: Share of the size's learning rate.
        start_share: How much of the weights that they began with members keep; see `blend_weights`.
    """

    mix: Mix
    augmentation: str
    case_seed: int
    rate: float
    start_share: float


FIRST = Lesson(DEFAULT_MIX, "none", 5, 1.0, 0.0)
"""All that a scan can look like."""
SECOND = Lesson(PLACED_MIX, "sides", 6, 0.5, 0.5)
"""For members that are trained already: what they will be asked, by `mapping segment`. What heads look like is half
forgotten over it, so half of what they knew is kept."""
FINER = Lesson(FINER_MIX, "sides", 7, 0.5, 0.0)
"""For members that grow, and see finer voxels than before: as the second lesson, with more heads."""
LONG = Lesson(FINER_MIX, "sides", 8, 1.0, 0.0)
"""For a training on a schedule: mostly what `mapping segment` will ask. Each case is seen many times, so sides are
swapped."""
LONG_FINER = Lesson(FINER_MIX, "sides", 9, 0.5, 0.0)
"""The same for members that go on, or grow."""


@dataclass(frozen=True, eq=False)
class LaterCases:
    """New cases of a later lesson: members draw the same numbers in each, which would give those of the first."""

    source: CaseSource
    seed: tuple[int, ...]

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case."""
        return self.source.draw(np.random.default_rng([*self.seed, int(rng.integers(2**63))]))


def go_on_with(
    model: str, size: Size, people: Sequence[Sequence[str]] | None, schemes: Sequence[str] = ()
) -> dict[str, WarmStart]:
    """By scheme, the members of a model with which the members of another one begin.

    Args:
        model: See `open_bundle`.
        size: Of the new members. Where its networks are those of the model but for wider stages and cubes of voxels
            in place of voxels, the members' weights grow.
        people: The brains' names, person by person, that cases will be simulated in; None for the template alone.
        schemes: Names of the new members' schemes; empty for all.

    Raises:
        BundleError: There is no such model.
        ConfigError: It has no member for a scheme, or networks of another size, or was trained on some of these people
            when there were others beside them: then some that would judge the new model may have been learned from.
    """
    bundle = open_bundle(model)
    wanted = [scheme for scheme in SCHEMES if not schemes or scheme.name in schemes]
    starts = {scheme.name: choose_warm_start(bundle, scheme, FOLD) for scheme in wanted}
    now = {name for person in people or () for name in person}
    for scheme in wanted:
        start = starts[scheme.name] = _grown(starts[scheme.name], size.network(scheme), size)
        card = start.member.card
        told = (card.training.get("simulation") or {}).get("people") or []
        if now & {name for person in told for name in person} and told != people:
            raise ConfigError(
                f"{start.model.path}: was trained on some of these people, with others beside them, and dealt "
                "otherwise; give the same --brains and --rescans, or none of these people"
            )
    return starts


def _grown(start: WarmStart, network: NetworkSpec, size: Size) -> WarmStart:
    """The start of a member of that network: as it is, or grown; raises `ConfigError` where it is neither."""
    card = start.member.card
    if (card.network, card.patch) == (network, size.patch):
        return start
    cube_mm = tuple(edge * network.unshuffle for edge in size.preprocess.edges_mm)
    if cube_mm != card.preprocess.edges_mm or not can_grow(card.network, network):
        raise ConfigError(
            f"{start.model.path}: its networks are not those of size {size.name}, nor can they grow to them; go on "
            "with a model that `mapping models train` made at this size, or give the size that it was trained at"
        )
    return replace(start, grown=network)


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


EPOCHS = 10
"""Short: on some twenty cases a network begins to know them by heart."""
RATE_SHARE = 1 / 30
"""Of the size's learning rate. With more, the first epochs undo what the network knows: of a small one that was trained
on good scans, on 20 simulated scans of a poor scanner, a third of the rate left a Dice of 0.08 of 0.20, a tenth 0.15, a
thirtieth 0.17 with a third of the falsely marked volume, a hundredth 0.18 with half of it."""


def fine_tuning_config(config: TrainConfig) -> TrainConfig:
    """Settings for fine-tuning `from_`: by default all schemes of the model, at its own size, short and gentle.

    Args:
        config: Names the model. The size is for models without a size of their own, such as imported ones; `full` if
            left out. It determines steps and optimiser; network, patch and preprocessing are always the model's.

    Raises:
        BundleError: There is no such model.
        ConfigError: It is of another size, or has no scheme that can be trained.
    """
    bundle = open_bundle(config.from_)
    size = _size_of(bundle, config.size)
    rate = round(find_size(size).learning_rate * RATE_SHARE, 6)
    return replace(
        config,
        schemes=config.schemes or _schemes_of(bundle),
        size=size,
        epochs=EPOCHS if config.epochs is None else config.epochs,
        learning_rate=rate if config.learning_rate is None else config.learning_rate,
    )


def _size_of(bundle: Bundle, asked: SizeName | None) -> SizeName:
    told = [member.card.training.get("size") for member in bundle.card.members]
    known = [name for name in get_args(SizeName) if name in told]
    if not known:
        return asked or "full"
    if asked is not None and asked not in known:
        raise ConfigError(f"{bundle.path}: its members are of size {known[0]}, not {asked}; leave --size out")
    return asked or known[0]


def _schemes_of(bundle: Bundle) -> tuple[str, ...]:
    told = {member.card.scheme: None for member in bundle.card.members}
    known = tuple(scheme.name for scheme in (*SCHEMES, *EXTRA_SCHEMES) if scheme.name in told)
    if not known:
        return _by_network(bundle)
    return known


def _by_network(bundle: Bundle) -> tuple[str, ...]:
    """The first scheme for each kind of network that a model of other schemes has."""
    encoders = {member.card.network.encoder: None for member in bundle.card.members}
    return tuple(next(scheme.name for scheme in SCHEMES if scheme.encoder == encoder) for encoder in encoders)
