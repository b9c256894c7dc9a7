"""How strong a change of a patch was, measured from the patch before and after it; the same for both programs."""

from collections.abc import Callable

import numpy as np

Measure = Callable[[np.ndarray, np.ndarray], float]

EDGE = 15
"""Of the cubes that intensity changes are measured on."""


def measure(effect: str, before: np.ndarray, after: np.ndarray) -> float:
    """One number for the strength of a change of intensity."""
    return float(MEASURES[effect](before.astype(np.float64), after.astype(np.float64)))


def noise_sigma(before: np.ndarray, after: np.ndarray) -> float:
    """Standard deviation of what was added."""
    return float((after - before).std())


def factor(before: np.ndarray, after: np.ndarray) -> float:
    """Least squares of after = factor x before."""
    return float((before * after).sum() / (before**2).sum())


def offset(before: np.ndarray, after: np.ndarray) -> float:
    return float((after - before).mean())


def contrast(before: np.ndarray, after: np.ndarray) -> float:
    """Slope between the quartiles, which lie well inside the range that contrast is clipped to."""
    order = np.argsort(before, axis=None)
    low, high = order[len(order) // 4], order[3 * len(order) // 4]
    return float((after.flat[high] - after.flat[low]) / (before.flat[high] - before.flat[low]))


def gamma(before: np.ndarray, after: np.ndarray) -> float:
    """The exponent, from the middle voxel beside the lowest and the highest."""
    order = np.argsort(before, axis=None)
    low, middle = order[0], order[len(order) // 2]
    shares = [(values.flat[middle] - values.flat[low]) / np.ptp(values) for values in (before, after)]
    return float(np.log(shares[1]) / np.log(shares[0]))


def inverted_gamma(before: np.ndarray, after: np.ndarray) -> float:
    return gamma(-before, -after)


def blur_along(axis: int) -> Measure:
    """Spread of a blurred impulse along one axis."""

    def spread(before: np.ndarray, after: np.ndarray) -> float:
        profile = (after - 1).sum(tuple(other for other in range(3) if other != axis))
        steps = np.arange(len(profile)) - len(profile) // 2
        return float(np.sqrt((profile * steps**2).sum() / profile.sum()))

    return spread


def blur_ratio(before: np.ndarray, after: np.ndarray) -> float:
    """Of the spreads along two axes; 1 where all are blurred alike."""
    return round(MEASURES["blur_x"](before, after) / MEASURES["blur_y"](before, after), 4)


def lost_detail(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the image's spread that a coarser grid did away with."""
    return round(float((after - before).std() / before.std()), 4)  # one number for each coarser grid


MEASURES: dict[str, Measure] = {
    "noise": noise_sigma,
    "blur_x": blur_along(0),
    "blur_y": blur_along(1),
    "blur_ratio": blur_ratio,
    "brightness": factor,
    "contrast": contrast,
    "low_resolution": lost_detail,
    "inverted_gamma": inverted_gamma,
    "shift": offset,
    "gamma": gamma,
}


def on_impulse(effect: str) -> bool:
    """Whether an effect is measured on the impulse, not on the image."""
    return effect.startswith("blur")


def describe_warp(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The matrix, and the elastic displacement's spread (3) and roughness (3), of where each voxel of a patch is read.

    Args:
        points: (3, x, y, z), in voxels.

    Returns:
        3x3 from offsets in the patch to offsets in the scan; and 6 numbers: along each axis the standard deviation of
        what the matrix leaves over (relative to the matrix), and that of its steps from voxel to voxel over it.
    """
    edges = points.shape[1:]
    axes = [np.arange(edge) - (edge - 1) / 2 for edge in edges]
    base = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    flat = points.reshape(3, -1).astype(np.float64)
    flat = flat - flat.mean(1, keepdims=True)
    matrix = flat @ base.T @ np.linalg.inv(base @ base.T)
    rest = np.linalg.solve(matrix, flat - matrix @ base).reshape(3, *edges)
    spread = rest.std((1, 2, 3))
    steps = np.sqrt(np.mean([np.diff(rest, axis=axis).std((1, 2, 3)) ** 2 for axis in (1, 2, 3)], 0))
    return matrix, np.concatenate([spread, steps / np.maximum(spread, 1e-9)])


def is_deformed(rest: np.ndarray) -> bool:
    """Whether a warp is more than a matrix."""
    return bool(rest[:3].max() > 1e-4)
