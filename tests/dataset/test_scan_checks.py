"""What is refused as no T1w scan, what is told, and what passes: every real scan at hand."""

import time
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.scan_checks import check_scan, one_value
from mapping_stroke.errors import ImageError
from mapping_stroke.images.image import Image, read_image
from phantoms import AFFINE, phantom

EDGE_MM = 8.0
SHAPE = (24, 26, 22)


def head(edge_mm: float = EDGE_MM, seed: int = 0) -> Image:
    """A noisy ellipsoid as large as a brain, in a background of 0."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1.2, 1.2, edge) for edge in SHAPE), indexing="ij")
    voxels = np.where(x**2 + y**2 + z**2 < 1, rng.normal(100, 10, SHAPE).round(), 0).astype(np.float32)
    return Image(voxels, np.diag([edge_mm, edge_mm, edge_mm, 1.0]))


def changed(voxels: np.ndarray, affine: np.ndarray | None = None) -> Image:
    return Image(voxels.astype(np.float32), head().affine if affine is None else affine)


def of_edges(*edges_mm: float) -> np.ndarray:
    return np.diag([*edges_mm, 1.0])


def skew(deg: float) -> np.ndarray:
    """Edges of 8 mm, the second axis leaning towards the first."""
    affine = of_edges(8, 8, 8)
    affine[:2, 1] = 8 * np.sin(np.deg2rad(deg)), 8 * np.cos(np.deg2rad(deg))
    return affine


def test_a_brain_passes_without_a_word() -> None:
    fine = Image(np.repeat(np.repeat(np.repeat(head().voxels, 2, 0), 2, 1), 2, 2), of_edges(4, 4, 4))
    noise = np.random.default_rng(1).normal(0, 5, fine.shape).astype(np.float32)
    assert check_scan(Image(np.where(fine.voxels > 0, fine.voxels + noise, 0).astype(np.float32), fine.affine)) == []


def test_a_phantom_of_the_tests_passes() -> None:
    scan, _ = phantom(0)
    (told,) = check_scan(Image(scan, AFFINE))
    assert (
        told
        == "its non-zero voxels span 54 x 60 x 48 mm and fill 82 mL, less than a brain: check whether a part is missing"
    )


LABELS = np.digitize(np.arange(SHAPE[0]), [5, 9, 13, 17])[:, None, None] * np.ones(SHAPE)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (changed(np.zeros(SHAPE)), "all voxels are 0, expected a brain"),
        (changed(np.full(SHAPE, 7)), "all voxels are 7, expected a brain"),
        (changed(head().voxels > 0), "all non-zero voxels are 1, expected a brain; .* that it is not a mask"),
        (changed(LABELS), "as in a label map, expected a T1-weighted MRI"),
        (changed(LABELS * 0.25), "as in a label map"),
        (changed(np.where(head().voxels > 0, head().voxels, -1000)), r"\d\d% of its voxels are below -500, like air"),
        (changed(head().voxels[:, :, 10:11]), "has 24x26x1 voxels, expected at least 8 along each axis"),
        (changed(head().voxels, of_edges(12, 12, 12)), "has voxels of 12 x 12 x 12 mm, expected edges of at most 10"),
        (changed(head().voxels, skew(20)), "axes of its grid are 20 degrees off a right angle, expected at most 10"),
        (
            changed(head().voxels, of_edges(0.1, 0.1, 0.1)),
            r"span .* mm \(voxels of 0.1 x 0.1 x 0.1 mm\), expected a head",
        ),
        (
            changed(np.tile(head().voxels, (4, 1, 1)), of_edges(8, 8, 8)),
            r"span 7\d\d x .* mm .*expected a head \(30 to 600 mm\); fix",
        ),
    ],
)
def test_what_is_no_t1w_scan_of_a_head_is_refused(image: Image, message: str) -> None:
    with pytest.raises(ImageError, match=message) as refusal:
        check_scan(image)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (changed(head().voxels + 1), "no background of 0"),
        (changed(head().voxels, of_edges(9.9, 9.9, 9.9)), "mL, more than a brain: strip the skull first"),
        (changed(head().voxels, of_edges(4, 6, 6)), "mL, less than a brain: check whether a part is missing"),
        (changed(np.tile(head().voxels, (2, 1, 1)), of_edges(9, 9, 9)), "mL, more than a head: check the voxel size"),
        (head(), "voxels of 8 x 8 x 8 mm: lesions smaller than a slice can be missed"),
        (Image(head().voxels, head().affine, warnings=("the file says so",)), "the file says so"),
    ],
)
def test_what_is_doubtful_is_told(image: Image, message: str) -> None:
    told = check_scan(image)
    assert any(message in line for line in told), told


@pytest.mark.parametrize("image", [changed(head().voxels + 1), changed(head().voxels, of_edges(9.9, 9.9, 9.9))])
def test_a_head_is_not_told_where_heads_will_do(image: Image) -> None:
    assert [line for line in check_scan(image, heads=True) if "strip the skull" in line] == []


def test_a_little_shear_passes() -> None:
    check_scan(changed(head().voxels, skew(5)))


def test_a_scan_of_few_grey_values_is_no_label_map() -> None:
    coarse = (head().voxels / 8).round()
    assert len(np.unique(coarse)) < 16
    check_scan(changed(coarse))


def test_a_scan_enlarged_along_one_axis_is_no_label_map() -> None:
    thick = np.repeat(head().voxels, 5, axis=2)
    check_scan(changed(thick, of_edges(8, 8, 1.6)))


def test_one_value_is_told_only_where_there_is_one() -> None:
    assert one_value(np.float32([[[0, 1, 2]]])) == ""
    assert one_value(np.float32([[[0, 0, 2]]])) == "all non-zero voxels are 2"
    assert one_value(np.float32([[[0, 0, 0]]])) == "all voxels are 0"
    assert one_value(np.float32([[[3, 3, 3]]])) == "all voxels are 3"


def test_no_real_scan_is_refused(shared: Path) -> None:
    scans = [*sorted((shared / "data" / "native").glob("*_T1w.nii.gz"))]
    scans += sorted((shared / "data" / "brains").glob("*_T1w.nii.gz"))[::10]
    if not scans:
        pytest.skip("no real scans beside the checkout")
    told = {path.name: check_scan(read_image(path)) for path in scans}
    assert {name for name, lines in told.items() if lines} <= {
        "whole-head-088mm_T1w.nii.gz",
        "whole-head-otsu_T1w.nii.gz",
    }


def test_real_label_maps_are_refused(shared: Path) -> None:
    maps = sorted((shared / "data" / "brains").glob("*_tissues.nii.gz"))[::10]
    maps += sorted((shared / "data" / "lesions" / "lesymap").glob("*.nii.gz"))[:1]
    if not maps:
        pytest.skip("no real label maps beside the checkout")
    for path in maps:
        with pytest.raises(ImageError, match=r"label map|are 1, expected a brain"):
            check_scan(read_image(path))


def test_checking_takes_a_moment() -> None:
    voxels = np.random.default_rng(0).integers(1, 255, (197, 233, 189)).astype(np.float32)
    start = time.process_time()
    check_scan(Image(voxels, np.eye(4)))
    assert time.process_time() - start < 2  # 0.1 s on a quiet machine
