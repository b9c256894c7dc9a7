"""The augmentation sets do what the real ones do: the same function of a given strength, strengths drawn alike.

The real programs' results lie in `golden/`; `test_oracle_training.py` asks the programs themselves, with more draws.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.training.augment import blur, change_contrast, change_gamma, cut_warped, draw_warp, lower_resolution
from mapping_stroke.training.schemes import AUGMENTATIONS, NONE
from our_training import FIELDS, Arrays, effects_of, our_effect, our_mirror_share, our_warps
from training_agreement import require_same_distribution, require_same_share, require_same_warps
from training_inputs import make_head, make_image

GOLDEN = Path(__file__).parent / "golden"
SETS = ("default", "strong")
OTHER_INTERPOLATION = ("strong", "low_resolution")
"""Version 1 goes back to the fine grid by a cubic spline: decision 30."""


@pytest.fixture(scope="module")
def real() -> Arrays:
    with np.load(GOLDEN / "augmentation.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blur", lambda patch: blur(patch, np.array([0.5, 0.62, 0.9]))),
        ("contrast_low", lambda patch: change_contrast(patch, 0.8)),
        ("contrast_high", lambda patch: change_contrast(patch, 1.25)),
        ("low_resolution", lambda patch: lower_resolution(patch, 0.6)),
        ("gamma", lambda patch: change_gamma(patch, 0.75)),
        ("inverted_gamma", lambda patch: -change_gamma(-patch, 1.4)),
    ],
)
def test_a_change_of_given_strength_is_the_real_one(real: Arrays, name: str, change: object) -> None:
    patch = torch.from_numpy(make_image(8))
    np.testing.assert_allclose(change(patch).numpy(), real[f"function_{name}"], atol=2e-6)  # type: ignore[operator]


def test_a_warp_of_given_angles_and_scale_cuts_the_real_patch(real: Arrays) -> None:
    scan, lesion = make_head(18)
    case = CaseArrays(
        "a", torch.from_numpy(scan).half(), torch.from_numpy(lesion), np.argwhere(lesion).astype(np.int16)
    )
    angle = -np.rad2deg(0.35)  # axes in the other order turn the other way round
    given = replace(
        NONE, rotation_probability=1, rotation_degrees=(angle, angle), scale_probability=1, scale=(1.2, 1.2)
    )
    warp = draw_warp(given, (12, 12, 12), np.random.default_rng(0))
    found_scan, found_mask = cut_warped(case, (3, 3, 3), (12, 12, 12), warp, torch.Generator())
    np.testing.assert_allclose(found_scan.numpy(), real["function_warp_scan"], atol=1e-5)
    np.testing.assert_array_equal(found_mask.numpy(), real["function_warp_mask"])
    assert found_mask.sum() > 10


@pytest.mark.parametrize("name", SETS)
def test_changes_of_intensity_come_as_often_and_as_strong_as_the_real_ones(real: Arrays, name: str) -> None:
    effects = effects_of(real, name)
    assert set(effects) == set(FIELDS) - ({"shift"} if name == "default" else set())
    for effect in effects:
        share, strengths = our_effect(AUGMENTATIONS[name], effect, 1000, 200)
        require_same_share(share, 1000, real[f"{name}_{effect}_share"])
        if (name, effect) != OTHER_INTERPOLATION:
            require_same_distribution(strengths, real[f"{name}_{effect}"], f"{name}: {effect}")


@pytest.mark.parametrize("name", SETS)
def test_patches_are_mirrored_as_often_as_the_real_ones(real: Arrays, name: str) -> None:
    require_same_share(our_mirror_share(AUGMENTATIONS[name], 800), 800, real[f"{name}_mirror_share"])


@pytest.mark.parametrize("name", SETS)
def test_patches_are_turned_scaled_and_deformed_as_the_real_ones(real: Arrays, name: str) -> None:
    theirs = {key: real[f"{name}_{key}"] for key in ("matrices_e4", "elastic", "elastic_share")}
    require_same_warps(our_warps(AUGMENTATIONS[name], 12, 1500), theirs)
