"""Curriculum of a model's training, and the weights that each lesson starts from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource
from mapping_stroke.errors import ConfigError
from mapping_stroke.models.settings import ModelConfig
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.growth import can_grow
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.simulation.bank import DEFAULT_MIX, FINER_MIX, PLACED_MIX, Mix
from mapping_stroke.stages.warm_start import WarmStart, choose_warm_start
from mapping_stroke.training.schemes import SCHEMES, Size, find_size

FOLD = 0
"""There are no folds: people and masks are held out instead, see `dataset.sources`."""


@dataclass(frozen=True)
class Lesson:
    """One stage of the curriculum.

    Attributes:
        mix: Composition of the simulated cases.
        augmentation: Augmentation of their patches. The simulation already varies everything that the schemes' own
            augmentations vary, and more realistically.
        case_seed: Combined with the model's seed, so that no two lessons share a case.
        rate: Share of the size's learning rate.
        start_share: Share of their initial weights that members keep at the end; see `blend_weights`.
    """

    mix: Mix
    augmentation: str
    case_seed: int
    rate: float
    start_share: float


FIRST = Lesson(DEFAULT_MIX, "none", 5, 1.0, 0.0)
"""From scratch, on the full variety of scans."""
SECOND = Lesson(PLACED_MIX, "sides", 6, 0.5, 0.5)
"""Fine-tuning on scans as `mapping segment` presents them. Members partly forget heads meanwhile, so they keep half of
their initial weights."""
FINER = Lesson(FINER_MIX, "sides", 7, 0.5, 0.0)
"""For members that grow to finer voxels: as the second lesson, with more heads."""
LONG = Lesson(FINER_MIX, "sides", 8, 1.0, 0.0)
"""For a training on a schedule: mostly scans as `mapping segment` presents them. Cases are reused, so left and right
are swapped at random."""
LONG_FINER = Lesson(FINER_MIX, "sides", 9, 0.5, 0.0)
"""The same for members with a warm start."""


@dataclass(frozen=True, eq=False)
class LaterCases:
    """New cases of a later lesson; reseeds, since members draw the same numbers in every lesson."""

    source: CaseSource
    seed: tuple[int, ...]

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case."""
        # the training's generator still advances, and the lesson's seed makes the cases new
        return self.source.draw(np.random.default_rng([*self.seed, int(rng.integers(2**63))]))


def warm_starts(
    model: str, size: Size, people: Sequence[Sequence[str]] | None, schemes: Sequence[str] = ()
) -> dict[str, WarmStart]:
    """Warm starts of the members of a new model from those of a trained one, by scheme.

    Args:
        model: See `open_bundle`.
        size: Of the new members. If its networks differ from the model's only by wider stages and by cubes of voxels in
            place of voxels, the weights grow.
        people: Names of the brains that cases will be simulated in, grouped by person; None for the template.
        schemes: Names of the new members' schemes; empty for all.

    Raises:
        BundleError: There is no such model.
        ConfigError: It has no member for a scheme, has networks of another size, or was trained on some of these people
            together with others. The split then differs, so that it may have learned from people held out now.
    """
    bundle = open_bundle(model)
    wanted = [scheme for scheme in SCHEMES if not schemes or scheme.name in schemes]
    starts = {scheme.name: choose_warm_start(bundle, scheme, FOLD) for scheme in wanted}
    now = {name for person in people or () for name in person}
    for scheme in wanted:
        start = starts[scheme.name] = _grown(starts[scheme.name], size.network(scheme), size)
        card = start.member.card
        trained_on = (card.training.get("simulation") or {}).get("people") or []
        # splits depend on the set of all people, so a common person may be on another side now
        if now & {name for person in trained_on for name in person} and trained_on != people:
            raise ConfigError(
                f"{start.model.path}: was trained on some of these people together with others, so the splits "
                "differ; give the same --brains and --rescans, or none of these people"
            )
    return starts


def _grown(start: WarmStart, network: NetworkSpec, size: Size) -> WarmStart:
    """The warm start for this network, grown if needed; raises `ConfigError` if it does not fit."""
    card = start.member.card
    if (card.network, card.patch) == (network, size.patch):
        return start
    cube_mm = tuple(edge * network.unshuffle for edge in size.preprocess.edges_mm)
    if cube_mm != card.preprocess.edges_mm or not can_grow(card.network, network):
        raise ConfigError(
            f"{start.model.path}: its networks are not those of size {size.name}, nor can they grow to them; "
            "continue from a model that `mapping models train` made at this size, or give the size it was trained at"
        )
    return replace(start, grown=network)


def lesson_of(config: ModelConfig) -> Lesson:
    """The lesson that a training is given."""
    if config.on_schedule:
        return LONG_FINER if config.from_ else LONG
    if not config.from_:
        return FIRST
    return SECOND if find_size(config.size).plain.unshuffle == 1 else FINER


def rounds_of(config: ModelConfig) -> tuple[tuple[str, ...], ...]:
    """Names of the schemes to train, round by round; those of one round can be trained in parallel."""
    if config.on_schedule:
        return (config.schemes or (SCHEMES[0].name,),)
    if config.from_:
        return (tuple(scheme.name for scheme in SCHEMES if not config.schemes or scheme.name in config.schemes),)
    first = {scheme.encoder: scheme.name for scheme in reversed(SCHEMES)}  # the first of each kind wins
    early = [s.name for s in SCHEMES if not s.pseudo_labels and (not config.branch or first[s.encoder] == s.name)]
    return tuple(early), tuple(scheme.name for scheme in SCHEMES if scheme.name not in early)
