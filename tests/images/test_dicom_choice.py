"""Which series of a folder is taken, and what is said where none or several could be."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_files import write_enhanced, write_series
from mapping_stroke.errors import ImageError
from mapping_stroke.images.dicom_choice import choose_series
from mapping_stroke.images.dicom_series import find_series
from mapping_stroke.images.image import read_image

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
    "beside",
    [
        {"name": "t2_flair"},
        {"name": "t1_localizer"},
        {"name": "t1_tra", "slices": 20},
        {"name": "t1_mprage_reformat", "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"name": "t1_mprage", "ImageType": ["ORIGINAL", "PRIMARY", "P", "NORM"]},
        {"name": "t1_mprage", "ImageType": ["DERIVED", "PRIMARY", "T1 MAP", "ND"]},
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
        "the name of its DICOM series does not indicate a T1w scan: check that it is one",
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


PLAIN, NORMALISED = ["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"]
TAKEN = "of several DICOM series with this name, it was chosen because it"
OTHER = "choose another with --series NUMBER"


def add_gapped(folder: Path, number: int, name: str, **tags: Any) -> None:
    """A series that does not stack: one of its slices is missing."""
    files = write_series(
        folder / str(number),
        np.concatenate([VOXELS, VOXELS[:, :, :2]], axis=2),
        np.eye(4),
        **{"SeriesNumber": number, "SeriesDescription": name, "ProtocolName": name, "StudyInstanceUID": STUDY} | tags,
    )
    files[20].unlink()


def test_the_normalised_one_of_a_pair_is_taken_by_itself_and_by_its_description(tmp_path: Path) -> None:
    add(tmp_path, 3, "t1_mprage", ImageType=PLAIN)
    add(tmp_path, 4, "t1_mprage", ImageType=NORMALISED)
    for wanted in ("", "t1_mprage"):
        assert choose_series(tmp_path, wanted).number == "4"
    assert read_image(tmp_path).warnings == (f"{TAKEN} is normalised (NORM); {OTHER}",)
    assert choose_series(tmp_path, "3").number == "3"
    assert read_image(tmp_path, series="3").warnings == ()


def test_the_one_that_is_corrected_for_distortion_is_taken(tmp_path: Path) -> None:
    add(tmp_path, 3, "t1_mprage_ND", ImageType=NORMALISED)
    add(tmp_path, 4, "t1_mprage", ImageType=["ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D"])
    assert choose_series(tmp_path).number == "4"
    assert read_image(tmp_path).warnings == (f"{TAKEN} is corrected for distortion (not called ND); {OTHER}",)
    assert choose_series(tmp_path, "t1_mprage_nd").number == "3"


@pytest.mark.parametrize("kind", ["ORIGINAL", "DERIVED"])
def test_the_mean_of_echoes_is_taken_not_the_echoes(tmp_path: Path, kind: str) -> None:
    uid = generate_uid()
    for echo in ("1.6", "3.5"):
        (tmp_path / echo).mkdir()
        add(tmp_path / echo, 4, "MEMPRAGE_iso", SeriesInstanceUID=uid, EchoTime=echo)
    add(tmp_path, 5, "MEMPRAGE_iso RMS", ImageType=[kind, "PRIMARY", "OTHER", "NORM"])
    assert choose_series(tmp_path).number == "5"
    assert choose_series(tmp_path, "4:2").number == "4:2"
    with pytest.raises(ImageError, match="2 series are called '4'"):
        choose_series(tmp_path, "4")


def test_the_copy_that_makes_a_stack_is_taken(tmp_path: Path) -> None:
    add_gapped(tmp_path, 3, "t1_mprage", ImageType=NORMALISED)
    add(tmp_path, 4, "t1_mprage", ImageType=PLAIN)
    assert read_image(tmp_path).warnings == (f"{TAKEN} makes a stack; {OTHER}",)
    assert choose_series(tmp_path, "t1_mprage").number == "4"


def test_a_phase_image_of_the_same_description_is_not_meant(tmp_path: Path) -> None:
    add(tmp_path, 3, "t1_mprage")
    add(tmp_path, 4, "t1_mprage", ImageType=["ORIGINAL", "PRIMARY", "P", "ND"])
    assert choose_series(tmp_path, "t1_mprage").number == "3"


@pytest.mark.parametrize(
    "other",
    [
        {"name": "t1_mprage_km"},
        {"name": "t1_space"},
        {"name": "t1_mprage", "ContrastBolusAgent": "Gadovist"},
        {"name": "t1_mprage", "StudyInstanceUID": "1.2.3"},
    ],
    ids=lambda tags: "-".join(map(str, tags.values())),
)
def test_better_variants_of_another_scan_are_not_taken_for_it(tmp_path: Path, other: dict[str, Any]) -> None:
    add(tmp_path, 3, "t1_mprage", ImageType=PLAIN)
    add(tmp_path, 9, **other, ImageType=NORMALISED)
    with pytest.raises(ImageError, match="2 series look like a T1w scan"):
        choose_series(tmp_path)


def test_a_scan_that_makes_no_stack_does_not_give_way_to_one_of_another_name(tmp_path: Path) -> None:
    add_gapped(tmp_path, 3, "t1_mprage")
    add(tmp_path, 4, "t1_mprage_km")
    with pytest.raises(ImageError, match="2 series look like a T1w scan"):
        choose_series(tmp_path)


@pytest.mark.parametrize("kind", ["P", "T1 MAP"])
def test_a_lone_map_is_refused_and_told_where_it_is_asked_for(tmp_path: Path, kind: str) -> None:
    add(tmp_path, 4, "mp2rage_sag", ImageType=["DERIVED", "PRIMARY", kind, "ND"])
    with pytest.raises(ImageError, match=rf"series 4 'mp2rage_sag' .* has the image type {kind}, .*--series 4$"):
        choose_series(tmp_path)
    assert read_image(tmp_path, series="4").warnings == (
        f"the image type of its DICOM series, {kind}, indicates that it is not a plain scan: check that it is one",
    )


@pytest.mark.parametrize(
    ("name", "agent", "where"),
    [
        ("T1 MPRAGE +C", None, "name"),
        ("t1_mprage", "Gadovist", "header"),
        ("t1_mprage", "CONTRAST", "header"),
        ("t1_mprage", "NONE", ""),
        ("t1_mprage", "no contrast agent", ""),
        ("t1_mprage", "", ""),
    ],
)
def test_contrast_medium_is_told(tmp_path: Path, name: str, agent: str | None, where: str) -> None:
    add(tmp_path, 4, name, ContrastBolusAgent=agent)
    told = f"its {where} indicates contrast medium: enhancing tissue may be marked or missed"
    assert read_image(tmp_path).warnings == ((told,) if where else ())


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
    with pytest.raises(ImageError, match=r"UID 1.2.*UID 1.2.*several studies: use a folder for each"):
        choose_series(tmp_path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Modality": "CT"}, r"series 4 't1' \(.*, CT\) has modality CT, expected MR; pass the folder of the T1w scan"),
        ({"SamplesPerPixel": 3}, r"series 4 't1' .* holds colours, expected one number per voxel"),
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
    with pytest.raises(ImageError, match="holds no readable DICOM image"):
        read_image(tmp_path)
