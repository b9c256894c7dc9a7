"""What our training does, in the words in which the oracle scripts write down what the real nnU-Net does."""

from dataclasses import replace

import numpy as np
import torch

from mapping_stroke.dataset.arrays import CaseArrays, place_anywhere, place_on_lesion
from mapping_stroke.training.augment import change_intensity, draw_warp, warped_points
from mapping_stroke.training.batches import Randomness, draw_batch
from mapping_stroke.training.schemes import NONE, Augmentation
from training_effects import EDGE, MEASURES, describe_warp, is_deformed, measure, on_impulse
from training_inputs import PATCH, VOLUME, make_image, make_impulse, make_lesion_voxels

Arrays = dict[str, np.ndarray]

FIELDS = {
    "noise": ("noise_probability", "noise_sigma"),
    "blur_x": ("blur_probability", "blur_sigma_vox", "blur_per_axis"),
    "blur_y": ("blur_probability", "blur_sigma_vox", "blur_per_axis"),
    "blur_ratio": ("blur_probability", "blur_sigma_vox", "blur_per_axis"),
    "brightness": ("brightness_probability", "brightness_factor"),
    "shift": ("shift_probability", "shift_sigma"),
    "contrast": ("contrast_probability", "contrast_factor"),
    "low_resolution": ("low_resolution_probability", "low_resolution_zoom"),
    "inverted_gamma": ("inverted_gamma_probability", "gamma"),
    "gamma": ("gamma_probability", "gamma"),
}
"""Of an augmentation set, those that make each effect."""


def our_effect(augmentation: Augmentation, effect: str, count: int, keep: int) -> tuple[float, np.ndarray]:
    """How often one change of intensity comes among `count` patches, and its strength in `keep` patches."""
    alone = replace(NONE, **{field: getattr(augmentation, field) for field in FIELDS[effect]})
    before = make_impulse(EDGE) if on_impulse(effect) else make_image(EDGE)
    patch, random = torch.from_numpy(before), Randomness.from_seed((1,), torch.device("cpu"))

    def change(settings: Augmentation) -> torch.Tensor:
        return change_intensity(patch, settings, random.numbers, random.noise)

    share = np.mean([not torch.equal(change(alone), patch) for _ in range(count)])
    always = replace(alone, **{FIELDS[effect][0]: 1.0})
    results = (change(always).numpy() for _ in range(keep))
    strengths = [measure(effect, before, after) for after in results if not np.array_equal(after, before)]
    return float(share), np.array(strengths)


def our_mirror_share(augmentation: Augmentation, count: int) -> float:
    """How often a patch is mirrored along one axis or more."""
    alone = replace(NONE, mirror_probability=augmentation.mirror_probability)
    image = torch.from_numpy(make_image(3)).half()
    case = CaseArrays("a", image, torch.zeros(image.shape, dtype=torch.uint8), np.zeros((0, 3), np.int16))
    random = Randomness.from_seed((2,), torch.device("cpu"))
    batch = draw_batch([case], (3, 3, 3), count, alone, random)
    return float(np.mean([not torch.equal(patch, image.float()) for patch in batch.scan[:, 0]]))


def our_warps(augmentation: Augmentation, edge: int, count: int) -> Arrays:
    """Matrices (ten-thousandths) of patches that are not deformed, if only left alone; displacements of the others."""
    random = Randomness.from_seed((3,), torch.device("cpu"))
    matrices, deformed = [], []
    for _ in range(count):
        warp = draw_warp(augmentation, (edge,) * 3, random.numbers)
        if any(warp.elastic_magnitude_vox):
            points = warped_points((0, 0, 0), (edge,) * 3, warp, random.noise).numpy()
            _, rest = describe_warp(points)
            if is_deformed(rest):
                deformed.append(rest)
                continue
        matrices.append(warp.matrix)
    share = np.array([len(deformed) / count, count])
    return {
        "matrices_e4": np.round(1e4 * np.array(matrices)),
        "elastic": np.array(deformed).reshape(-1, 6),
        "elastic_share": share,
    }


def our_patches(count: int) -> Arrays:
    """Lowest voxels of patches, anywhere and on lesions; and which samples of a batch are put on lesions."""
    rng, voxels = np.random.default_rng(4), make_lesion_voxels()
    anywhere = np.array([place_anywhere(VOLUME, PATCH, rng) for _ in range(count)])
    lesion = np.array([place_on_lesion(VOLUME, PATCH, voxels, rng) for _ in range(count)])
    return {"anywhere": anywhere, "lesion": lesion, "forced": np.array([_forced(batch) for batch in range(13)])}


def _forced(batch: int) -> np.ndarray:
    """Which of up to twelve samples hold the one lesion voxel of a large scan in their middle."""
    mask = torch.zeros((64, 64, 64), dtype=torch.uint8)
    mask[32, 32, 32] = 1
    case = CaseArrays("a", mask.half(), mask, np.array([[32, 32, 32]], np.int16))
    forced = np.zeros(12, bool)
    if batch:
        drawn = draw_batch([case], (3, 3, 3), batch, NONE, Randomness.from_seed((5,), torch.device("cpu")))
        forced[:batch] = drawn.target[:, 1, 1, 1].numpy() == 1
    return forced


def effects_of(arrays: Arrays, name: str) -> list[str]:
    """The effects that the real set of that name has."""
    return [effect for effect in MEASURES if f"{name}_{effect}_share" in arrays]
