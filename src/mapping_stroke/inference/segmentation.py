"""One scan segmented: predict with every member, average, post-process, describe each lesion."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float32
from scipy import ndimage

from mapping_stroke.errors import ConfigError
from mapping_stroke.image import Affine, Image, Mask, Probability
from mapping_stroke.inference.ensemble import average, predict_members
from mapping_stroke.inference.sliding_window import WindowConfig
from mapping_stroke.lesions import find_lesions
from mapping_stroke.networks.bundle import Member
from mapping_stroke.postprocess import postprocess


@dataclass(frozen=True)
class Preset:
    """How much is computed for one scan."""

    name: str
    all_members: bool
    """Else the first alone."""
    mirror: bool


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("fast", all_members=False, mirror=False),
        Preset("balanced", all_members=True, mirror=False),
        Preset("paper", all_members=True, mirror=True),
    )
}


@dataclass(frozen=True)
class LesionRow:
    """One lesion of a segmentation: a row of `lesions.tsv`.

    Attributes:
        lesion: Number, 1 for the largest.
        volume_ml: Volume in millilitres.
        x_mm, y_mm, z_mm: Centre of mass, RAS millimetres.
        max_probability, mean_probability: Of P(lesion) inside, in [0, 1].
        mean_uncertainty: Mean spread of the members inside, in [0, 0.5].
    """

    lesion: int
    volume_ml: float
    x_mm: float
    y_mm: float
    z_mm: float
    max_probability: float
    mean_probability: float
    mean_uncertainty: float


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What is found in one scan, on exactly the scan's own grid.

    Attributes:
        mask: True inside a lesion.
        probability: Mean P(lesion) over the members, in [0, 1].
        uncertainty: Standard deviation of P(lesion) over the members, in [0, 0.5].
        lesions: One row per lesion, largest first; empty where there is none.
        affine: Voxel index to RAS millimetres.
    """

    mask: Mask
    probability: Probability
    uncertainty: Float32[np.ndarray, "x y z"]
    lesions: tuple[LesionRow, ...]
    affine: Affine


def segment_scan(scan: Image, members: Sequence[Member], preset: str, rule: str, device: torch.device) -> Segmentation:
    """Segment one scan with a trained model.

    Args:
        scan: T1w scan as its file holds it.
        members: The model's members, on `device`.
        preset: `fast` (first member), `balanced` (all members) or `paper` (all members, 8 mirrorings).
        rule: Rule of post-processing.
        device: Where the networks live.
    """
    chosen = find_preset(preset)
    used = members if chosen.all_members else members[:1]
    mean = average(predict_members(used, scan, WindowConfig(mirror=chosen.mirror), device))
    mask = postprocess(mean.probability, rule=rule, voxel_volume_mm3=scan.voxel_volume_mm3)
    lesions = describe_lesions(mask, mean.probability, mean.uncertainty, scan)
    return Segmentation(mask, mean.probability, mean.uncertainty, lesions, scan.affine)


def find_preset(name: str) -> Preset:
    """The preset of a name; raises `ConfigError` that lists the known ones."""
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def describe_lesions(
    mask: Mask, probability: Probability, uncertainty: Float32[np.ndarray, "x y z"], scan: Image
) -> tuple[LesionRow, ...]:
    """Volume, place and confidence of every lesion (face-connected), largest first; empty for an empty mask."""
    found = find_lesions(mask)
    numbers = np.arange(1, found.count + 1)
    if found.count == 0:
        return ()
    start = np.array([edge.start for edge in found.box])
    centres_vox = np.array(ndimage.center_of_mass(found.labels > 0, found.labels, numbers)) + start
    centres_mm = centres_vox @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    largest = ndimage.maximum(probability[found.box], found.labels, numbers)
    mean = ndimage.mean(probability[found.box], found.labels, numbers)
    spread = ndimage.mean(uncertainty[found.box], found.labels, numbers)
    order = np.argsort(-found.sizes_vox, kind="stable")
    return tuple(
        LesionRow(
            rank,
            float(found.sizes_vox[i]) * scan.voxel_volume_mm3 / 1000,
            float(centres_mm[i][0]),
            float(centres_mm[i][1]),
            float(centres_mm[i][2]),
            float(largest[i]),
            float(mean[i]),
            float(spread[i]),
        )
        for rank, i in enumerate(order, start=1)
    )


def lesion_table(lesions: Sequence[LesionRow]) -> list[dict[str, object]]:
    """The rows as plain values, rounded as `lesions.tsv` shows them."""
    return [
        {name: value if isinstance(value, int) else round(value, 3) for name, value in asdict(lesion).items()}
        for lesion in lesions
    ]
