"""Where the template lies on a scan, and whether tissues look as in a T1w: simulated contrasts, real scans."""

import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from scipy.spatial.transform import Rotation

from mapping_stroke.dataset.scan_checks import LEAST_CONTRAST, LEAST_FIT
from mapping_stroke.dataset.template_fit import TemplateFit, fit_at, fit_template, tissue_points
from mapping_stroke.images.image import Image, orientation_names, read_image, reorient
from mapping_stroke.images.nifti import Affine
from template_scans import CONTRASTS, GRID_AFFINE, headed, template_scan

ALL = sorted(CONTRASTS)


def moved(scan: Image, turn_deg: tuple[float, float, float], shift_mm: tuple[float, float, float]) -> Image:
    """The same voxels, which a header places elsewhere: as a scanner does."""
    motion: Affine = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    motion[:3, 3] = shift_mm
    return Image(scan.voxels, motion @ scan.affine)


@cache
def fit_as_it_is(contrast: str) -> TemplateFit:
    return fit_template(template_scan(contrast))


def is_t1w(scan: Image) -> bool:
    found = fit_template(scan)
    assert found.fit > LEAST_FIT
    return found.contrast > LEAST_CONTRAST


@pytest.mark.parametrize("contrast", ALL)
def test_a_t1w_is_told_from_every_other_contrast(contrast: str) -> None:
    assert is_t1w(template_scan(contrast)) == (contrast == "T1w")


@pytest.mark.parametrize("contrast", ALL)
def test_the_contrast_is_told_wherever_the_scan_lies(contrast: str) -> None:
    scan = moved(template_scan(contrast), (12, -8, 15), (40, -30, 55))
    assert is_t1w(scan) == (contrast == "T1w")
    assert not fit_template(scan).in_place


@pytest.mark.parametrize("contrast", ALL)
def test_a_scan_in_mni_space_is_in_place_whatever_its_contrast(contrast: str) -> None:
    assert fit_as_it_is(contrast).in_place
    assert fit_template(headed(template_scan(contrast))).in_place


def test_a_whole_head_is_a_t1w_here_and_elsewhere() -> None:
    head = headed(template_scan("T1w"))
    assert is_t1w(head)
    assert is_t1w(moved(head, (10, 5, -8), (-25, 40, 30)))


@pytest.mark.parametrize("side", [-1, 1])
def test_a_brain_whose_one_side_is_fluid_fits_by_the_other(side: int) -> None:
    scan = template_scan("T1w")
    x_mm = scan.affine[0, 0] * np.arange(scan.shape[0]) + scan.affine[0, 3]
    fluid = (side * x_mm > 4)[:, None, None] & (scan.voxels > 0)
    noise = np.random.default_rng(0).normal(40, 4, scan.shape)
    stroke = Image(np.where(fluid, noise, scan.voxels).astype(np.float32), scan.affine)
    aside = np.eye(4)
    aside[1, 3] = 30
    assert fit_at(stroke, np.eye(4)) > 0.3
    assert fit_at(stroke, aside) < 0.1


def test_a_scan_a_centimetre_off_is_still_told_from_one_in_place() -> None:
    scan = template_scan("T1w")
    assert fit_template(moved(scan, (0, 0, 0), (0, 3, 0))).in_place
    assert fit_template(moved(scan, (5, 0, 0), (0, 0, 0))).in_place
    assert not fit_template(moved(scan, (0, 0, 0), (0, 12, 0))).in_place
    assert not fit_template(moved(scan, (25, 0, 0), (0, 0, 0))).in_place


def test_a_brain_of_its_own_size_is_not_in_place() -> None:
    scan = template_scan("T1w")
    smaller = Image(scan.voxels, np.diag([0.85, 0.85, 0.85, 1.0]) @ scan.affine)
    assert not fit_template(smaller).in_place
    assert is_t1w(smaller)


@pytest.mark.parametrize("axes", orientation_names()[::5])
def test_the_order_of_the_axes_changes_nothing(axes: str) -> None:
    scan = template_scan("T1w")
    told, known = fit_template(reorient(scan, axes)), fit_as_it_is("T1w")
    assert told.in_place
    assert (told.fit, told.contrast) == pytest.approx((known.fit, known.contrast), abs=0.03)


@pytest.mark.parametrize(
    "change",
    [
        lambda voxels, inside: voxels * 1e-3,
        lambda voxels, inside: np.where(inside, voxels**2, 0),
        lambda voxels, inside: np.where(inside, (voxels - 100) / 30, 0),
        lambda voxels, inside: np.where(inside, voxels, -500),
    ],
    ids=["scaled", "gamma", "z-scores", "background below 0"],
)
def test_only_the_order_of_intensities_counts(change: object) -> None:
    scan = template_scan("T1w")
    voxels = change(scan.voxels, scan.voxels != 0).astype(np.float32)  # type: ignore[operator]
    assert is_t1w(Image(voxels, scan.affine))


def test_a_strong_bias_of_a_surface_coil_is_no_contrast() -> None:
    scan = template_scan("T1w")
    away = np.stack(np.indices(scan.shape)) - np.reshape(scan.shape, (3, 1, 1, 1)) / 2
    bias = np.exp(1.2 * (away**2).sum(axis=0) / (80 / scan.spacing_mm[0]) ** 2)
    assert is_t1w(Image((scan.voxels * bias).astype(np.float32), scan.affine))


def test_a_large_lesion_changes_nothing() -> None:
    scan = template_scan("T1w")
    voxels = scan.voxels.copy()
    x, y, z = np.indices(scan.shape)
    place = np.linalg.inv(GRID_AFFINE) @ [-38, -10, 15, 1]
    lesion = ((x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2) * scan.spacing_mm[0] ** 2 < 38**2
    voxels[lesion & (voxels != 0)] = 40  # 200 mL of fluid
    found = fit_template(Image(voxels, scan.affine))
    assert found.in_place
    assert found.contrast > LEAST_CONTRAST


def noise(shape: tuple[int, int, int]) -> Float32[np.ndarray, "x y z"]:
    return np.random.default_rng(0).uniform(1, 2, shape).astype(np.float32)


@pytest.mark.parametrize(
    "image",
    [
        Image(noise((48, 56, 48)), GRID_AFFINE),
        Image(noise((4, 4, 4)), np.diag([2.0, 2.0, 2.0, 1.0])),
        Image(np.zeros((30, 30, 30), np.float32), np.diag([4.0, 4.0, 4.0, 1.0])),
        Image(np.ones((30, 30, 30), np.float32), np.diag([4.0, 4.0, 4.0, 1.0])),
    ],
    ids=["noise", "too small", "nothing", "one value"],
)
def test_what_is_no_brain_resembles_nothing(image: Image) -> None:
    assert fit_template(image).fit < LEAST_FIT


def test_the_points_cover_the_brain_of_the_template() -> None:
    points = tissue_points()
    assert len(points.places_mm) * 8**3 / 1e6 == pytest.approx(1.87, abs=0.05)  # litres
    assert ((points.grey + points.white) <= 1.01).all()
    assert points.places_mm.min(axis=0).tolist() >= [-80, -115, -75]


def test_comparing_takes_a_moment() -> None:
    scan = template_scan("T1w")
    fine = Image(np.repeat(np.repeat(np.repeat(scan.voxels, 2, 0), 2, 1), 2, 2), scan.affine @ np.diag([0.5] * 3 + [1]))
    start = time.process_time()
    fit_template(moved(fine, (12, -8, 15), (40, -30, 55)))
    assert time.process_time() - start < 2  # 0.2 s on a quiet machine


def test_real_scans_are_t1w_and_lie_where_they_do(shared: Path) -> None:
    scans = sorted((shared / "data" / "brains").glob("*_T1w.nii.gz"))[::12]
    native = sorted((shared / "data" / "native").glob("*_T1w.nii.gz"))
    if not scans or not native:
        pytest.skip("no real scans beside the checkout")
    found = {path: fit_template(read_image(path)) for path in (*scans, *native)}
    assert {path.name for path, told in found.items() if told.in_place} == {path.name for path in scans}
    assert min(told.contrast for told in found.values()) > LEAST_CONTRAST
    assert min(told.fit for told in found.values()) > LEAST_FIT
