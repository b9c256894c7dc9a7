"""Function-preserving growth of a trained network to wider stages and finer voxels (Net2Net)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import build_unet, unet_weights

Places = Sequence[np.ndarray]
"""Output and input channels of the original layer within the grown one."""


def can_grow(old: NetworkSpec, new: NetworkSpec) -> bool:
    """Whether `grow_weights` applies: the networks differ only by wider stages and by cubes of voxels."""
    if new.stages != old.stages or old.unshuffle != 1:
        return False
    same_otherwise = replace(new, features=old.features, unshuffle=1) == old
    wider = all(after >= before for before, after in zip(old.features, new.features, strict=True))
    return same_otherwise and wider and not _shortcuts_differ(old, new)


def grow_weights(weights: Weights, old: NetworkSpec, new: NetworkSpec, seed: int) -> Weights:
    """Widen every stage, and replace input voxels by cubes of voxels.

    For each voxel, the grown network's prediction is that of the original for the mean of its cube: new channels have
    fresh weights, and weights from new to original channels are 0. Source: Chen et al. 2016, arXiv:1511.05641
    (Net2Net), with new channels in place of copied ones.

    Args:
        weights: Weights of the original network.
        old: The original network.
        new: The grown network.
        seed: Seed of the new weights.

    Raises:
        ConfigError: `can_grow` is False.
    """
    if not can_grow(old, new):
        raise ConfigError(f"a network {old} cannot grow to {new}; only stages may be wider and voxels finer")
    grown = {name: value.copy() for name, value in unet_weights(build_unet(new, seed)).items()}
    for name, (outputs, inputs) in _places(grown, old, new):
        original = weights[name].astype(np.float32)
        if "seg_layers" in name:  # every voxel of a cube gets the logit of the original voxel
            original = np.repeat(original, new.cube_vox, axis=0)
        if original.ndim == 1:
            grown[name][outputs] = original
            continue
        if inputs.ndim == 2:  # the input was the mean of a cube
            inputs = inputs.ravel()
            original = np.repeat(original, len(inputs), axis=1) / np.float32(len(inputs))
        _embed(grown[name], original, outputs, inputs, transposed="transpconvs" in name)
    return grown


def _embed(
    kernel: Float32[np.ndarray, "a b x y z"],
    original: Float32[np.ndarray, "c d x y z"],
    outputs: np.ndarray,
    inputs: np.ndarray,
    *,
    transposed: bool,
) -> None:
    """Copy an original kernel into a fresh one, and zero the weights from new to original channels."""
    first, second = (inputs, outputs) if transposed else (outputs, inputs)
    if transposed:  # (in, out, x, y, z)
        kernel[:, outputs] = 0
    else:
        kernel[outputs] = 0
    kernel[np.ix_(first, second)] = original


def _places(grown: Weights, old: NetworkSpec, new: NetworkSpec) -> Iterator[tuple[str, Places]]:
    """Positions of the original outputs and inputs of each parameter; inputs of the first convolution are cubes."""
    for name in grown:
        parts = name.split(".")
        yield name, _places_of(parts, old, new)


def _places_of(parts: list[str], old: NetworkSpec, new: NetworkSpec) -> Places:
    if parts[0] == "encoder":
        return _encoder_places(parts, old, new)
    level = int(parts[2])
    stage = old.stages - 2 - level
    own = np.arange(old.features[stage])
    if parts[1] == "seg_layers":
        return np.arange(2 * new.cube_vox), own
    if parts[1] == "transpconvs":
        return own, np.arange(old.features[stage + 1])
    # upsampled features come first, then the skip, which starts after the grown network's own
    joined = np.concatenate([own, own + new.features[stage]])
    return own, joined if parts[4] == "0" else own


def _encoder_places(parts: list[str], old: NetworkSpec, new: NetworkSpec) -> Places:
    cube = np.arange(new.cube_vox)[None]
    if parts[1] == "stem":
        return np.arange(old.features[0]), cube
    stage = int(parts[2])
    own = np.arange(old.features[stage])
    # the first convolution of a stage (and its shortcut) reads the stage before
    first_of_stage = parts[5] == "0" if old.encoder == "plain" else parts[4] == "0" and parts[5] != "conv2"
    if not first_of_stage:
        return own, own
    if stage == 0:
        return own, cube if old.encoder == "plain" else own
    return own, np.arange(old.features[stage - 1])


def _shortcuts_differ(old: NetworkSpec, new: NetworkSpec) -> bool:
    """Whether a residual block has a convolution in its shortcut in only one of the networks."""
    changes = [
        [before != after for before, after in zip(spec.features, spec.features[1:], strict=False)]
        for spec in (old, new)
    ]
    return old.encoder == "residual" and changes[0] != changes[1]
