"""The pixels of DICOM files, read by GDCM, which knows the compressed transfer syntaxes."""

import hashlib
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mapping_stroke.dicom.headers import Slice
from mapping_stroke.errors import ImageError

ITK_PLACE = re.compile(r"\w+\(0x[0-9a-f]+\): ")
"""What an error of ITK begins with: a class and an address that is another each time."""
Frames = Float32[np.ndarray, "frames rows columns"]


def read_frames(file: Path) -> Frames:
    """All frames of a file, scaled as its header says.

    Raises:
        ImageError: It is damaged or of a kind that is not read.
    """
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        frames: Frames = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        reason = " ".join(ITK_PLACE.sub("", str(error).split("ITK ERROR: ")[-1]).split())
        raise ImageError(
            f"{file.name}: its pixels cannot be read ({reason[:120]}); copy it again, or convert the series"
        ) from error
    return frames if frames.ndim == 3 else frames[np.newaxis]


def hash_pixels(slices: Sequence[Slice]) -> list[str]:
    """A hash of the scaled pixels of each slice, which must be sorted by file; empty where they cannot be read."""
    hashes: list[str] = []
    for file, frames in groupby(slices, lambda slice_: slice_.file):
        wanted = [slice_.frame for slice_ in frames]
        try:
            read = read_frames(file)
            hashes += [hashlib.sha256(np.ascontiguousarray(read[frame]).tobytes()).hexdigest() for frame in wanted]
        except (ImageError, IndexError):
            hashes += [""] * len(wanted)
    return hashes
