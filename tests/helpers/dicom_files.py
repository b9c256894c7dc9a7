"""DICOM files made of a volume, as a scanner would write it: one file a slice, or all slices as frames of one file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PERSON = {
    "PatientName": "Planted^Quirina",
    "PatientID": "PLANTED-4711",
    "PatientBirthDate": "19310203",
    "InstitutionName": "Planted Hospital",
    "PatientComments": "Planted remark on the patient",
    "ImageComments": "Planted remark on the image",
    "ReferringPhysicianName": "Planted^Doctor",
    "PatientAddress": "Planted Street 7",
    "AccessionNumber": "PLANTED-ACC",
    "StudyDescription": "Planted study",
}
"""What must not reach any output."""


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    *,
    change: Callable[[int, Dataset], None] | None = None,
    suffix: str = ".dcm",
    **tags: Any,
) -> list[Path]:
    """Write a volume of whole numbers (x, y, z), placed by its RAS affine, as one file a slice, in no good order.

    Args:
        change: Changes the data set of a slice, given its number, before it is written.
        suffix: Of the files.
        tags: Of every slice, by keyword; those with the value None are left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = _common(affine) | {"ProtocolName": "t1_mprage_sag", "SeriesDescription": "t1_mprage_sag"} | tags
    files = []
    for k in range(voxels.shape[2]):
        slice_ = _dataset(MRImageStorage, common, voxels[:, :, k])
        slice_.ImagePositionPatient = told(position(affine, k))
        slice_.InstanceNumber = k + 1
        if change:
            change(k, slice_)
        path = folder / f"IM{(k * 37) % 1009:04d}{suffix}"
        slice_.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def write_enhanced(
    path: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    order: Sequence[int] | None = None,
    *,
    scaling: Sequence[tuple[float, float]] = (),
    **tags: Any,
) -> Path:
    """Write a volume as one multi-frame file, its slices in that order; `scaling` is slope and intercept a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    order = [int(k) for k in (range(voxels.shape[2]) if order is None else order)]
    common = _common(affine) | {"ProtocolName": "t1_mprage_sag", "SeriesDescription": "t1_mprage_sag"} | tags
    axes, spacing = common.pop("ImageOrientationPatient"), common.pop("PixelSpacing")
    thickness = common.pop("SliceThickness")
    data = _dataset(EnhancedMRImageStorage, common, voxels[:, :, order[0]])
    data.PixelData = b"".join(_pixels(voxels[:, :, k]) for k in order)
    data.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=axes)]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=spacing, SliceThickness=thickness)]
    if not scaling:
        shared.PixelValueTransformationSequence = [_scaling(1.0, 0.0)]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index, k in enumerate(order):
        frame = Dataset()
        frame.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])]
        frame.PlanePositionSequence = [_item(ImagePositionPatient=told(position(affine, k)))]
        if scaling:
            frame.PixelValueTransformationSequence = [_scaling(*scaling[index])]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    data.save_as(path, enforce_file_format=True)
    return path


def position(affine: np.ndarray, k: float) -> np.ndarray:
    """Where the first voxel of a slice lies, in DICOM's millimetres (left, posterior, superior)."""
    return (LPS @ affine @ [0, 0, k, 1])[:3]


def _common(affine: np.ndarray) -> dict[str, Any]:
    lps = LPS @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    axes = (lps[:3, :3] / edges).T
    study = generate_uid()
    return {
        **PERSON,
        "Modality": "MR",
        "StudyInstanceUID": study,
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "SeriesNumber": 4,
        "StudyDate": "20200102",
        "StudyTime": "101112",
        "StudyID": "1",
        "Manufacturer": "Maker",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"],
        "MRAcquisitionType": "3D",
        "ImageOrientationPatient": told([*axes[0], *axes[1]]),
        "PixelSpacing": told([edges[1], edges[0]]),
        "SliceThickness": told([edges[2]])[0],
    }


def _dataset(kind: str, tags: dict[str, Any], plane: np.ndarray) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    for name, value in tags.items():
        if value is not None:
            setattr(data, name, value)
    data.Columns, data.Rows = plane.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.PixelData = _pixels(plane)
    return data


def _pixels(plane: np.ndarray) -> bytes:
    return np.ascontiguousarray(plane.T.astype("<i2")).tobytes()


def told(numbers: Sequence[float] | np.ndarray) -> list[str]:
    """As decimal strings, of which DICOM allows 16 characters."""
    return [f"{number:.10f}"[:16] for number in map(float, numbers)]


def _scaling(slope: float, intercept: float) -> Dataset:
    return _item(RescaleSlope=str(slope), RescaleIntercept=str(intercept), RescaleType="US")


def _item(**tags: Any) -> Dataset:
    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item
