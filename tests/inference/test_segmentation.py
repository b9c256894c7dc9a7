from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Image, orientation_names, reorient
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Average, predict_each
from mapping_stroke.inference.segmentation import (
    describe_lesions,
    find_preset,
    lesion_table,
    make_ensemble,
    number_lesions,
)
from mapping_stroke.networks.bundle import Bundle, open_bundle, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember, Cover, MemberCard, Mirror
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet, unet_weights

AFFINE = np.array([[-2.0, 0, 0, 10], [0, 1, 0, -5], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_lesions_are_listed_largest_first_in_millimetres_and_millilitres() -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = True
    mask[3:5, 3, 3] = True
    probability = np.zeros(mask.shape, np.float32)
    probability[0, 0, 0], probability[3, 3, 3], probability[4, 3, 3] = 0.6, 0.8, 1.0
    uncertainty = np.where(mask, 0.1, 0).astype(np.float32)
    agreement = np.where(mask, 0.75, 0).astype(np.float32)
    mean = Average(probability, uncertainty, agreement, 4)
    large, small = describe_lesions(mask, mean, Image(probability, AFFINE))
    assert (large.lesion, small.lesion) == (1, 2)
    assert (large.volume_ml, small.volume_ml) == pytest.approx((0.004, 0.002))
    assert (large.x_mm, large.y_mm, large.z_mm) == pytest.approx((10 - 2 * 3.5, -2, 3))
    assert (small.x_mm, small.y_mm, small.z_mm) == pytest.approx((10, -5, 0))
    assert (large.max_probability, large.mean_probability) == pytest.approx((1.0, 0.9))
    assert (large.mean_uncertainty, large.agreement) == pytest.approx((0.1, 0.75))
    assert lesion_table([large])[0] == {
        "lesion": 1,
        "volume_ml": 0.004,
        "x_mm": 3.0,
        "y_mm": -2.0,
        "z_mm": 3.0,
        "max_probability": 1.0,
        "mean_probability": 0.9,
        "mean_uncertainty": 0.1,
        "agreement": 0.75,
    }


def test_lesions_of_one_size_are_listed_from_the_left_however_the_file_is_turned() -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[1, 4, 1] = mask[4, 1, 1] = mask[1, 1, 4] = mask[3, 3, 3] = True
    reference = Image(mask.astype(np.float32), np.eye(4))
    centres = []
    for axes in orientation_names():
        turned = reorient(reference, axes)
        maps = Average(turned.voxels, turned.voxels, turned.voxels, 1)
        rows = describe_lesions(turned.voxels > 0, maps, turned)
        centres.append([(round(row.x_mm), round(row.y_mm), round(row.z_mm)) for row in rows])
    assert centres[0] == [(1, 1, 4), (1, 4, 1), (3, 3, 3), (4, 1, 1)]
    assert all(each == centres[0] for each in centres)


def test_the_map_of_numbers_has_the_numbers_of_the_list() -> None:
    """Lesions of 4, 2, 2 and 1 voxels, met in another order by whoever walks through the volume."""
    mask = np.zeros((9, 5, 3), bool)
    mask[0, 0, 0] = mask[2:4, 0, 0] = mask[5:7, 4, 0] = mask[4:8, 2, 2] = True
    none = np.zeros(mask.shape, np.float32)
    numbers = number_lesions(mask, AFFINE)
    assert numbers.dtype == np.uint16
    for row in describe_lesions(mask, Average(none, none, none, 1), Image(none, AFFINE)):
        inside = numbers == row.lesion
        assert inside.sum() * 0.002 == pytest.approx(row.volume_ml)
        centre = np.argwhere(inside).mean(axis=0) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
        np.testing.assert_allclose(centre, (row.x_mm, row.y_mm, row.z_mm))
    assert numbers.max() == 4
    np.testing.assert_array_equal(numbers > 0, mask)
    assert not number_lesions(none > 0, AFFINE).any()


def test_an_empty_mask_has_no_lesions() -> None:
    empty = np.zeros((3, 3, 3), np.float32)
    assert describe_lesions(empty > 0, Average(empty, empty, empty, 1), Image(empty, AFFINE)) == ()


def test_presets_say_what_is_computed() -> None:
    rows = [(p.name, p.all_members, p.mirror, p.fast_cover) for p in map(find_preset, ("fast", "balanced", "paper"))]
    assert rows == [
        ("fast", False, False, True),
        ("balanced", True, False, False),
        ("paper", True, True, False),
    ]
    with pytest.raises(ConfigError, match="no preset 'slow'; expected one of fast, balanced, paper"):
        find_preset("slow")


@pytest.mark.parametrize("cover", ["tiles", "window"])
def test_fast_covers_a_scan_as_the_model_says(cover: Cover, tmp_path: Path) -> None:
    spec = NetworkSpec("plain", (2, 4), (1, 1), 1)
    card = BundleCard(
        "model", (BundleMember(MemberCard("default", 0, spec, PreprocessSpec(), (8, 8, 8), {})),), fast_cover=cover
    )
    write_bundle(tmp_path / "model", card, lambda member: unet_weights(build_unet(spec, seed=0)))
    bundle, engine = open_bundle(tmp_path / "model"), choose_engine("cpu")
    assert make_ensemble(bundle, "fast", engine).window.cover == cover
    assert make_ensemble(bundle, "balanced", engine).window.cover == "tiles"


@pytest.mark.parametrize(("mirror", "expected"), [("asked", [1, 1, 2]), ("always", [2, 2, 2])])
def test_presets_mirror_as_the_model_says(mirror: Mirror, expected: list[int], tmp_path: Path) -> None:
    bundle = write_one_member(tmp_path, mirror=mirror)
    ensembles = [make_ensemble(bundle, name, choose_engine("cpu")) for name in ("fast", "balanced", "paper")]
    assert [len(ensemble.window_of(ensemble.members[0]).mirrorings) for ensemble in ensembles] == expected
    assert [ensemble.voters for ensemble in ensembles] == expected


def test_the_mirrorings_of_a_single_network_vote(tmp_path: Path) -> None:
    """Of one network and its mirror image: the mean, half their distance, and how many see a lesion."""
    bundle = write_one_member(tmp_path, mirror="always")
    scan = Image(np.random.default_rng(0).normal(10, 3, (8, 8, 8)).astype(np.float32), np.diag([1.0, 1, 1, 1]))
    flipped = replace(scan, voxels=np.ascontiguousarray(scan.voxels[::-1]))
    both = make_ensemble(bundle, "balanced", choose_engine("cpu", "torch", "float32"))
    alone = make_ensemble(write_one_member(tmp_path, mirror="asked"), "balanced", both.engine)
    found = both.predict(both.prepare(scan))
    one = alone.predict(alone.prepare(scan)).probability
    other = alone.predict(alone.prepare(flipped)).probability[::-1]
    assert np.abs(one - other).max() > 0.01
    np.testing.assert_allclose(found.probability, (one + other) / 2, atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, np.abs(one - other) / 2, atol=1e-6)
    np.testing.assert_array_equal(found.agreement, ((one > 0.5).astype(int) + (other > 0.5)) / 2)
    (_, member), (_, mean) = predict_each(both, both.prepare(scan))
    np.testing.assert_allclose(member, mean, atol=1e-6)


def write_one_member(folder: Path, *, mirror: Mirror) -> Bundle:
    """A model of one network that was trained on mirrored sides."""
    spec = NetworkSpec("plain", (2, 4), (1, 1), 1)
    member = BundleMember(MemberCard("default", 0, spec, PreprocessSpec(), (8, 8, 8), {}, mirror_axes=(0,)))
    weights = unet_weights(build_unet(spec, seed=0))
    write_bundle(folder / mirror, BundleCard("model", (member,), mirror=mirror), lambda _: weights)
    return open_bundle(folder / mirror)
