"""Write a mask as DICOM Segmentation (SEG): one segment that refers to the slices of its source series.

The standard assigns a SEG to the patient and study of its source, so it repeats name, identifier and date of birth.
Source of the codes: DICOM PS3.16, context groups 7150, 7159, 7162.
"""

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.files import written_whole
from mapping_stroke.images.dicom_headers import Slice
from mapping_stroke.images.dicom_series import DicomSeries
from mapping_stroke.images.image import Mask

PACKAGE = "mapping-stroke"
MAKER = "MAPPING"
LABEL = "Stroke lesion"
IDENTITY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
"""Attributes that a SEG must repeat from its source, but that may be empty."""
SERIES_NUMBERS = 1000
"""Added to the number of the source, so that the SEG follows it and no other series has its number."""
TEXT_LENGTH = 64
"""Limit of a long string (LO)."""


def require_highdicom() -> None:
    """Raise `ConfigError`, with the remedy, if the package that writes SEG is not installed."""
    if find_spec("highdicom") is None:
        raise ConfigError("writing DICOM SEG needs highdicom; install it: pip install 'mapping-stroke[dicom]'")


def write_segmentation(path: Path, series: DicomSeries, mask: Mask, model: str) -> None:
    """Write a mask as DICOM SEG, completely or not at all. An empty mask is also written.

    Args:
        path: Target, `.dcm`.
        series: Source of the mask.
        mask: On the grid of the series as `read_image` returns it.
        model: Name of the model, recorded as part of the algorithm's name.

    Raises:
        ImageError: The source's headers lack attributes that a SEG must repeat.
    """
    slices, _ = series.stacked()
    assert mask.shape == (series.facts.columns, series.facts.rows, len(slices)), "the mask lies on the series' grid"
    try:
        segmentation = _segmentation(slices, series, mask, model)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise ImageError(
            f"{series}: its headers are insufficient for a DICOM SEG ({error}); leave --dicom-seg out"
        ) from error
    with written_whole(path) as partial:
        segmentation.save_as(partial)


def _segmentation(slices: list[Slice], series: DicomSeries, mask: Mask, model: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    release = version(PACKAGE)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=f"{MAKER}: {model}"[:TEXT_LENGTH], version=release, family=codes.cid7162.ArtificialIntelligence
    )
    lesion = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=LABEL,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[codes.SCT.Brain],
    )
    sources, planes = _sources(slices, mask)
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[lesion],
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBERS + (series.facts.number or 0),
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=PACKAGE,
        software_versions=release,
        device_serial_number="none",
        content_label="STROKE_LESION",
        content_description="Stroke lesions, found automatically; for research",
        series_description=f"{MAKER} stroke lesions",
        omit_empty_frames=False,  # with gaps, readers that stack frames would misplace them
    )


def _sources(slices: list[Slice], mask: Mask) -> tuple[list[Any], UInt8[np.ndarray, "planes rows columns"]]:
    """The source's data sets without pixels, and the planes of the mask in the same order."""
    # (column, row, slice) to (slice, row, column)
    planes = np.ascontiguousarray(mask.T, dtype=np.uint8)
    if slices[0].file != slices[-1].file:
        return [_read(slice_.file) for slice_ in slices], planes
    source = _read(slices[0].file)
    framed = np.zeros((int(source.NumberOfFrames), *planes.shape[1:]), dtype=np.uint8)
    framed[[slice_.frame for slice_ in slices]] = planes
    return [source], framed


def _read(file: Path) -> Any:
    """A data set in which missing attributes of `IDENTITY` are empty."""
    import pydicom

    data = pydicom.dcmread(file, stop_before_pixels=True, force=True)  # as in `read_slices`: perhaps no preamble
    for name in IDENTITY:
        if name not in data:
            setattr(data, name, "")
    return data
