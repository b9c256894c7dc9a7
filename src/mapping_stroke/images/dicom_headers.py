"""DICOM headers and pixels: facts about each slice, without personal data."""

import hashlib
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from mapping_stroke.errors import ImageError

FACT_TAGS = (
    *("SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber", "Modality", "SeriesDescription", "ProtocolName"),
    *("ImageType", "Rows", "Columns", "SamplesPerPixel", "SpecificCharacterSet", "ContrastBolusAgent"),
)
SLICE_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "InstanceNumber", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("EchoTime", "InversionTime", "RepetitionTime", "FlipAngle", "TemporalPositionIdentifier", "AcquisitionNumber"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
NO_AGENT = re.compile(r"\W*((no|none|non|nil|n/?a|ohne|without|0)(contrast|agent|medium|\W)*)?", re.IGNORECASE)
"""Matches entries that mean "no contrast agent"."""
SCALING_TAGS = ("RescaleSlope", "RescaleIntercept")
TRAITS = (
    *("image type", "series number", "name", "echo time", "inversion time", "repetition time", "flip angle"),
    *("time point", "acquisition", "folder"),
)
"""Differences between volumes of one series, in the order in which they are tried."""


@dataclass(frozen=True)
class Facts:
    """Facts shared by all slices of a series.

    Attributes:
        uid: UID of the series, the same in all its files and in no others; empty if missing.
        study: UID of the study.
        number: Number of the series in its study; None if missing.
        modality: Modality, such as `MR`.
        names: Description and protocol, as typed at the scanner.
        rows, columns: Voxels of a slice.
        samples: Numbers per voxel; 3 for colours.
        medium: Whether a contrast agent is named.
    """

    uid: str
    study: str
    number: int | None
    modality: str
    names: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    medium: bool = False


@dataclass(frozen=True)
class Slice:
    """One slice: a file, or a frame of a file.

    Attributes:
        file: Its file.
        frame: Its index in the file.
        uid: UID of the image in the file.
        facts: Facts about its series.
        position_mm: Position of its first voxel (left, posterior, superior); None if missing.
        axes: Unit vectors along a row and down a column; None if missing.
        spacing_mm: Distance between rows and between columns; None if missing.
        scaling: Slope and intercept of its values.
        image_type: Image type, such as `("ORIGINAL", "PRIMARY", "M")`.
        traits: Value of each of `TRAITS`, as text.
        number: Number of the image in its series; None if missing.
    """

    file: Path
    frame: int
    uid: str
    facts: Facts
    position_mm: tuple[float, ...] | None
    axes: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    scaling: tuple[float, float]
    image_type: tuple[str, ...]
    traits: Mapping[str, str]
    number: int | None = None


def read_slices(file: Path) -> list[Slice]:
    """The slices of a DICOM file, which has none if it holds no image, like a report.

    Raises:
        ImageError: It is damaged, for example truncated, so that it may have held an image.
    """
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about nonconforming values: the relevant ones are checked here
        try:
            data = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=[*FACT_TAGS, *SLICE_TAGS, *SCALING_TAGS]
            )
            slices = _slices(file, data)
            is_cut = not slices and _says_image(data)
        except Exception as error:  # pydicom raises anything on damaged bytes
            raise ImageError(f"{file.name}: is damaged; copy it again") from error
    if is_cut:
        raise ImageError(f"{file.name}: is damaged; copy it again")
    return slices


def _says_image(data: Any) -> bool:
    """Whether a data set claims to be an image, or is empty."""
    kinds = [data.get("SOPClassUID"), data.file_meta.get("MediaStorageSOPClassUID")]
    return any(kind and "Image Storage" in kind.name for kind in kinds) or not (len(data) or len(data.file_meta))


def _slices(file: Path, data: Any) -> list[Slice]:
    rows, columns = data.get("Rows"), data.get("Columns")
    if not (rows and columns):
        return []
    facts = Facts(
        uid=_line(data.get("SeriesInstanceUID")),
        study=str(data.get("StudyInstanceUID", "")),
        number=_whole(data, "SeriesNumber"),
        modality=str(data.get("Modality", "")),
        names=tuple(_line(data.get(tag)) for tag in ("SeriesDescription", "ProtocolName")),
        rows=int(rows),
        columns=int(columns),
        samples=int(data.get("SamplesPerPixel", 1)),
        medium=NO_AGENT.fullmatch(_line(data.get("ContrastBolusAgent"))) is None,
    )
    frames = data.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        # without positions per frame all frames lie at one place; two are enough to show that
        levels = [[data]] * min(int(data.get("NumberOfFrames") or 1), 2)
    else:
        shared = list(data.get("SharedFunctionalGroupsSequence") or [])
        levels = [[frame, *shared, data] for frame in frames]
    return [_slice(file, index, facts, data, level) for index, level in enumerate(levels)]


def _slice(file: Path, index: int, facts: Facts, data: Any, levels: Sequence[Any]) -> Slice:
    """One slice of a file. `levels` are searched in order for values that may differ between frames."""

    def find(group: str, tag: str) -> Any:
        for level in levels:  # frame, shared groups, then the plain data set of single-frame files
            items = level.get(group)
            value = items[0].get(tag) if items else level.get(tag)
            if value not in (None, ""):
                return value
        return None

    slope, intercept = (find("PixelValueTransformationSequence", tag) for tag in SCALING_TAGS)
    image_type = find("MRImageFrameTypeSequence", "FrameType") or data.get("ImageType") or ()
    image_type = (image_type,) if isinstance(image_type, str) else tuple(map(str, image_type))
    values = (
        "\\".join(image_type),
        facts.number,
        next(filter(None, facts.names), None),
        find("MREchoSequence", "EffectiveEchoTime") or data.get("EchoTime"),
        data.get("InversionTime"),
        find("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        find("MRTimingAndRelatedParametersSequence", "FlipAngle"),
        find("FrameContentSequence", "TemporalPositionIndex") or data.get("TemporalPositionIdentifier"),
        data.get("AcquisitionNumber"),
        file.parent,
    )
    traits = {trait: "" if value is None else str(value) for trait, value in zip(TRAITS, values, strict=True)}
    return Slice(
        file,
        index,
        _line(data.get("SOPInstanceUID")),
        facts,
        _numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3),
        _numbers(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        _numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2),
        (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        image_type,
        traits,
        _whole(data, "InstanceNumber"),
    )


def _whole(data: Any, tag: str) -> int | None:
    try:
        value = data.get(tag)
        return None if value is None else int(value)
    except ValueError:  # some de-identifiers write text
        return None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """A tuple of `count` finite numbers, or None for anything else."""
    try:
        numbers = tuple(map(float, value)) if value is not None and not isinstance(value, str) else ()
    except ValueError:  # text, which pydicom passes on
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _line(value: Any) -> str:
    """Text typed by a person, on one printable line."""
    # control characters would break a line of output
    text = "" if value is None else str(value)
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


ITK_PLACE = re.compile(r"\w+\(0x[0-9a-f]+\): ")
"""The start of an ITK error: a class and an address that differs each time."""
Frames = Float32[np.ndarray, "frames rows columns"]


def read_frames(file: Path) -> Frames:
    """All frames of a file, scaled by its header.

    Raises:
        ImageError: It is damaged or of an unsupported kind.
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
    """A hash of the scaled pixels of each slice, sorted by file, or empty if they cannot be read."""
    hashes: list[str] = []
    for file, frames in groupby(slices, lambda slice_: slice_.file):
        wanted = [slice_.frame for slice_ in frames]
        try:
            read = read_frames(file)
            hashes += [hashlib.sha256(np.ascontiguousarray(read[frame]).tobytes()).hexdigest() for frame in wanted]
        except (ImageError, IndexError):
            hashes += [""] * len(wanted)
    return hashes
