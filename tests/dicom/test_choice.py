"""Which series of a folder is taken, and what is said where none or several could be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_files import write_enhanced, write_series
from mapping_stroke.dicom.choice import choose_series, looks_t1w
from mapping_stroke.dicom.series import find_series
from mapping_stroke.errors import ImageError
from mapping_stroke.image import read_image

VOXELS = np.arange(8 * 6 * 40, dtype=np.int16).reshape(8, 6, 40)
STUDY = generate_uid()


def add(folder: Path, number: int | None, name: str, slices: int = 40, **tags: Any) -> None:
    write_enhanced(
        folder / f"{number}-{name}-{len(list(folder.glob('*')))}",
        VOXELS[:, :, :slices],
        np.eye(4),
        **{"SeriesNumber": number, "SeriesDescription": name, "ProtocolName": name, "StudyInstanceUID": STUDY} | tags,
    )


@pytest.mark.parametrize(
    "name",
    [
        *("t1_mprage_sag_p2_iso_1.0", "T1W_3D_TFE", "Sag 3D FSPGR BRAVO", "MP-RAGE", "tfl3d1_16ns", "3D T1", "SAG MPR"),
        *("WIP T1w 3D TFE", "t1_fl2d_tra", "Ax T1 FLAIR", "MEMPRAGE", "mp2rage_UNI"),
    ],
)
def test_names_of_t1w_scans_are_known(tmp_path: Path, name: str) -> None:
    add(tmp_path, 1, name)
    assert looks_t1w(find_series(tmp_path)[0])


@pytest.mark.parametrize(
    "name",
    [
        *("t2_space_sag", "FLAIR", "ep2d_diff_ADC", "localizer", "t1_map", "mp2rage_INV1", "T1 Survey", "tfl_b1map"),
        *("SWI", "", "t1_localizer", "SAG T2 MPR", "Loc T1"),
    ],
)
def test_names_of_others_are_not_taken_for_t1w(tmp_path: Path, name: str) -> None:
    add(tmp_path, 1, name)
    assert not looks_t1w(find_series(tmp_path)[0])


@pytest.mark.parametrize(
    "beside",
    [
        {"name": "t2_flair"},
        {"name": "t1_localizer"},
        {"name": "t1_tra", "slices": 20},
        {"name": "t1_mprage_reformat", "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"name": "t1_mprage", "ImageType": ["ORIGINAL", "PRIMARY", "P", "NORM"]},
        {"name": "t1_mprage", "Modality": "CT"},
        {"name": "t1_mprage", "slices": 3},
    ],
    ids=lambda tags: "-".join(map(str, tags.values())),
)
def test_the_only_three_dimensional_t1w_scan_is_taken(tmp_path: Path, beside: dict[str, Any]) -> None:
    add(tmp_path, 7, "t1_mprage_sag")
    add(tmp_path, 2, **beside)
    assert choose_series(tmp_path).title == "7 't1_mprage_sag' (40 slices of 1 x 1 x 1 mm)"
    assert str(choose_series(tmp_path)) == f"{tmp_path} (series 7)"


def test_a_derived_or_a_thick_t1w_scan_is_taken_where_there_is_no_better_one(tmp_path: Path) -> None:
    add(tmp_path, 2, "t2_flair")
    add(tmp_path, 3, "t1_tra", 20)
    assert choose_series(tmp_path).number == "3"
    add(tmp_path, 4, "t1_mprage_dis3d", ImageType=["DERIVED", "PRIMARY", "M", "DIS3D"])
    assert choose_series(tmp_path).number == "4"


def test_a_nameless_series_is_taken_where_it_is_the_only_volume_and_that_is_told(tmp_path: Path) -> None:
    add(tmp_path, None, "")
    assert read_image(tmp_path).warnings == (
        "the name of its DICOM series does not say that it is a T1w scan: look whether it is",
    )


def test_several_that_could_be_meant_are_listed_with_the_remedy(tmp_path: Path) -> None:
    add(tmp_path, 4, "t1_mprage_sag")
    add(tmp_path, 9, "t1_mprage_sag_km")
    add(tmp_path, 5, "t2_flair")
    with pytest.raises(ImageError) as refusal:
        choose_series(tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}: 2 series look like a T1w scan: 4 't1_mprage_sag' (40 slices of 1 x 1 x 1 mm); "
        "9 't1_mprage_sag_km' (40 slices of 1 x 1 x 1 mm); choose one with --series NUMBER"
    )


@pytest.mark.parametrize("wanted", ["9", "T1_MPRAGE_SAG_KM", "uid", " 9 "])
def test_a_series_is_chosen_by_number_description_or_uid(tmp_path: Path, wanted: str) -> None:
    add(tmp_path, 4, "t1_mprage_sag")
    add(tmp_path, 9, "t1_mprage_sag_km")
    uid = find_series(tmp_path)[1].facts.uid
    assert choose_series(tmp_path, uid if wanted == "uid" else wanted).number == "9"


def test_one_that_is_chosen_need_not_look_like_a_t1w_scan(tmp_path: Path) -> None:
    add(tmp_path, 4, "t1_mprage_sag")
    add(tmp_path, 5, "isotropic", 5)
    assert choose_series(tmp_path, "5").number == "5"


def test_a_wrong_number_lists_what_there_is(tmp_path: Path) -> None:
    add(tmp_path, 4, "t1_mprage_sag")
    with pytest.raises(ImageError, match=r"no series is called '8'; it holds 4 't1_mprage_sag' \(40 slices.*--series"):
        choose_series(tmp_path, "8")


def test_series_of_several_people_are_told_apart_by_uid_and_asked_for_one_by_one(tmp_path: Path) -> None:
    for study in ("1.2.3", "1.2.4"):
        add(tmp_path, 4, "t1_mprage", StudyInstanceUID=study)
    with pytest.raises(ImageError, match=r"UID 1.2.*UID 1.2.*several studies: give a folder each"):
        choose_series(tmp_path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "CT"}, r"series 4 't1' \(.*, CT\) has modality CT, expected MR; give the folder of the T1w scan"),
        ({"SamplesPerPixel": 3}, r"series 4 't1' .* holds colours, expected one number a voxel"),
    ],
)
def test_what_is_no_mr_scan_is_refused_even_if_it_is_asked_for(tmp_path: Path, tags: dict, message: str) -> None:
    def mark(_: int, data: Dataset) -> None:
        for name, value in tags.items():
            setattr(data, name, value)

    write_series(tmp_path, VOXELS[:, :, :9], np.eye(4), change=mark, SeriesDescription="t1")
    for wanted in ("", "4"):
        with pytest.raises(ImageError, match=message):
            choose_series(tmp_path, wanted)


def test_a_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ImageError, match="holds no DICOM image that can be read"):
        read_image(tmp_path)
