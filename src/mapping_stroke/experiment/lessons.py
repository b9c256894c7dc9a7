"""What the members of a model are trained on, first and later, and the members that they begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import CaseSource
from mapping_stroke.dataset.simulate.stream import DEFAULT_MIX, FINER_MIX, PLACED_MIX, Mix
from mapping_stroke.errors import ConfigError
from mapping_stroke.experiment.starts import Start, choose_start
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.growth import can_grow
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.training.schemes import SCHEMES, Size

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
) -> dict[str, Start]:
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
    starts = {scheme.name: choose_start(bundle, scheme, FOLD) for scheme in wanted}
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


def _grown(start: Start, network: NetworkSpec, size: Size) -> Start:
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
