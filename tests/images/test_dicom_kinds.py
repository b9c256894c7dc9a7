"""What names of series tell: T1w or not, with contrast medium or without."""

from pathlib import Path

import pytest

from mapping_stroke.images.dicom_choice import looks_t1w, names_medium, no_scan_type
from mapping_stroke.images.dicom_headers import Facts, Slice
from mapping_stroke.images.dicom_series import DicomSeries


def series(name: str, *image_type: str) -> DicomSeries:
    facts = Facts("1.2", "1", 4, "MR", (name, name), 8, 8, 1)
    return DicomSeries(Path(), (Slice(Path(), 0, "1.3", facts, None, None, None, (1.0, 0.0), image_type, {}),))


@pytest.mark.parametrize(
    "name",
    [
        *("t1_mprage_sag_p2_iso_1.0", "T1W_3D_TFE", "Sag 3D FSPGR BRAVO", "MP-RAGE", "tfl3d1_16ns", "3D T1", "SAG MPR"),
        *("WIP T1w 3D TFE", "t1_fl2d_tra", "Ax T1 FLAIR", "MEMPRAGE", "mp2rage_UNI"),
    ],
)
def test_names_of_t1w_scans_are_known(name: str) -> None:
    assert looks_t1w(series(name))


@pytest.mark.parametrize(
    "name",
    [
        *("t2_space_sag", "FLAIR", "ep2d_diff_ADC", "localizer", "t1_map", "mp2rage_INV1", "T1 Survey", "tfl_b1map"),
        *("SWI", "", "t1_localizer", "SAG T2 MPR", "Loc T1", "mp2rage_T1_Images"),
    ],
)
def test_names_of_others_are_not_taken_for_t1w(name: str) -> None:
    assert not looks_t1w(series(name))


@pytest.mark.parametrize(
    "name",
    [
        *("T1 MPRAGE +C", "T1 post Gd", "t1_mprage_sag_km", "post Gd", "T1+C", "T1 + GD", "postgd"),
        *("AX T1 POST", "t1_mprage_post", "SAG T1 POST FS", "POST AX T1", "T1 post contrast"),
        *("t1_postcontrast", "KM", "t1 mit KM", "t1_nach_KM", "t1+KM", "T1_gado", "T1 GADO", "gadolinium t1"),
        *("Gadovist T1", "T1 C+", "T1_CE", "ce_t1", "CE-T1", "T1ce", "t1gd", "t1c", "T1c+", "T1W_3D_TFE_GD"),
        *("T1 w/ contrast", "T1 with contrast", "T1W CONTRAST", "Dotarem t1", "T1 Gd-DTPA", "T1 inj"),
        *("T1 injecte", "T1 mdc", "T1 con contraste", "t1_mprage_KM_tra", "T1 post-gad", "T1 POST GAD"),
        *("t1 postGad", "mprage_contrast", "T1 +contrast", "T1 IV contrast", "3D T1 BRAVO+C"),
        *("T1 MPRAGE POST CON", "t1_kontrastmittel", "t1_vibe_fs_tra_km", "T1 apres gado", "T1_mprage_Gd_iso"),
        *("+c t1", "SAG FSPGR 3D +C"),
    ],
)
def test_names_that_say_contrast_medium_are_known(name: str) -> None:
    assert names_medium(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        *("t1_mprage_sag_p2_iso_1.0", "T1W_3D_TFE", "Sag 3D FSPGR BRAVO", "MP-RAGE", "tfl3d1_16ns", "3D T1"),
        *("SAG MPR", "WIP T1w 3D TFE", "t1_fl2d_tra", "Ax T1 FLAIR", "MEMPRAGE", "mp2rage_UNI", "t1 pre Gd"),
        *("T1 precontrast", "pre contrast t1", "T1 without contrast", "T1 w/o contrast", "t1 ohne KM"),
        *("t1 o. KM", "t1_vor_KM", "t1_nativ", "no contrast T1", "T1 non-contrast", "t1_space", "t1_space_sag"),
        *("resolve", "reference", "t1 posterior fossa", "t1 postop", "T1 post-op", "t1_poststroke"),
        *("T1 post stroke", "T1_post_tms", "t1_gdc", "GDC_t1", "kmeans_t1", "head_coil_t1", "t1 C spine"),
        *("T1 COR", "t1_cor", "T1cor", "T1 + CSF", "t1+cor", "high contrast T1", "T1_highContrast"),
        *("phase contrast", "multi-contrast t1", "MRI BRAIN W/WO CONTRAST", "MRI BRAIN W WO CONTRAST"),
        *("MR BRAIN WITH AND WITHOUT CONTRAST", "BRAIN WO AND W CONTRAST", "T1 sans injection", "T1 senza mdc"),
        *("sin contraste", "t1_mprage_ND", "t1_mprage RMS", "T1 3D TFE SENSE", "t1_mprage_iPAT2", "isotropic"),
        *("ice_t1", "t1 slice", "T1_MPRAGE_CONTROL", "SAG CUBE T1", "t1_vibe", "t1_mpr_ns_sag_pt2_iso"),
        *("CONCAT t1", "with coil", "T1 post_processed", "t1 pre", "post2 t1", "t1w_con", "T1 w/ coil"),
        *("T1_c_elegans", "T1 pre/post gd", "NOT POST GD", "ADNI MPRAGE repeat", "Accelerated SAG IR-FSPGR"),
        *("compressed t1", "AX T1 -C", "t1_mprage_transversal_p2"),
    ],
)
def test_names_that_do_not_say_it_are_left_in_peace(name: str) -> None:
    assert not names_medium(name)


@pytest.mark.parametrize("kind", ["T1 MAP", "MAP", "T2_STAR MAP", "PHASE MAP", "P", "LOCALIZER", "SUBTRACTION"])
def test_image_types_of_no_scan_are_known(kind: str) -> None:
    assert no_scan_type(series("t1", "DERIVED", "PRIMARY", kind, "ND")) == kind


def test_image_types_of_scans_are_left_in_peace() -> None:
    assert not no_scan_type(series("t1", "ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D", "MFSPLIT", "UNI", "M_FFE"))
