"""What both programs, nnU-Net's and ours, are given: made by formulas, so that no input needs to be stored."""

import numpy as np

TARGETS = ("both", "first", "none")
"""Which of two samples hold a lesion."""

STEP_FEATURES = (2, 4, 4, 4)
STEP_EPOCHS, STEP_LENGTH, STEPS = 3, 4, 8
"""Planned epochs, steps of each, steps taken."""

VOLUME, PATCH = (140, 175, 129), (128, 128, 128)
"""Of the comparison of patch positions: a head cropped to its brain."""


def wave(shape: tuple[int, ...], frequency: float, height: float = 2.0) -> np.ndarray:
    """Numbers without a pattern that a network of small kernels would notice, in +- height."""
    steps = np.arange(np.prod(shape), dtype=np.float64)
    return (height * np.sin(frequency * steps + 0.3 * np.sin(0.37 * steps))).reshape(shape).astype(np.float32)


def make_target(kind: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Lesions (n = 2, x, y, z) of 0 and 1 in the samples that `kind` says."""
    target = np.stack([wave(shape, 1.31) > 1.2, wave(shape, 0.83) > 1.6]).astype(np.int64)
    target[{"both": 2, "first": 1, "none": 0}[kind] :] = 0
    return target


def make_step_batch(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Scan (2, 1, x, y, z) and target (2, x, y, z) of one training step; the second sample holds no lesion."""
    scan = wave((2, 1, 16, 16, 16), 0.71 + 0.13 * number)
    target = (wave((2, 16, 16, 16), 0.29 + 0.05 * number) > 1.7).astype(np.int64)
    target[1] = 0
    return scan, target


def make_weight(number: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """First values of the parameter of that number and name; large in the last layer, so that gradients are clipped."""
    values = wave(shape, 0.9 + 0.01 * number, 1.0)
    if len(shape) == 1:
        return 0.1 * values + (1 if "norm.weight" in name else 0)
    return values * np.float32((30 if "seg_layers" in name else 1) * np.sqrt(2 / np.prod(shape[1:])))


def make_lesion_voxels() -> np.ndarray:
    """Lesion voxels (n, 3; x, y, z) in `VOLUME`, some near each of its ends."""
    shares = (wave((60, 3), 2.3, 0.5) + 0.5).astype(np.float64)
    return np.floor(shares * (np.array(VOLUME) - 1e-6)).astype(np.int16)


def make_image(edge: int) -> np.ndarray:
    """A smooth cube (x, y, z) of which no voxel is 0, of mean about 0.3 and spread about 1."""
    x, y, z = np.meshgrid(*[np.linspace(0, 1, edge)] * 3, indexing="ij")
    smooth = np.sin(5 * x + 1) + np.cos(4 * y + 2 * z) + x * z
    image: np.ndarray = (smooth + wave((edge,) * 3, 1.7, 0.3) + 0.3).astype(np.float32)
    return np.where(np.abs(image) < 1e-3, np.float32(1e-3), image)


def make_impulse(edge: int) -> np.ndarray:
    """A cube of ones with a single 2 in its middle."""
    image = np.ones((edge,) * 3, np.float32)
    image[(edge // 2,) * 3] = 2
    return image


def make_head(edge: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball of z-scores in a cube of zeros, and a lesion in it (x, y, z), both told apart from their mirror images."""
    x, y, z = np.meshgrid(*[np.linspace(-1.1, 1.1, edge)] * 3, indexing="ij")
    brain = x**2 + 1.2 * y**2 + 1.5 * z**2 < 0.5
    scan = np.where(brain, make_image(edge), 0).astype(np.float16).astype(np.float32)
    return scan, (((x - 0.2) ** 2 + 2 * (y + 0.1) ** 2 + (z - 0.1) ** 2) < 0.1).astype(np.uint8)
