"""A mask as DICOM Segmentation (SEG): one segment, which refers to the slices of the series that it was found in.

By the standard a SEG belongs to the patient and the study of its source: it repeats name, identifier, date of birth.
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
"""What a SEG must repeat of its source, but may leave empty."""
SERIES_NUMBERS = 1000
"""Added to the number of the source, so that the SEG stands behind it and beside no other series."""
TEXT_LENGTH = 64
"""Of a long string (LO)."""


def require_highdicom() -> None:
    """Raise `ConfigError`, with the remedy, where the package that writes SEG is not installed."""
    if find_spec("highdicom") is None:
        raise ConfigError("writing DICOM SEG needs highdicom; install it: pip install 'mapping-stroke[dicom]'")


def write_segmentation(path: Path, series: DicomSeries, mask: Mask, model: str) -> None:
    """Write a mask as DICOM SEG, whole or not at all; also where it is empty.

    Args:
        path: Target, `.dcm`.
        series: What the mask was found in.
        mask: On the grid of the series as `read_image` gives it.
        model: Name of the model, told as part of the algorithm's.

    Raises:
        ImageError: The source's headers lack what a SEG must repeat.
    """
    slices, _ = series.stacked()
    assert mask.shape == (series.facts.columns, series.facts.rows, len(slices)), "the mask lies on the series' grid"
    try:
        segmentation = _segmentation(slices, series, mask, model)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise ImageError(
            f"{series}: its headers do not suffice for a DICOM SEG ({error}); do without --dicom-seg"
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
        omit_empty_frames=False,  # with gaps, readers that take frames for a stack would misplace them
    )


def _sources(slices: list[Slice], mask: Mask) -> tuple[list[Any], UInt8[np.ndarray, "planes rows columns"]]:
    """The data sets of the source without pixels, and the planes of the mask in their order."""
    planes = np.ascontiguousarray(mask.T, dtype=np.uint8)
    if slices[0].file != slices[-1].file:
        return [_read(slice_.file) for slice_ in slices], planes
    source = _read(slices[0].file)
    framed = np.zeros((int(source.NumberOfFrames), *planes.shape[1:]), dtype=np.uint8)
    framed[[slice_.frame for slice_ in slices]] = planes
    return [source], framed


def _read(file: Path) -> Any:
    """A data set in which nothing of `IDENTITY` is missing: it is empty then."""
    import pydicom

    data = pydicom.dcmread(file, stop_before_pixels=True, force=True)  # as `read_slices` does: the preamble may lack
    for name in IDENTITY:
        if name not in data:
            setattr(data, name, "")
    return data
