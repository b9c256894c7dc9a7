import pytest

from mapping_stroke.dataset.names import BidsName, belongs, parse_bids_name


def name(stem: str) -> BidsName:
    parsed = parse_bids_name(stem)
    assert parsed is not None
    return parsed


def test_a_name_is_taken_apart() -> None:
    parsed = name("sub-r001s001_ses-1_space-orig_label-lesion_desc-T1lesion_mask")
    assert dict(parsed.entities) == {
        "sub": "r001s001",
        "ses": "1",
        "space": "orig",
        "label": "lesion",
        "desc": "T1lesion",
    }
    assert parsed.suffix == "mask"


@pytest.mark.parametrize("stem", ["r001_T1w", "sub-_T1w", "sub-1", "ses-1_sub-1_T1w", "sub-1_ses-1", "T1w"])
def test_other_names_are_not_bids(stem: str) -> None:
    assert parse_bids_name(stem) is None


@pytest.mark.parametrize(
    ("stem", "case_id"),
    [
        ("sub-1_ses-2_space-MNI_desc-brain_T1w", "sub-1_ses-2"),
        ("sub-1_T1w", "sub-1"),
        ("sub-1_acq-mprage_run-02_T1w", "sub-1_acq-mprage_run-02"),
    ],
)
def test_the_case_id_leaves_out_what_was_made_of_the_scan(stem: str, case_id: str) -> None:
    assert name(stem).case_id == case_id


@pytest.mark.parametrize(
    "stem",
    [
        "sub-1_space-MNI_label-L_desc-T1lesion_mask",
        "sub-1_label-lesion_mask",
        "sub-1_label-L_mask",
        "sub-1_desc-lesion_mask",
        "sub-1_lesion_mask",
        "sub-1_T1w_label-lesion_roi",
    ],
)
def test_lesion_masks_are_known_by_their_names(stem: str) -> None:
    assert name(stem).is_lesion_mask


@pytest.mark.parametrize(
    "stem", ["sub-1_desc-brain_mask", "sub-1_label-R_mask", "sub-1_T1w", "sub-1_label-lesion_probseg"]
)
def test_other_images_are_no_lesion_masks(stem: str) -> None:
    assert not name(stem).is_lesion_mask


def test_a_lesion_image_is_no_scan() -> None:
    assert name("sub-1_ses-1_T1w").is_scan
    assert not name("sub-1_lesion_T1w").is_scan
    assert not name("sub-1_FLAIR").is_scan


@pytest.mark.parametrize(("part", "is_scan"), [("mag", True), ("phase", False), ("real", False), ("imag", False)])
def test_only_the_magnitude_is_a_scan(part: str, is_scan: bool) -> None:
    assert name(f"sub-1_part-{part}_T1w").is_scan is is_scan


@pytest.mark.parametrize(
    ("mask", "scan", "fits"),
    [
        ("sub-1_ses-1_label-L_mask", "sub-1_ses-1_T1w", True),
        ("sub-1_ses-2_label-L_mask", "sub-1_ses-1_T1w", False),
        ("sub-1_label-L_mask", "sub-1_ses-1_T1w", False),
        ("sub-2_label-L_mask", "sub-1_T1w", False),
        ("sub-1_space-orig_label-L_mask", "sub-1_T1w", True),
        ("sub-1_space-MNI_label-L_mask", "sub-1_T1w", False),
        ("sub-1_space-MNI_label-L_mask", "sub-1_space-MNI_T1w", True),
        ("sub-1_label-L_mask", "sub-1_run-1_T1w", True),
        ("sub-1_run-01_label-L_mask", "sub-1_run-1_T1w", True),
        ("sub-1_run-2_label-L_mask", "sub-1_run-1_T1w", False),
        ("sub-1_run-1_label-L_mask", "sub-1_T1w", False),
        ("sub-1_acq-x_label-L_mask", "sub-1_acq-y_T1w", False),
    ],
)
def test_a_mask_belongs_to_the_scan_it_does_not_contradict(mask: str, scan: str, fits: bool) -> None:
    assert belongs(name(mask), name(scan)) is fits
