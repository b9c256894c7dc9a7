"""The image that a model reads, made from a scan, and defacing for pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mapping_stroke.dataset.scan_checks import LEAST_FIT
from mapping_stroke.dataset.template_fit import UPRIGHT, find_places, fit_at
from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Image, Mask
from mapping_stroke.images.nifti import Affine
from mapping_stroke.networks.cards import BundleCard
from mapping_stroke.space.brain import Brain, cut_out, find_brain
from mapping_stroke.space.brain_network import load_networks
from mapping_stroke.space.intensities import divide_bias, find_bias, find_surroundings, shift_background, silence_air
from mapping_stroke.space.placement import PlacedScan, bring_to_atlas, place_scan, require_space_name

AROUND_MM = 2.0
"""Margin around the brain, so that its edge is visible."""
LEAST_HEAD_ML = 200.0
"""Less non-background volume than this is no head, but perhaps part of a brain."""


def deface(scan: Image, placed: PlacedScan | None = None) -> Image:
    """Blank everything outside the brain with the scan's lowest value. A scan of only a brain stays unchanged.

    Args:
        scan: A scan of any kind.
        placed: Its brain and place, if known; otherwise its brain is extracted. A scan without a plausible brain is
            blanked completely, because it might show a face.
    """
    background = scan.voxels[0, 0, 0]
    head_vox = np.count_nonzero((scan.voxels != 0) & (scan.voxels != background))
    if head_vox * scan.voxel_volume_mm3 < 1000 * LEAST_HEAD_ML:
        return scan
    if placed and not placed.quality.complaints():
        brain = placed.brain
    else:
        brain = find_brain(scan)
        if not _resembles_a_brain(scan, brain):
            return Image(np.full_like(scan.voxels, scan.voxels.min()), scan.affine)
    if brain.stripped:
        return scan
    near = ndimage.binary_dilation(brain.mask, _ball(AROUND_MM, scan.spacing_mm))
    return Image(np.where(near, scan.voxels, scan.voxels.min()), scan.affine)


def _ball(radius_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """A ball on the scan's grid, one voxel thick along axes with voxels larger than its radius."""
    reach = [int(radius_mm // edge) for edge in spacing_mm]
    away_mm = np.meshgrid(
        *(edge * np.arange(-n, n + 1) for n, edge in zip(reach, spacing_mm, strict=True)), indexing="ij"
    )
    return np.asarray(sum(along**2 for along in away_mm) <= radius_mm**2)


def _resembles_a_brain(scan: Image, brain: Brain) -> bool:
    """Whether the template fits a brain at some place, at least roughly."""
    if not brain.is_plausible(scan):
        return False
    small, upright = cut_out(scan, brain.mask), np.eye(4)
    fits = [fit_at(small, upright), *(fit for _, fit in find_places(small, [UPRIGHT]))]
    return max(fits) >= LEAST_FIT


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A scan, and the image that a model's members read.

    Attributes:
        scan: The scan as stored in its file.
        image: The image that the members read.
        placed: The scan's place in MNI152 space; None if it was not needed.
        on_atlas: Whether `image` is on the ATLAS grid; otherwise it is on the scan's own.
    """

    scan: Image
    image: Image
    placed: PlacedScan | None = None
    on_atlas: bool = False

    @property
    def registered(self) -> PlacedScan | None:
        """The scan's place if it was registered, or None if it was left alone."""
        return None if self.placed is None or self.placed.left_alone else self.placed

    def bring_back(self, values: Float32[np.ndarray, "a b c"]) -> Float32[np.ndarray, "x y z"]:
        """Resample a map from the grid of `image` to the scan's own grid, by at most one linear interpolation."""
        if self.placed is None or not self.on_atlas:
            return values
        return self.placed.from_atlas(values)


def make_model_input(scan: Image, card: BundleCard, space: str, brain: Mask | None = None) -> ModelInput:
    """Make the image that a model reads.

    Args:
        scan: A T1w scan with any orientation and voxel size.
        card: The model's card, which states whether it reads scans in MNI152 space, and whole heads or only brains.
        space: `auto` registers scans for a model in MNI152 space unless they already lie there; other models read every
            scan as it is. `native` registers every scan for any model, `mni` none.
        brain: The user's own brain mask, on its grid: it decides the registration, and a brain-only model sees nothing
            outside it.

    Raises:
        RegistrationError: No start leads to an acceptable place.
        ConfigError: There is no such space, or the model has no use for a given brain.
    """
    require_space_name(space)
    if brain is not None:
        require_use_of_brain(card, space)
    if not needs_brain(card, space):
        return ModelInput(scan, scan)
    registered = is_registered(card, space)
    placed = place_scan(scan, space, brain)
    if registered and not placed.left_alone:
        corrected = _brain_only(placed.corrected, scan, placed.brain) if card.shows == "brain" else placed.corrected
        return ModelInput(scan, replace(placed, corrected=corrected).on_atlas(), placed, on_atlas=True)
    return ModelInput(scan, _brain_only(scan, scan, placed.brain) if card.shows == "brain" else scan, placed)


def is_registered(card: BundleCard, space: str) -> bool:
    """Whether scans outside MNI152 space are registered for a model."""
    return space == "native" or (space == "auto" and card.space == "MNI152")


def needs_brain(card: BundleCard, space: str) -> bool:
    """Whether the brain of a scan is extracted for a model: to register the scan, or because the model reads brains."""
    return is_registered(card, space) or card.shows == "brain"


def restore_input(scan: Image, brain: Brain, to_mni: Affine | None, *, brain_only: bool) -> Image:
    """The image that a model reads of a scan whose brain and place are known from its results.

    It is the image of `make_model_input`, but for the bias field, which is estimated again within the brain as it was
    finally outlined.

    Args:
        scan: The scan as stored in its file, without outliers.
        brain: Its brain.
        to_mni: The scan's millimetres to those of MNI152; None for a scan that the model read on its own grid.
        brain_only: Whether the model reads only brains.
    """
    if to_mni is None:
        return _brain_only(scan, scan, brain) if brain_only else scan
    lifted = silence_air(shift_background(scan))
    corrected = divide_bias(lifted, find_bias(lifted, brain.mask))
    return bring_to_atlas(_brain_only(corrected, scan, brain) if brain_only else corrected, to_mni @ scan.affine)


def load_brain_extraction(card: BundleCard, space: str) -> None:
    """Load the networks of brain extraction, if scans for this model need it."""
    if needs_brain(card, space):
        load_networks()


def require_use_of_brain(card: BundleCard, space: str) -> None:
    """Raise `ConfigError` if the model needs no brain, so that a brain mask would change nothing."""
    if not needs_brain(card, space):
        raise ConfigError(
            f"a brain mask is given, but this model reads scans as they are (its card: space {card.space}, shows "
            f"{card.shows}; --space {space}), so the mask would change nothing; leave --brain out, or, if the model "
            "was trained on brains only or in MNI152 space, pack it with --shows brain or --space MNI152"
        )


def _brain_only(image: Image, scan: Image, brain: Brain) -> Image:
    """An image on the grid of a scan, with 0 around the scan's brain, unchanged if the scan already has that.

    The user's own mask counts as the brain even if a skull-stripped scan shows more.
    """
    if brain.source == "given" or not brain.stripped:
        mask = brain.mask
    elif scan.voxels[0, 0, 0] == 0:
        return image
    else:
        mask = ~find_surroundings(scan.voxels)
    return Image(np.where(mask, image.voxels, np.float32(0)), image.affine)
