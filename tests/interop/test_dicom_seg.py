"""Masks as DICOM SEG: read back by highdicom and ITK, where the source lies, and what they say."""

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from dicom_files import LPS, PERSON, write_enhanced, write_series
from mapping_stroke import __version__
from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.images.dicom_choice import choose_series
from mapping_stroke.images.image import read_image
from mapping_stroke.interop import dicom_seg
from mapping_stroke.interop.dicom_seg import IDENTITY, require_highdicom, write_segmentation

VOXELS = np.random.default_rng(0).integers(0, 1000, (10, 12, 9)).astype(np.int16)
OBLIQUE = np.array([[0.0, -0.72, 0.96, 30.0], [-1.1, 0.0, 0.0, 20.0], [0.0, 0.54, 1.28, -7.0], [0, 0, 0, 1]])
"""Edges of 1.1 x 0.9 x 1.6 mm, turned."""
LESION = np.zeros(VOXELS.shape, dtype=bool)
LESION[2:5, 3:6, 4:7] = LESION[8, 9, 1] = True
"""No symmetry, and empty slices between."""


@pytest.fixture(params=["slices", "frames"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    if request.param == "slices":
        write_series(folder, VOXELS, OBLIQUE)
    else:
        write_enhanced(folder / "all", VOXELS, OBLIQUE, [5, 2, 0, 8, 1, 7, 3, 4, 6])
    return folder


def points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Where the marked voxels lie, sorted."""
    found = np.c_[np.argwhere(mask), np.ones(mask.sum())] @ affine[:3].T
    return found[np.lexsort(found.round(3).T)]


def test_a_mask_comes_back_at_its_place(source: Path, tmp_path: Path) -> None:
    series, path = choose_series(source), tmp_path / "mask.dcm"
    affine = read_image(series).affine
    write_segmentation(path, series, LESION, "small")
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    np.testing.assert_allclose(points(volume.array > 0, LPS @ volume.affine), points(LESION, affine), atol=1e-4)
    image = sitk.ReadImage(str(path))
    itk = np.eye(4)
    itk[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    itk[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(
        points(sitk.GetArrayFromImage(image).T > 0, LPS @ itk), points(LESION, affine), atol=1e-4
    )


def test_it_refers_to_its_source_and_says_what_made_it(source: Path, tmp_path: Path) -> None:
    series, path = choose_series(source), tmp_path / "mask.dcm"
    write_segmentation(path, series, LESION, "small")
    first, made = pydicom.dcmread(series.files[0]), highdicom.seg.segread(path)
    for name in ("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate"):
        assert made[name].value == first[name].value, name
    assert made.SeriesInstanceUID != first.SeriesInstanceUID
    assert made.SeriesNumber == 1004
    referred = made.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == first.SeriesInstanceUID
    assert {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence} == {
        pydicom.dcmread(file).SOPInstanceUID for file in series.files
    }
    description = made.get_segment_description(1)
    assert made.number_of_segments == 1
    assert description.segment_label == "Stroke lesion"
    assert description.segmented_property_type.value == "52988006"  # SNOMED CT: lesion
    assert description.segmented_property_category.value == "49755003"  # morphologically abnormal structure
    algorithm = description.algorithm_identification
    assert (algorithm.name, algorithm.version) == ("MAPPING: small", __version__)
    assert made.SoftwareVersions == __version__


def test_an_empty_mask_is_written_too(source: Path, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "mask.dcm", choose_series(source), np.zeros_like(LESION), "small")
    made = highdicom.seg.segread(tmp_path / "mask.dcm")
    assert made.pixel_array.max() == 0
    assert made.NumberOfFrames == 9


def test_a_series_without_a_name_gives_a_segmentation_without_a_name(tmp_path: Path) -> None:
    gone: dict[str, Any] = dict.fromkeys([*PERSON, *IDENTITY])
    write_series(tmp_path / "source", VOXELS, OBLIQUE, **gone)
    write_segmentation(tmp_path / "mask.dcm", choose_series(tmp_path / "source"), LESION, "small")
    assert highdicom.seg.segread(tmp_path / "mask.dcm").PatientName == ""


@pytest.mark.parametrize("meta", [True, False])
def test_files_without_a_preamble_are_referred_to_as_well(meta: bool, tmp_path: Path) -> None:
    for file in write_series(tmp_path / "source", VOXELS, OBLIQUE):
        if meta:
            file.write_bytes(file.read_bytes()[132:])
        else:
            data = pydicom.dcmread(file)
            del data.file_meta, data.preamble
            data.save_as(file, implicit_vr=True, little_endian=True)
    series = choose_series(tmp_path / "source")
    assert read_image(series).voxels.shape == LESION.shape
    write_segmentation(tmp_path / "mask.dcm", series, LESION, "small")
    assert highdicom.seg.segread(tmp_path / "mask.dcm").pixel_array.sum() == LESION.sum()


def test_headers_that_do_not_suffice_are_one_line(tmp_path: Path) -> None:
    write_series(tmp_path / "source", VOXELS, OBLIQUE, FrameOfReferenceUID=None)
    with pytest.raises(ImageError, match=r"\(series 4\): its headers are insufficient .*Frame Of.*--dicom-seg"):
        write_segmentation(tmp_path / "mask.dcm", choose_series(tmp_path / "source"), LESION, "small")
    assert not (tmp_path / "mask.dcm").exists()


def test_without_highdicom_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    require_highdicom()
    monkeypatch.setattr(dicom_seg, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'mapping-stroke\[dicom\]'"):
        require_highdicom()
