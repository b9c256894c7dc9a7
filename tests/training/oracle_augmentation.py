"""What the real augmentation does, v2's default set and v1's DA3; run by `.oracles/bin/python`, never by a test.

    oracle_augmentation.py OUT [COUNT [SEED [KEEP]]]

The transforms and all their settings are those that the real trainers put together. Every one is run by itself COUNT
times on a fixed patch. OUT is an .npz file that holds, for each set, how often each changed the patch, and the first
KEEP of the measured strengths and warps; and what each transform of v2 makes of one patch for one given strength.
"""

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from batchgenerators.augmentations import spatial_transformations
from nnunet.training.data_augmentation import data_augmentation_insaneDA2 as da3
from nnunet.training.network_training.nnUNet_variants.data_augmentation.nnUNetTrainerV2_DA3 import nnUNetTrainerV2_DA3
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from training_effects import EDGE, MEASURES, describe_warp, is_deformed, measure, on_impulse
from training_inputs import make_head, make_image, make_impulse

Arrays = dict[str, np.ndarray]
Change = Callable[[np.ndarray], np.ndarray]
WARP_EDGE = 12


def main(out: str, count: str = "2000", seed: str = "0", keep: str = "200") -> None:
    random.seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002 - the real programs draw from here
    torch.manual_seed(int(seed))
    number, kept = int(count), int(keep)
    arrays = functions()
    for name, changes in (("default", default_changes()), ("strong", strong_changes())):
        arrays |= {f"{name}_{key}": value for key, value in draw_effects(changes, number, kept).items()}
    arrays |= {f"default_{key}": value for key, value in keep_warps(default_warps(number), kept).items()}
    arrays |= {f"strong_{key}": value for key, value in keep_warps(strong_warps(number), kept).items()}
    np.savez_compressed(out, **arrays)


def default_transforms(edge: int, *, masked: bool = False) -> list[Any]:
    """What `nnUNetTrainer` chains for training in three dimensions."""
    rotation = (-np.pi / 6, np.pi / 6)
    chain: Any = nnUNetTrainer.get_training_transforms(
        (edge,) * 3, rotation, None, (0, 1, 2), False, use_mask_for_norm=[masked]
    )
    return list(chain.transforms)


def strong_transforms(edge: int) -> list[Any]:
    """What `nnUNetTrainerV2_DA3` of nnU-Net v1 chains."""
    trainer = object.__new__(nnUNetTrainerV2_DA3)
    trainer.__dict__.update(
        net_num_pool_op_kernel_sizes=[[2, 2, 2]] * 5, threeD=True, do_dummy_2D_aug=False,
        patch_size=np.array([edge] * 3), use_mask_for_norm={},
    )  # fmt: skip
    trainer.setup_DA_params()
    chains: list[Any] = []
    da3.MultiThreadedAugmenter = lambda _, chain, *__, **___: chains.append(chain)
    da3.get_insaneDA_augmentation2(
        None, None, trainer.data_aug_params["patch_size_for_spatialtransform"], trainer.data_aug_params
    )
    return list(chains[0].transforms)


def default_changes() -> dict[str, Change]:
    def run(transform: Any) -> Change:
        return lambda image: transform(image=torch.from_numpy(image.T.copy())[None])["image"][0].numpy().T

    _, noise, blur, brightness, contrast, low, inverted, gamma, mirror = default_transforms(EDGE)[:9]
    return {
        "noise": run(noise), "blur_x": run(blur), "blur_y": run(blur), "blur_ratio": run(blur),
        "brightness": run(brightness),
        "contrast": run(contrast), "low_resolution": run(low), "inverted_gamma": run(inverted), "gamma": run(gamma),
        "mirror": run(mirror),
    }  # fmt: skip


def strong_changes() -> dict[str, Change]:
    def run(transform: Any) -> Change:
        return lambda image: transform(data=image.T.copy()[None, None], seg=None)["data"][0, 0].T

    _, _, noise, blur, brightness, contrast, low, inverted, shift, gamma, mirror = strong_transforms(EDGE)[:11]
    return {
        "noise": run(noise), "blur_x": run(blur), "blur_y": run(blur), "blur_ratio": run(blur),
        "brightness": run(brightness),
        "contrast": run(contrast), "low_resolution": run(low), "inverted_gamma": run(inverted), "shift": run(shift),
        "gamma": run(gamma), "mirror": run(mirror),
    }  # fmt: skip


def draw_effects(changes: dict[str, Change], count: int, keep: int) -> Arrays:
    arrays = {}
    for effect, change in changes.items():
        before = make_impulse(EDGE) if on_impulse(effect) else make_image(EDGE)
        results = [after for after in (change(before) for _ in range(count)) if not np.array_equal(after, before)]
        arrays[f"{effect}_share"] = np.array([len(results) / count, count])
        if effect in MEASURES:
            found = [measure(effect, before, after) for after in results[:keep]]
            arrays[effect] = np.array(found, np.float32)
    return arrays


def default_warps(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Matrix and elastic displacement (none) of each patch; the identity for one that is left alone."""
    transform = default_transforms(WARP_EDGE)[0]
    image = torch.zeros((1, WARP_EDGE, WARP_EDGE, WARP_EDGE))
    drawn = [transform.get_parameters(image=image)["affine"] for _ in range(count)]
    return [(np.eye(3) if affine is None else affine[::-1, ::-1], np.zeros(6)) for affine in drawn]


def strong_warps(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    transform = next(t for t in strong_transforms(WARP_EDGE) if type(t).__name__ == "SpatialTransform_2")
    read: list[np.ndarray] = []
    spatial_transformations.interpolate_img = lambda image, points, *_, **__: read.append(points) or image
    image = np.zeros((1, 1, WARP_EDGE, WARP_EDGE, WARP_EDGE))
    warps = []
    for _ in range(count):
        read.clear()
        transform(data=image, seg=None)
        points = read[0][::-1].transpose(0, 3, 2, 1) if read else None  # from z, y, x
        warps.append((np.eye(3), np.zeros(6)) if points is None else describe_warp(points))
    return warps


def keep_warps(warps: list[tuple[np.ndarray, np.ndarray]], keep: int) -> Arrays:
    """Matrices (ten-thousandths) of patches that are not deformed, if only left alone; displacements of the others."""
    deformed = [rest for _, rest in warps if is_deformed(rest)]
    plain = [matrix for matrix, rest in warps if not is_deformed(rest)]
    return {
        "matrices_e4": np.round(1e4 * np.array(plain[: 2 * keep])).astype(np.int16),
        "elastic": np.array(deformed, np.float32).reshape(-1, 6)[:keep],
        "elastic_share": np.array([len(deformed) / len(warps), len(warps)]),
    }


def functions() -> Arrays:
    """What each of v2's transforms makes of one patch, for one given strength."""
    spatial, _, blur, _, contrast, low, inverted, gamma, _, mask, labels = default_transforms(12, masked=True)
    first, one = torch.tensor([0]), torch.tensor([True])
    sigmas, stays = [[0.9, 0.62, 0.5]], {"apply_to_channel": first, "retain_stats": one}
    blur.transform.benchmark = False
    calls = {
        "blur": (blur, {"apply_to_channel": one, "sigmas": sigmas}),
        "contrast_low": (contrast, {"apply_to_channel": first, "multipliers": torch.tensor([0.8])}),
        "contrast_high": (contrast, {"apply_to_channel": first, "multipliers": torch.tensor([1.25])}),
        "low_resolution": (low, {"apply_to_channel": first, "scales": torch.tensor([[0.6, 0.6, 0.6]])}),
        "gamma": (gamma, stays | {"invert_image": ~one, "gamma": torch.tensor([0.75])}),
        "inverted_gamma": (inverted, stays | {"invert_image": one, "gamma": torch.tensor([1.4])}),
    }
    arrays = {}
    for name, (transform, strength) in calls.items():
        image = torch.from_numpy(make_image(8).T.copy())[None]
        arrays[f"function_{name}"] = transform.transform._apply_to_image(image, **strength)[0].numpy().T
    scan, lesion = make_head(18)
    segmentation = np.where(scan != 0, lesion.astype(np.int16), -1)
    spatial.p_rotation, spatial.p_scaling, spatial.rotation, spatial.scaling = 1, 1, (0.35, 0.35), (1.2, 1.2)
    given = {
        "image": torch.from_numpy(scan.T.copy())[None],
        "segmentation": torch.from_numpy(segmentation.T.copy())[None],
    }
    warped = labels(**mask(**spatial(**given)))
    arrays["function_warp_scan"] = warped["image"][0].numpy().T
    arrays["function_warp_mask"] = warped["segmentation"][0].numpy().T.astype(np.uint8)
    return arrays


if __name__ == "__main__":
    main(*sys.argv[1:])
