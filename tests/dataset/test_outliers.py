"""A few values that no tissue has are replaced by what is beside them; a scan without any is left alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.images.image import Image, read_image

SHARED = Path(__file__).parents[3] / "shared" / "data"
SHAPE = (12, 12, 12)
INSIDE = (slice(1, -1),) * 3
GREY = st.integers(1, 255)


def scan(voxels: np.ndarray) -> Image:
    return Image(voxels.astype(np.float32), np.eye(4), warnings=("as told before",))


def head(seed: int = 0) -> np.ndarray:
    """Whole numbers from 1 to 255, and a background of 0 around them."""
    voxels = np.zeros(SHAPE)
    voxels[INSIDE] = np.random.default_rng(seed).integers(1, 256, voxels[INSIDE].shape)
    return voxels


def spoilt(places: tuple[slice, slice, slice], value: float) -> Image:
    voxels = head()
    voxels[places] = value
    return scan(voxels)


def test_a_loud_voxel_gets_a_value_from_beside_it_and_no_other_changes() -> None:
    voxels = np.pad(np.arange(1, 126).reshape(5, 5, 5), 1).astype(np.float32)
    voxels[3, 3, 3] = 32000
    tamed = tame_outliers(Image(voxels, np.eye(4)))
    assert tamed.voxels[3, 3, 3] == 62  # of 38, 58, 62, 64, 68 and 88
    voxels[3, 3, 3] = 62
    np.testing.assert_array_equal(tamed.voxels, voxels)
    assert tamed.warnings == (
        "1 voxel holds 32000, far beyond all others (0 to 125) and beyond any tissue: replaced by values next to it",
    )


@pytest.mark.parametrize("value", [32000, -32000, 1e30, -1e30])
@pytest.mark.parametrize("places", [(slice(5, 7),) * 3, (slice(0, 2),) * 3, (slice(1, 2),) * 3, (slice(11, 12),) * 3])
def test_a_cluster_is_told_and_disappears_wherever_it_lies(places: tuple[slice, slice, slice], value: float) -> None:
    tamed = tame_outliers(spoilt(places, value))
    assert (tamed.voxels.min(), tamed.voxels.max()) == (0, 255)
    assert not (tamed.voxels % 1).any()
    assert tamed.warnings[0] == "as told before"
    assert f"{value:g}, far beyond all others (0 to 255)" in tamed.warnings[1]
    kept = np.ones(SHAPE, bool)
    kept[places] = False
    np.testing.assert_array_equal(tamed.voxels[kept], head()[kept])


def test_in_the_background_a_loud_voxel_becomes_background() -> None:
    voxels = np.pad(head(), 4)
    voxels[0, 0, 0] = voxels[2, 3, 2] = voxels[1, 18, 17] = 4000
    np.testing.assert_array_equal(tame_outliers(scan(voxels)).voxels, np.pad(head(), 4))


def test_a_background_that_is_not_0_is_no_outlier_however_low() -> None:
    image = scan(np.where(head() == 0, -32768, head()))
    assert tame_outliers(image) is image


def test_more_than_a_hundredth_of_what_is_shown_is_left_alone() -> None:
    image = spoilt((slice(4, 7),) * 3, 32000)  # 27 of 1000
    assert tame_outliers(image) is image


def test_a_scan_of_one_value_or_of_none_is_left_alone() -> None:
    for value in (0, 7):
        image = scan(np.full(SHAPE, value))
        assert tame_outliers(image) is image


@given(arrays(np.float32, SHAPE, elements=GREY), st.sampled_from([1, 2**-8, 2**7]), st.sampled_from([0, 100, -100]))
def test_what_holds_no_outlier_comes_back_as_it_is(voxels: np.ndarray, unit: float, shift: int) -> None:
    place = np.indices(SHAPE).sum(axis=0)
    spread = np.where(place % 2, head() + shift, 128 + shift)
    some = (place % 3 == 0) & (voxels > 200)  # brighter, as in scans; in most places nothing changes
    for values in (spread, np.where(some, voxels, spread)):
        image = scan(values * unit)
        assert tame_outliers(image) is image


@given(arrays(np.float32, SHAPE, elements=st.one_of(GREY, st.integers(-2000, 2000)), fill=GREY))
def test_taming_again_changes_nothing(voxels: np.ndarray) -> None:
    tamed = tame_outliers(scan(np.where(np.random.default_rng(0).random(SHAPE) < 0.02, voxels, head())))
    assert tame_outliers(tamed) is tamed


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/data")
@pytest.mark.parametrize("kind", ["real", "native", "brains-native"])
def test_no_real_scan_is_changed(kind: str) -> None:
    changed = []
    for path in sorted((SHARED / kind).glob("*_T1w.nii.gz")):
        image = read_image(path)
        if tame_outliers(image) is not image:
            changed.append(path.name)
    assert changed == []
