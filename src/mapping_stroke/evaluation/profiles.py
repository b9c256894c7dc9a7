"""The metrics of challenges, as data."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool

from mapping_stroke.errors import ConfigError
from mapping_stroke.evaluation import metrics
from mapping_stroke.images.image import Mask, Probability
from mapping_stroke.lesions import FACE_CONNECTED, FULLY_CONNECTED, Lesions, find_lesions


@dataclass(frozen=True, eq=False)
class Pair:
    """A predicted and a reference mask on one grid, with the inputs of their metrics; lesions are found once.

    Attributes:
        prediction: The mask to score.
        reference: The mask it is compared with.
        spacing_mm: Length of a voxel's edge along each axis.
        connectivity: Neighbours that belong to one lesion.
        probability: The map behind the prediction; None if there is none.
    """

    prediction: Mask
    reference: Mask
    spacing_mm: tuple[float, float, float]
    connectivity: Bool[np.ndarray, "3 3 3"]
    probability: Probability | None = None

    # cached, since several metrics share the components
    @cached_property
    def predicted_lesions(self) -> Lesions:
        """The components of the prediction."""
        return find_lesions(self.prediction, self.connectivity)

    @cached_property
    def reference_lesions(self) -> Lesions:
        """The components of the reference."""
        return find_lesions(self.reference, self.connectivity)


@dataclass(frozen=True)
class Metric:
    """One column of a table of scores.

    Attributes:
        key: Its name in files and dicts, with the unit.
        label: Its name in tables.
        unit: Unit of its values; empty for a plain number.
        measure: Computes it.
        higher_is_better: Direction of rankings and of the best value in a column.
        undefined: Description of the cases in which it is NaN; empty if it is always defined.
        ranks_teams: Whether the challenge ranks teams by it.
    """

    key: str
    label: str
    unit: str
    measure: Callable[[Pair], float]
    higher_is_better: bool = field(kw_only=True)
    undefined: str = ""
    ranks_teams: bool = True


@dataclass(frozen=True, eq=False)
class Profile:
    """Scoring of a challenge: the connectivity of lesions, and the metrics in order."""

    name: str
    connectivity: Bool[np.ndarray, "3 3 3"]
    metrics: tuple[Metric, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the metrics, in order."""
        return tuple(metric.key for metric in self.metrics)

    @property
    def scores_probability(self) -> bool:
        """Whether a metric needs the probability map besides the mask."""
        return "pr_auc" in self.keys


ATLAS2022 = Profile(
    "atlas2022",
    FACE_CONNECTED,
    (
        Metric("dice", "Dice", "", lambda p: metrics.dice(p.prediction, p.reference), higher_is_better=True),
        Metric(
            "volume_difference_vox",
            "Volume difference",
            "vox",
            lambda p: metrics.volume_difference_vox(p.prediction, p.reference),
            higher_is_better=False,
        ),
        Metric(
            "simple_lesion_count",
            "Simple lesion count",
            "",
            lambda p: metrics.lesion_count_difference(p.predicted_lesions, p.reference_lesions),
            higher_is_better=False,
        ),
        Metric(
            "lesion_f1",
            "Lesion-wise F1",
            "",
            lambda p: metrics.lesion_f1(p.predicted_lesions, p.reference_lesions),
            higher_is_better=True,
        ),
        Metric(
            "hd95_mm",
            "95HD",
            "mm",
            lambda p: metrics.hd95_mm(p.prediction, p.reference, p.spacing_mm),
            higher_is_better=False,
            undefined="a mask is empty",
            ranks_teams=False,
        ),
    ),
)
"""MICCAI 2022 ATLAS R2.0, and the 95 % Hausdorff distance that the paper adds."""

ISLES2026 = Profile(
    "isles2026",
    FULLY_CONNECTED,
    (
        Metric(
            "matched_lesion_f1",
            "Lesion-wise F1 at IoU 0.25",
            "",
            lambda p: metrics.matched_lesion_f1(p.predicted_lesions, p.reference_lesions),
            higher_is_better=True,
        ),
        Metric(
            "volume_difference_ml",
            "Volume difference",
            "mL",
            lambda p: metrics.volume_difference_ml(p.prediction, p.reference, p.spacing_mm),
            higher_is_better=False,
        ),
        Metric(
            "lesion_count_difference",
            "Lesion count difference",
            "",
            lambda p: metrics.lesion_count_difference(p.predicted_lesions, p.reference_lesions),
            higher_is_better=False,
        ),
        Metric("dice", "Dice", "", lambda p: metrics.dice(p.prediction, p.reference), higher_is_better=True),
        Metric(
            "pr_auc",
            "PR-AUC",
            "",
            lambda p: metrics.pr_auc(p.probability, p.reference),
            higher_is_better=True,
            undefined="there is no probability map",
        ),
    ),
)
"""ISLES'26 (ATLAS v3.0)."""

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in (ATLAS2022, ISLES2026)})


def find_profile(name: str) -> Profile:
    """The profile of this name; raises `ConfigError` that lists the known names."""
    if name not in PROFILES:
        raise ConfigError(f"unknown scoring profile {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]


def profile_of(keys: Iterable[str]) -> Profile | None:
    """The profile that has just these metrics; None if there is none."""
    wanted = set(keys)
    return next((profile for profile in PROFILES.values() if set(profile.keys) == wanted), None)
