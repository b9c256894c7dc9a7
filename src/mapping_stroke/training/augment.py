"""What augmentation does to a patch, and how often: two sets, as rows of data."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """Probability of each change to a patch, and the range its strength is drawn from (uniform).

    Source: nnU-Net's default set, and its set DA3 ("strong"), which the MAPPING authors used.
    """

    name: str
    rotation_probability: float = 0.2
    rotation_degrees: Range = (-30, 30)
    """About each of the three axes."""
    scale_probability: float = 0.2
    scale: Range = (0.7, 1.4)
    """Above 1 shows more of the head: lesions look smaller."""
    scale_per_axis_share: float = 0.0
    """Share of the scaled patches whose three axes are scaled independently."""
    elastic_probability: float = 0.0
    elastic_scale: Range = (0.0, 0.25)
    """Correlation length of the deformation, as a share of the patch's edge."""
    noise_probability: float = 0.1
    noise_variance: Range = (0.0, 0.1)
    blur_probability: float = 0.2 * 0.5
    """0.2 of the patches, half the channels of those; here there is one channel."""
    blur_sigma_vox: Range = (0.5, 1.0)
    brightness_probability: float = 0.15
    brightness_factor: Range = (0.75, 1.25)
    shift_probability: float = 0.0
    shift_sigma: float = 0.2
    """Standard deviation of a normal offset added to all voxels."""
    contrast_probability: float = 0.15
    contrast_factor: Range = (0.75, 1.25)
    low_resolution_probability: float = 0.25 * 0.5
    """0.25 of the patches, half the channels of those."""
    low_resolution_zoom: Range = (0.5, 1.0)
    inverted_gamma_probability: float = 0.1
    gamma_probability: float = 0.3
    gamma: Range = (0.7, 1.5)
    mirror_probability: float = 0.5
    """For each axis."""


NONE = Augmentation(
    "none",
    rotation_probability=0,
    scale_probability=0,
    noise_probability=0,
    blur_probability=0,
    brightness_probability=0,
    contrast_probability=0,
    low_resolution_probability=0,
    inverted_gamma_probability=0,
    gamma_probability=0,
    mirror_probability=0,
)
DEFAULT = Augmentation("default")
STRONG = Augmentation(
    "strong",
    rotation_probability=0.3,
    scale_probability=0.3,
    scale=(0.65, 1.6),
    scale_per_axis_share=1 / 3,
    elastic_probability=0.3,
    shift_probability=0.3,
    gamma=(0.5, 1.6),
)
AUGMENTATIONS = {augmentation.name: augmentation for augmentation in (NONE, DEFAULT, STRONG)}
