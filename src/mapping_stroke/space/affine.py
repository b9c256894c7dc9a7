"""Affine registration of a scan to the template from a nearby start, and its transform as an ITK file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK
from jaxtyping import Float32, Float64
from scipy import ndimage

from mapping_stroke.images.image import Image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.space.template import read_template

WORK_UNITS = 1


def use_one_thread() -> None:
    """Let SimpleITK filters, and those that they call, compute on one thread from now on.

    SimpleITK keeps this number for the whole process; it stays, since several of our threads place scans.
    """
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(WORK_UNITS)


BINS = 32
"""Number of intensity bins in the joint histogram."""
AROUND_BRAIN_VOX = 2
"""Voxels around the template's brain also count: they hold fluid, bone or nothing, which is dark in every scan."""
SAMPLING_SEED = 1
"""Seed of the sampled points; SimpleITK takes 0 for the time of day."""
RELAXATION = 0.7
"""Length of a step after a change of direction, relative to the one before."""


@dataclass(frozen=True)
class Level:
    """Resolution level of a registration.

    Attributes:
        shrink: Template voxels along each edge of the compared cells.
        blur_mm: Standard deviation of the Gaussian that smooths both volumes.
        share: Fraction of the cells in and around the brain that are compared.
        steps: Maximum number of iterations.
        step_mm: Length of the first step; it shrinks whenever the direction changes.
        last_mm: A shorter step ends the search; a large value would end it far from the optimum of a narrow valley.
    """

    shrink: int
    blur_mm: float
    share: float
    steps: int
    step_mm: float
    last_mm: float


COARSE = Level(shrink=2, blur_mm=3.0, share=0.5, steps=150, step_mm=4.0, last_mm=0.04)
FINE = Level(shrink=1, blur_mm=1.0, share=0.15, steps=80, step_mm=0.5, last_mm=0.01)


def refine_place(scan: Image, place: Affine, level: Level) -> tuple[Affine, float]:
    """Translate, rotate, scale and shear the template to maximise its mutual information with a scan.

    Args:
        scan: A scan with voxels about as large as the template's; finer ones only take time.
        place: Start, template's millimetres to the scan's, within about 15 mm and 20 degrees.
        level: Resolution level.

    Returns:
        The final place, and the mutual information there (0 or more, in nats). If the template has left the scan, the
        start and 0.
    """
    use_one_thread()  # with several threads, sums are rounded differently in each run
    template = read_template()
    to_moving = np.diag([*scan.spacing_mm, 1.0]) @ np.linalg.inv(scan.affine)  # millimetres along the scan's own axes
    fixed = _as_sitk(_blurred(template.t1, level.blur_mm, (template.spacing_mm,) * 3), (template.spacing_mm,) * 3)
    moving = _as_sitk(_blurred(scan.voxels, level.blur_mm, scan.spacing_mm), scan.spacing_mm)
    # ITK only gets spacings: both volumes lie at the origin with axes of the world, and the affines are applied here
    to_fixed = np.diag([template.spacing_mm] * 3 + [1.0]) @ np.linalg.inv(template.affine)
    # rotation and scale about the centre of the template, so that they hardly shift the brain
    centre = np.array(template.t1.shape) * template.spacing_mm / 2
    transform = _as_transform(to_moving @ place @ np.linalg.inv(to_fixed), centre)
    method = _set_up(level, template.spacing_mm)
    method.SetMetricFixedMask(_around_brain(template.brain, template.spacing_mm))
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # too few points lie in the scan
        return place, 0.0
    return np.linalg.inv(to_moving) @ _as_affine(transform) @ to_fixed, -float(method.GetMetricValue())


def _set_up(level: Level, spacing_mm: float) -> Any:
    method = SimpleITK.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(WORK_UNITS)
    method.SetMetricAsMattesMutualInformation(BINS)
    # regular instead of random points: the same in every run
    method.SetMetricSamplingStrategy(method.REGULAR if level.share < 1 else method.NONE)
    method.SetMetricSamplingPercentage(level.share, SAMPLING_SEED)
    method.SetInterpolator(SimpleITK.sitkLinear)
    method.SetShrinkFactorsPerLevel([level.shrink])
    method.SetSmoothingSigmasPerLevel([0.0])  # both volumes are smoothed already
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.step_mm / spacing_mm,
        minStep=level.last_mm / spacing_mm,
        numberOfIterations=level.steps,
        relaxationFactor=RELAXATION,
        gradientMagnitudeTolerance=1e-9,  # so that only the length of the step ends the search
    )
    # rotation, scale and shear are weighted by how far they move a point
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _blurred(
    voxels: Float32[np.ndarray, "x y z"], blur_mm: float, spacing_mm: Sequence[float]
) -> Float32[np.ndarray, "x y z"]:
    smooth: np.ndarray = ndimage.gaussian_filter(voxels, [blur_mm / edge for edge in spacing_mm], truncate=2.5)
    return smooth


def _as_sitk(voxels: np.ndarray, spacing_mm: Sequence[float]) -> Any:
    """An image with its first voxel at 0 and the world's axes. Affines are kept separately."""
    image = SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0))
    image.SetSpacing(tuple(map(float, spacing_mm)))
    return image


def _around_brain(brain: Float32[np.ndarray, "x y z"], spacing_mm: float) -> Any:
    # the dark rim makes the edge of the brain part of the metric
    near = ndimage.binary_dilation(brain > 0.5, iterations=AROUND_BRAIN_VOX)
    return _as_sitk(near.astype(np.uint8), (spacing_mm,) * 3)


def _as_transform(affine: Affine, centre: Float64[np.ndarray, " 3"]) -> Any:
    """The same map with its matrix about a centre, so that rotation and scale hardly change the translation."""
    transform = SimpleITK.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(affine[:3, :3].ravel().tolist())
    # ITK computes A (x - c) + c + t
    transform.SetTranslation((affine[:3, 3] + affine[:3, :3] @ centre - centre).tolist())
    return transform


def _as_affine(transform: Any) -> Affine:
    affine: Affine = np.eye(4)
    centre = np.array(transform.GetCenter())
    affine[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    affine[:3, 3] = np.array(transform.GetTranslation()) + centre - affine[:3, :3] @ centre
    return affine


TO_LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's millimetres run to the left and to the back; its own inverse."""


def itk_text(to_mni: Affine) -> str:
    """An affine transform in ITK's text format.

    ITK's transforms map points of the reference image to the moving image: this one maps points of MNI152 space to the
    scan, so that a program with the scan, the template as reference and this file resamples the scan onto the
    template (`antsApplyTransforms -i scan -r template -t file`).

    Args:
        to_mni: The scan's millimetres to those of MNI152, RAS.
    """
    to_scan = TO_LPS @ np.linalg.inv(to_mni) @ TO_LPS
    numbers = [*to_scan[:3, :3].ravel(), *to_scan[:3, 3]]
    return (
        "#Insight Transform File V1.0\n"
        "#Transform 0\n"
        "Transform: AffineTransform_double_3_3\n"
        f"Parameters: {' '.join(repr(float(number)) for number in numbers)}\n"
        "FixedParameters: 0 0 0\n"
    )
