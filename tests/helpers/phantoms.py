"""A plain folder of small heads with dark lesions, and a size of network that learns them in seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import write_image
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.training.schemes import SIZES, Size

SHAPE = (20, 22, 18)
AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])
"""3 mm, left to right."""

NANO = Size(
    "tiny",
    PreprocessSpec(spacing_mm=3.0),
    patch=(8, 8, 8),
    plain=NetworkSpec("plain", (4, 8), (1, 1), 1),
    residual=NetworkSpec("residual", (4, 8), (1, 1), 1, conv_bias=False),
    steps_per_epoch=10,
    validation_steps=4,
    epochs=2,
    learning_rate=0.05,
    momentum=0.9,
)
"""Stands in for the size `tiny` in tests; it learns little."""
LEARNING = replace(NANO, steps_per_epoch=60)
"""The same until it finds the lesions of phantoms."""

COARSE = replace(
    SIZES["tiny"],
    preprocess=PreprocessSpec(spacing_mm=6.0),
    patch=(16, 16, 16),
    plain=NetworkSpec("plain", (8, 16), (1, 1), 1),
    residual=NetworkSpec("residual", (8, 16), (1, 1), 1, conv_bias=False),
    validation_steps=1,
)
"""Stands in for it where whole brains are simulated: at 6 mm that takes a moment."""


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy ellipsoid with a dark block in it, and the block."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in SHAPE), indexing="ij")
    scan = np.where(x**2 + y**2 + z**2 < 0.9, 100 + rng.normal(0, 3, SHAPE), 0)
    corner = rng.integers(5, 9, 3)
    lesion = np.zeros(SHAPE, bool)
    lesion[tuple(slice(start, start + 5) for start in corner)] = True
    scan[lesion] = 30 + rng.normal(0, 3, lesion.sum())
    return scan.astype(np.float32), lesion


def write_phantoms(folder: Path, labelled: int = 4, unlabelled: int = 1) -> Path:
    """`<id>_T1w.nii.gz`, and `<id>_lesion.nii.gz` for the labelled ones."""
    for number in range(labelled + unlabelled):
        scan, lesion = phantom(number)
        write_image(folder / f"p{number}_T1w.nii.gz", scan, AFFINE)
        if number < labelled:
            write_image(folder / f"p{number}_lesion.nii.gz", lesion, AFFINE)
    return folder
