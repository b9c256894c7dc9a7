"""The voxels of a DICOM series, and what a user should know about it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mapping_stroke.dicom.frames import Frames, read_frames
from mapping_stroke.dicom.headers import Slice
from mapping_stroke.dicom.kinds import has_medium, looks_t1w, names_medium, no_scan_type
from mapping_stroke.dicom.series import DicomSeries
from mapping_stroke.errors import ImageError
from mapping_stroke.nifti_grid import Affine


def read_series(series: DicomSeries) -> tuple[Float32[np.ndarray, "x y z"], Affine, tuple[str, ...]]:
    """Read a series: voxels (column, row, slice) scaled as the header says, the affine to RAS, and warnings.

    Raises:
        ImageError: Its slices do not stack, or a file is damaged or of a kind that is not read.
    """
    slices, affine = series.stacked()
    _require_one_scaling(slices)
    voxels = np.empty((series.facts.columns, series.facts.rows, len(slices)), dtype=np.float32)
    opened: tuple[Path | None, Frames] = (None, np.zeros((0, 0, 0), np.float32))
    for index, slice_ in enumerate(slices):
        if opened[0] != slice_.file:
            opened = slice_.file, read_frames(slice_.file)
        voxels[:, :, index] = opened[1][slice_.frame].T
    return voxels, affine, _warnings(series)


def _warnings(series: DicomSeries) -> tuple[str, ...]:
    warnings = []
    if series.copies:
        warnings.append(f"{series.copies} of its DICOM files hold slices that others hold, too: one of each is read")
    warnings += series.left_aside()
    if not looks_t1w(series):
        warnings.append("the name of its DICOM series does not say that it is a T1w scan: look whether it is")
    if series.preferred:
        warnings.append(
            f"of the DICOM series that are called like it, it is taken because it {series.preferred}; choose another "
            "with --series NUMBER"
        )
    if kind := no_scan_type(series):
        warnings.append(
            f"the image type of its DICOM series, {kind}, says that it is no plain scan: look whether it is"
        )
    if has_medium(series):
        where = "name" if any(map(names_medium, series.facts.names)) else "header"
        warnings.append(f"its {where} says contrast medium: enhancing tissue may be marked or missed")
    return tuple(warnings)


def _require_one_scaling(slices: Sequence[Slice]) -> None:
    """Raise where frames of one file are scaled differently: GDCM scales all of them like the first."""
    if slices[0].file == slices[-1].file and len({slice_.scaling for slice_ in slices}) > 1:
        raise ImageError(
            "its frames have different rescale slopes, which are not read; convert it with dcm2niix and give the NIfTI "
            "file"
        )
