"""What augmentation does to a patch, and how often: sets, as rows of data."""

from dataclasses import dataclass, replace

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """Probability of each change to a patch, and the range its strength is drawn from (uniform).

    Factors (brightness, contrast, gamma) are drawn below 1 in half of the patches and above 1 in the others.

    Source: nnU-Net v2's default set, and nnU-Net v1's set DA3 ("strong"), which the MAPPING authors used; both as
    their programs compute them, not as their arguments are named.
    """

    name: str
    rotation_probability: float = 0.2
    rotation_degrees: Range = (-30, 30)
    """About each of the three axes."""
    scale_probability: float = 0.2
    scale: Range = (0.7, 1.4)
    """Above 1 shows more of the head: lesions look smaller."""
    scale_balanced: bool = False
    """Below 1 in half of the patches and above 1 in the others, as in v1; else uniform over the range, as in v2."""
    scale_per_axis_share: float = 0.0
    """Share of the scaled patches whose three axes are scaled independently."""
    elastic_probability: float = 0.0
    elastic_scale: Range = (0.0, 0.25)
    """Correlation length of the deformation, as a share of the patch's edge."""
    noise_probability: float = 0.1
    noise_sigma: Range = (0.0, 0.1)
    """Standard deviation. nnU-Net calls this range a variance, and passes it on as a standard deviation."""
    blur_probability: float = 0.2 * 0.5
    """0.2 of the patches, half the channels of those; here there is one channel."""
    blur_sigma_vox: Range = (0.5, 1.0)
    blur_per_axis: bool = True
    """A sigma for each axis; else one for all three."""
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
    mirror_probability: float | tuple[float, float, float] = 0.5
    """For each axis; one number is for all three."""

    @property
    def mirror_probabilities(self) -> tuple[float, float, float]:
        """For each axis."""
        given = self.mirror_probability
        return given if isinstance(given, tuple) else (given, given, given)

    @property
    def mirror_axes(self) -> tuple[int, ...]:
        """Those along which patches are mirrored."""
        return tuple(axis for axis, probability in enumerate(self.mirror_probabilities) if probability > 0)


def draw_factor(factors: Range, rng: np.random.Generator) -> float:
    """Half the draws between the lower end and 1, half between 1 and the upper end, as nnU-Net draws its factors."""
    low, high = factors
    return rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)


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
SIDES = replace(NONE, name="sides", mirror_probability=(0.5, 0, 0))
"""Left and right alone: of a case as likely as the case itself."""
DEFAULT = Augmentation("default")
STRONG = Augmentation(
    "strong",
    rotation_probability=0.3,
    scale_probability=0.3,
    scale=(0.65, 1.6),
    scale_balanced=True,
    scale_per_axis_share=0.3,
    elastic_probability=0.3,
    noise_probability=0.15,
    blur_sigma_vox=(0.5, 1.5),
    blur_per_axis=False,
    brightness_factor=(0.7, 1.3),
    shift_probability=0.3,
    contrast_factor=(0.65, 1.5),
    inverted_gamma_probability=0.15,
    gamma=(0.5, 1.6),
)
AUGMENTATIONS = {augmentation.name: augmentation for augmentation in (NONE, SIDES, DEFAULT, STRONG)}
