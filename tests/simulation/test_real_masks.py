from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.images.image import Image
from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.lesions import RealMask, cut_mask, fit_masks
from mapping_stroke.simulation.volume import Region


def ball(radius_mm: float, centre_mm: tuple[float, float, float], spacing_mm: float = 2.0) -> RealMask:
    """A ball on an LAS grid of its own."""
    affine = np.diag([-spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (90, -126, -72)
    index = np.stack(np.indices((91, 109, 91)), axis=-1)
    place = index * np.diag(affine)[:3] + affine[:3, 3]
    voxels = (np.linalg.norm(place - centre_mm, axis=-1) <= radius_mm).astype(np.float32)
    mask = cut_mask(f"ball-{radius_mm:g}", Image(voxels, affine))
    assert mask is not None
    return mask


def centroid_mm(brain: Brain, region: Region) -> list[float]:
    place = region.nonzero().float() * brain.grid.spacing_mm + torch.tensor(brain.grid.origin_mm)
    return [float(axis) for axis in place.mean(dim=0)]


def test_a_cut_mask_keeps_its_place_and_volume() -> None:
    voxels = np.zeros((5, 6, 7), np.float32)
    voxels[2, 3, 4] = voxels[2, 3, 5] = 1
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    mask = cut_mask("m", Image(voxels, affine))
    assert mask is not None
    assert mask.volume_mm3 == pytest.approx(4)
    places = (mask.affine @ np.c_[np.argwhere(mask.voxels.numpy() == 255), [1, 1]].T)[:3].T
    assert places.tolist() == [[4, 3, 4], [4, 3, 5]]


def test_an_empty_mask_is_none() -> None:
    assert cut_mask("m", Image(np.zeros((3, 3, 3), np.float32), np.eye(4))) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_from_another_grid_lands_at_its_place_or_its_mirror(brain: Brain, allowed: Region, seed: int) -> None:
    mask = ball(12.0, (40.0, -10.0, 20.0))
    lesions, used = fit_masks(brain, allowed, [mask], mask.volume_mm3, np.random.default_rng(seed))
    x, y, z = centroid_mm(brain, lesions)
    assert used == ["ball-12"]
    assert (abs(x), y, z) == pytest.approx((40, -10, 20), abs=10)  # moved a little, on purpose
    assert int(lesions.sum()) * 27 == pytest.approx(mask.volume_mm3, rel=0.2)


@pytest.mark.parametrize("load_mm3", [500.0, 8_000.0, 60_000.0])
def test_masks_are_shrunk_or_joined_towards_the_load(brain: Brain, allowed: Region, load_mm3: float) -> None:
    masks = [ball(14.0, (40.0, y, 20.0)) for y in (-50.0, -30.0, -10.0, 10.0, 30.0)]
    lesions, used = fit_masks(brain, allowed, masks, load_mm3, np.random.default_rng(1))
    assert int(lesions.sum()) * 27 == pytest.approx(load_mm3, rel=0.2)
    assert not (lesions & ~allowed).any()
    assert len(used) == (1 if load_mm3 < 10_000 else len(used))


def test_masks_that_do_not_give_the_load_give_what_they_have(brain: Brain, allowed: Region) -> None:
    mask = ball(5.0, (40.0, -10.0, 20.0))
    lesions, _ = fit_masks(brain, allowed, [mask], 100_000.0, np.random.default_rng(0))
    assert 0 < int(lesions.sum()) * 27 < 5_000


def test_a_mask_outside_the_brain_gives_no_lesion(brain: Brain, allowed: Region) -> None:
    mask = ball(5.0, (0.0, 80.0, 90.0))
    lesions, _ = fit_masks(brain, allowed, [mask], 500.0, np.random.default_rng(0))
    assert not lesions.any()


def test_a_small_acute_infarct_comes_as_the_scar_it_leaves(brain: Brain, allowed: Region) -> None:
    acute = replace(ball(7.0, (40.0, -10.0, 20.0)), name="soop/soop-1_lesion.nii.gz")
    large = replace(acute, volume_mm3=9_000.0)
    chronic = replace(acute, name="lesymap/lesymap-1_lesion.nii.gz")
    assert [mask.shrinks for mask in (acute, large, chronic)] == [True, False, False]
    asked_mm3 = 6 * acute.volume_mm3
    rngs = [np.random.default_rng(seed) for seed in range(8)]
    volumes = [
        sum(int(fit_masks(brain, allowed, [mask], asked_mm3, rng)[0].sum()) for rng in rngs)
        for mask in (acute, chronic)
    ]
    assert 0.2 < volumes[0] / volumes[1] < 0.7
