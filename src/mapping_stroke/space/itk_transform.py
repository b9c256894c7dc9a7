"""A place in MNI152 space as a file that ITK, SimpleITK, ANTs and 3D Slicer read."""

import numpy as np

from mapping_stroke.image import Affine

TO_LPS: Affine = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's millimetres run to the left and to the back; its own inverse."""


def itk_text(to_mni: Affine) -> str:
    """An affine transform as ITK writes it.

    ITK's transforms carry points of the image that is wanted to the image that is there: this one carries points of
    MNI152 space to the scan, so that a program that is given the scan, the template as reference and this file
    resamples the scan onto the template (`antsApplyTransforms -i scan -r template -t file`).

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
