"""Presets, and the way from the members' average to a mask and a table of lesions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt16
from scipy import ndimage

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Image, Mask, Probability
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.engines import Engine
from mapping_stroke.inference.ensemble import Average, Ensemble
from mapping_stroke.inference.sliding_window import ALL_AXES, WindowConfig
from mapping_stroke.lesions import Lesions, find_lesions
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.rules import PostprocessConfig, find_rule, mark_lesions


@dataclass(frozen=True)
class Preset:
    """Amount of computation per scan."""

    name: str
    all_members: bool
    """Otherwise only the first."""
    mirror: bool
    """Average over the mirrorings that each member was trained with, even if the model does not always ask for it: all
    8 for the paper's (TTA)."""
    fast_cover: bool
    """Cover the scan in the fastest way that the model supports, such as a single brain-sized window; otherwise in
    overlapping tiles."""


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("fast", all_members=False, mirror=False, fast_cover=True),
        Preset("balanced", all_members=True, mirror=False, fast_cover=False),
        Preset("paper", all_members=True, mirror=True, fast_cover=False),
    )
}


@dataclass(frozen=True)
class LesionRow:
    """One lesion of a segmentation: a row of `lesions.tsv`.

    Attributes:
        lesion: Number, 1 for the largest; equal ones from left to right (then from back to front, from bottom to top).
        volume_ml: Volume in millilitres.
        x_mm, y_mm, z_mm: Centre of mass, RAS millimetres.
        max_probability, mean_probability: Maximum and mean of P(lesion) inside, in [0, 1].
        mean_uncertainty: Mean standard deviation of the members inside, in [0, 0.5].
        agreement: Share of the members with P(lesion) > 0.5, mean over its voxels, in [0, 1].
    """

    lesion: int
    volume_ml: float
    x_mm: float
    y_mm: float
    z_mm: float
    max_probability: float
    mean_probability: float
    mean_uncertainty: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The result for one scan, on exactly the scan's own grid.

    Attributes:
        mask: True inside a lesion.
        probability: Mean P(lesion) over the members, in [0, 1].
        uncertainty: Standard deviation of P(lesion) over the members, in [0, 0.5].
        lesions: One row per lesion, largest first; empty if there is none.
        affine: Voxel index to RAS millimetres.
        seconds: Duration of each step: `predict` and `postprocess`; from `pipeline.segment` also `place` (checking and
            placing the scan) and `prepare` before them. Reading is not included.
    """

    mask: Mask
    probability: Probability
    uncertainty: Float32[np.ndarray, "x y z"]
    lesions: tuple[LesionRow, ...]
    affine: Affine
    seconds: Mapping[str, float] = field(default_factory=dict)


def make_ensemble(bundle: Bundle, preset: str, engine: Engine) -> Ensemble:
    """The members of a model that a preset uses, on an engine; raises `ConfigError` for an unknown preset."""
    chosen = find_preset(preset)
    cover = bundle.card.fast_cover if chosen.fast_cover else "tiles"
    mirror = ALL_AXES if chosen.mirror or bundle.card.mirror == "always" else ()
    window = WindowConfig(mirror=mirror, average=bundle.card.average, cover=cover)
    return Ensemble(bundle, engine, window, bundle.card.members if chosen.all_members else bundle.card.members[:1])


def choose_rule(bundle: Bundle, rule: str) -> PostprocessConfig:
    """The rule with that name; for `mapping` the model's own thresholds, if it has any."""
    own = bundle.card.postprocess
    return own if rule == "mapping" and own is not None else find_rule(rule)


def make_segmentation(scan: Image, mean: Average, rule: PostprocessConfig) -> Segmentation:
    """Post-process the members' average on a scan's own grid and describe each lesion."""
    mask = mark_lesions(replace(scan, voxels=mean.probability), rule)
    return Segmentation(mask, mean.probability, mean.uncertainty, describe_lesions(mask, mean, scan), scan.affine)


def find_preset(name: str) -> Preset:
    """The preset with that name; raises `ConfigError`, with the known names, for another."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def describe_lesions(mask: Mask, mean: Average, scan: Image) -> tuple[LesionRow, ...]:
    """Volume, location and confidence of every lesion (face-connected), largest first; empty for an empty mask."""
    found = find_lesions(mask)
    if found.count == 0:
        return ()
    numbers = np.arange(1, found.count + 1)
    centres_mm, order = _rank(found, scan.affine)
    inside = mean.probability[found.box]
    columns = (
        ndimage.maximum(inside, found.labels, numbers),
        ndimage.mean(inside, found.labels, numbers),
        ndimage.mean(mean.uncertainty[found.box], found.labels, numbers),
        ndimage.mean(mean.agreement[found.box], found.labels, numbers),
    )
    return tuple(
        LesionRow(
            rank,
            float(found.sizes_vox[i]) * scan.voxel_volume_mm3 / 1000,
            *(float(edge) for edge in centres_mm[i]),
            *(float(column[i]) for column in columns),
        )
        for rank, i in enumerate(order, start=1)
    )


def number_lesions(mask: Mask, affine: Affine) -> UInt16[np.ndarray, "x y z"]:
    """The numbers of `describe_lesions` as a map: 1 inside the largest lesion, and so on, 0 outside.

    Lesions beyond the 65 535th largest all have that number.
    """
    numbered = np.zeros(mask.shape, np.uint16)
    found = find_lesions(mask)
    if found.count:
        ranks = np.zeros(found.count + 1, np.int64)  # by label, 0 for the background
        ranks[1 + _rank(found, affine)[1]] = np.arange(1, found.count + 1)
        numbered[found.box] = np.minimum(ranks, np.iinfo(np.uint16).max)[found.labels]
    return numbered


def _rank(found: Lesions, affine: Affine) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, " n"]]:
    """Centres of mass in RAS millimetres, and the order of lesions: the largest first."""
    start = np.array([edge.start for edge in found.box])
    numbers = np.arange(1, found.count + 1)
    centres_vox = np.array(ndimage.center_of_mass(found.labels > 0, found.labels, numbers)) + start
    centres_mm = centres_vox @ affine[:3, :3].T + affine[:3, 3]
    # by size, then by x, y, z, rounded so that float sums decide no tie; the last key comes first
    return centres_mm, np.lexsort((*np.round(centres_mm, 3).T[::-1], -found.sizes_vox))


def lesion_table(lesions: Sequence[LesionRow]) -> list[dict[str, object]]:
    """The rows as plain values, rounded as in `lesions.tsv`."""
    return [
        {name: value if isinstance(value, int) else round(value, 3) for name, value in asdict(lesion).items()}
        for lesion in lesions
    ]
