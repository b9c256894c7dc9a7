"""Rules that turn a probability map into a mask, with thresholds that depend on the lesion load.

Source: Huo et al. 2022, arXiv:2211.15486, section 2.3, and `rename_predictions.py` of the authors' container
(King-HAW/ATLAS-R2-Docker-Submission), whose results the rule `challenge` reproduces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, SupportsFloat

import numpy as np
from jaxtyping import Bool, Int64

from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.images.image import Image, Mask, Probability, reorient, restore_axes
from mapping_stroke.lesions import Lesions, bounding_box, find_lesions

ROUNDING = 1e-6
"""Means, softmax values and scaled integers may exceed [0, 1] by this much."""


ALL_LOADS_MM3 = 1e6
"""A litre, more than any lesion load: as the end of the small loads it makes every load a small one."""


@dataclass(frozen=True)
class Thresholds:
    """A voxel above `core` starts a lesion; a voxel above `edge` may extend one."""

    core: float
    edge: float

    def __post_init__(self) -> None:
        if not 0 < self.edge <= self.core < 1:
            raise ConfigError(f"thresholds need 0 < edge <= core < 1, got core={self.core}, edge={self.edge}")


@dataclass(frozen=True)
class PostprocessConfig:
    """One rule. All levels are compared in float32, the precision of the maps.

    Attributes:
        manner: `drop` keeps the regions above `edge` whose maximum reaches `core`. `grow` starts from the cores, lets
            them grow into their regions, and for large loads splits regions and keeps those without a core (see
            `postprocess`).
        small: Thresholds of cases with a load below `small_load` at P > 0.5.
        large: Thresholds of all others.
        small_load: Upper end of the small loads.
        load_unit: Unit of `small_load`: voxels, or mm3 for any grid.
        many_lesions: `grow`, small load: if there are more cores than this, the smallest one is dropped.
        wide_edge: `grow`: the edge level if no voxel lies between `core` and `edge`.
        below_peak: `grow`: if there is no core, the mask is all voxels less than this below the maximum.
        least_peak: A scan whose maximum is not above this gets an empty mask; 0 for no such level.
        smallest_mm3: Lesions with a smaller volume are dropped from the mask; 0 keeps all.
    """

    manner: Literal["drop", "grow"]
    small: Thresholds
    large: Thresholds
    small_load: float = 3000
    load_unit: Literal["vox", "mm3"] = "vox"
    many_lesions: int = 4
    wide_edge: float = 0.3
    below_peak: float = 0.1
    least_peak: float = 0.0
    smallest_mm3: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least_peak < 1:
            raise ConfigError(f"least_peak is {self.least_peak}, expected a level of P(lesion), 0 or more and below 1")
        if not 0 <= self.smallest_mm3 < np.inf:
            raise ConfigError(f"smallest_mm3 is {self.smallest_mm3}, expected a volume of 0 mm3 or more")

    @property
    def counts_voxels(self) -> bool:
        """Whether the mask depends on a load in voxels, so that it may differ between grids."""
        return self.load_unit == "vox" and (self.manner == "grow" or self.small != self.large)

    @property
    def has_one_load(self) -> bool:
        """Whether every load counts as small, so that `large` is never used and no region is split."""
        return self.load_unit == "mm3" and self.small_load >= ALL_LOADS_MM3


CHALLENGE = PostprocessConfig("grow", small=Thresholds(0.70, 0.50), large=Thresholds(0.55, 0.50))

RULES: Mapping[str, PostprocessConfig] = MappingProxyType(
    {
        "mapping": replace(CHALLENGE, load_unit="mm3", least_peak=0.5),
        "challenge": CHALLENGE,
        "paper": PostprocessConfig("drop", small=Thresholds(0.70, 0.50), large=Thresholds(0.55, 0.55)),
        "none": PostprocessConfig("drop", small=Thresholds(0.50, 0.50), large=Thresholds(0.50, 0.50)),
    }
)
"""`mapping`: `challenge` for any grid, with the load in mm3; a scan without any voxel at P > 0.5 gets an empty mask. A
model may replace it by levels of its own, fitted out of fold. `challenge`: the authors' container. `paper`: the text of
section 2.3. `none`: P > 0.5."""


def find_rule(name: str) -> PostprocessConfig:
    """The rule of this name; raises `ConfigError` that lists the known names."""
    if name not in RULES:
        raise ConfigError(f"unknown post-processing rule {name!r}; choose one of {', '.join(RULES)}")
    return RULES[name]


def postprocess(probability: np.ndarray, rule: str = "challenge", voxel_volume_mm3: SupportsFloat = 1.0) -> Mask:
    """Turn a probability map into a lesion mask, by size-aware rules.

    Lesions are face-connected. The load at P > 0.5 decides `core` and `edge`. The steps of the rule `challenge`:

    1. A = voxels above `core`, B = voxels above `edge`.
    2. Small load and more than four lesions in A: drop the smallest (of equal ones the first in C order).
    3. A is empty: the mask is all voxels above maximum - 0.1, and the steps below are skipped.
    4. A equals B: B becomes all voxels above 0.3.
    5. The mask is A and the regions of B that contain a lesion of A. For a large load also the regions that contain
       none, while a region that contains several keeps only its A voxels, which splits it.

    Args:
        probability: Mean P(lesion) per voxel (x, y, z), in [0, 1] up to rounding by 1e-6; converted to float32. Any
            memory layout.
        rule: `mapping`, `challenge`, `paper` or `none`, see `RULES`.
        voxel_volume_mm3: Volume of one voxel; only affects `mapping`.

    Returns:
        Mask of the same shape; empty if the array has no voxels or its maximum is at most 0.1.

    Raises:
        ConfigError: Unknown rule, or a voxel volume that is not above 0.
        ImageError: The map is not three-dimensional, or holds NaN or values outside [0, 1].

    Departs: if the maximum is at most 0.1, the authors' code labels the whole volume; here the mask is empty.
    """
    config = find_rule(rule)
    if not 0 < float(voxel_volume_mm3) < np.inf:
        raise ConfigError(f"a voxel's volume must be above 0 mm3, got {voxel_volume_mm3}")
    return apply_rule(check_probability(probability), config, float(voxel_volume_mm3))


def check_probability(probability: np.ndarray) -> Probability:
    """Return the map as float32 in [0, 1]; values beyond by at most `ROUNDING` are clipped.

    Raises:
        ImageError: The map does not have 3 axes, or holds NaN, values farther outside, or no real numbers.
    """
    probability = np.asarray(probability)
    if probability.ndim != 3:
        raise ImageError(f"a probability map has 3 axes, got {probability.ndim} (shape {probability.shape})")
    if probability.dtype.kind not in "fiub":
        raise ImageError(f"a probability map holds real numbers, got values of type {probability.dtype}")
    if probability.size > 0:
        lowest, highest = probability.min(), probability.max()
        if np.isnan(lowest):
            raise ImageError(
                f"the probability map holds {np.isnan(probability).sum()} NaN; rerun the prediction of this case"
            )
        if not -ROUNDING <= lowest <= highest <= 1 + ROUNDING:
            raise ImageError(
                f"probabilities must lie in [0, 1], found {lowest:.9g} to {highest:.9g}; "
                "pass P(lesion) itself, not logits, percentages or labels"
            )
        if lowest < 0 or highest > 1:
            probability = np.clip(probability, 0, 1)
    return probability.astype(np.float32, copy=False)


def apply_rule(probability: Probability, config: PostprocessConfig, voxel_volume_mm3: float) -> Mask:
    """Post-process with any levels, not only those of `RULES`, without the checks of `postprocess`."""
    if probability.max(initial=np.float32(0)) <= np.float32(config.least_peak):
        return np.zeros(probability.shape, np.bool_)
    mask = _mark(probability, config, voxel_volume_mm3)
    return _drop_specks(mask, config.smallest_mm3 / voxel_volume_mm3) if config.smallest_mm3 > 0 else mask


def mark_lesions(probability: Image, config: PostprocessConfig) -> Mask:
    """Apply a rule to a probability map on a scan's own grid, with the axes reoriented to RAS.

    This way, ties (which of two equal lesions is dropped) do not depend on the order of the file's axes.
    """
    mask = apply_rule(reorient(probability).voxels, config, probability.voxel_volume_mm3)
    return restore_axes(mask, probability)


def _mark(probability: Probability, config: PostprocessConfig, voxel_volume_mm3: float) -> Mask:
    """Apply manner and levels, before small lesions are dropped."""
    mask = np.zeros(probability.shape, np.bool_)
    # float32 on both sides: 0.7 as a double would differ from the 0.7 in the map
    load = np.count_nonzero(probability > np.float32(0.5)) * (voxel_volume_mm3 if config.load_unit == "mm3" else 1)
    is_small = load < config.small_load
    thresholds = config.small if is_small else config.large
    if config.manner == "drop":
        box = bounding_box(probability > np.float32(thresholds.edge))
        mask[box] = _drop_doubtful_regions(probability[box], thresholds)
        return mask
    # labelling is the slow part, so all of it happens inside the box of the lowest level
    box = bounding_box(probability > np.float32(min(thresholds.edge, config.wide_edge)))
    inside = np.ascontiguousarray(probability[box])
    core = _choose_core(inside, thresholds.core, config.many_lesions if is_small else None)
    if not core.any():
        return _keep_peak(probability, config.below_peak)
    edge = inside > np.float32(thresholds.edge)
    if np.array_equal(core, edge):
        edge = inside > np.float32(config.wide_edge)
    mask[box] = _grow(core, edge, split=not is_small)
    return mask


def _drop_doubtful_regions(probability: Probability, thresholds: Thresholds) -> Mask:
    """The regions above `edge` with a voxel at `core` or above."""
    edge = probability > np.float32(thresholds.edge)
    regions = find_lesions(edge)
    confident = probability[regions.box] >= np.float32(thresholds.core)
    keep = np.zeros(regions.count + 1, np.bool_)
    keep[regions.labels[confident]] = True
    return _select(regions, keep, edge)


def _choose_core(probability: Probability, level: float, many_lesions: int | None) -> Mask:
    """The voxels above `level`, without the smallest lesion if there are more than `many_lesions` (None: never)."""
    core = probability > np.float32(level)
    if many_lesions is None:
        return core
    lesions = find_lesions(core)
    if lesions.count > many_lesions:
        smallest = 1 + int(np.argmin(lesions.sizes_vox))  # labels count from 1
        core[lesions.box] &= lesions.labels != smallest
    return core


def _keep_peak(probability: Probability, below_peak: float) -> Mask:
    """The voxels less than `below_peak` below the maximum; none if the maximum is not above `below_peak`."""
    peak = probability.max(initial=np.float32(0))
    if peak <= np.float32(below_peak):
        return np.zeros(probability.shape, np.bool_)
    return np.asarray(probability > peak - np.float32(below_peak))


def _grow(core: Mask, edge: Mask, *, split: bool) -> Mask:
    """Let the cores grow into the regions of `edge` that hold them; see step 5 of `postprocess` for `split`."""
    regions = find_lesions(edge)
    cores_held = np.bincount(_regions_of(find_lesions(core), regions), minlength=regions.count + 1)
    # with `split`, regions without a core stay, and those with several lose all but their cores
    keep = cores_held <= 1 if split else cores_held >= 1
    return np.asarray(core | _select(regions, keep, edge))


def _regions_of(cores: Lesions, regions: Lesions) -> Int64[np.ndarray, " n"]:
    """The label of each core's region. A core lies entirely in one region, so any of its voxels will do."""
    voxels = np.flatnonzero(cores.labels)
    any_voxel = np.zeros(cores.count + 1, np.int64)  # the last one written wins
    any_voxel[cores.labels.ravel()[voxels]] = voxels
    places = np.unravel_index(any_voxel[1:], cores.labels.shape)
    # both label arrays are cropped to boxes of their own
    shifts_vox = [core.start - region.start for core, region in zip(cores.box, regions.box, strict=True)]
    x, y, z = (place + shift_vox for place, shift_vox in zip(places, shifts_vox, strict=True))
    return np.asarray(regions.labels[x, y, z], dtype=np.int64)


def _drop_specks(mask: Mask, smallest_vox: float) -> Mask:
    """The lesions of a mask with at least this many voxels, up to rounding of the volume by 1e-6."""
    lesions = find_lesions(mask)
    keep = np.concatenate([[False], lesions.sizes_vox >= smallest_vox * (1 - 1e-6)])
    return _select(lesions, keep, mask)


def _select(lesions: Lesions, keep: Bool[np.ndarray, " n"], mask: Mask) -> Mask:
    """The lesions of a mask that are True in `keep` (index 0 is the background)."""
    selected = np.zeros(mask.shape, np.bool_)
    selected[mask] = keep[lesions.labels[mask[lesions.box]]]
    return selected
