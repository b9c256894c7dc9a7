"""Whether two programs draw from the same distributions."""

import numpy as np
from scipy import stats

from our_training import Arrays

NOTHING = 1e-3
"""Smaller parts of a matrix are rounding."""
LEAST_P = 1e-3
"""Of a two-sample Kolmogorov-Smirnov test; seeds are fixed, so that a result does not change from run to run."""


def require_same_share(ours: float, count: int, theirs: np.ndarray) -> None:
    """Two shares within four standard errors of their difference."""
    share = (ours * count + theirs[0] * theirs[1]) / (count + theirs[1])
    error = np.sqrt(share * (1 - share) * (1 / count + 1 / theirs[1]))
    assert abs(ours - theirs[0]) <= 4 * error + 1e-12, f"{ours:.4f} and {theirs[0]:.4f}, standard error {error:.4f}"


def require_same_distribution(ours: np.ndarray, theirs: np.ndarray, what: str) -> None:
    """The same mean within sampling error, and the same distribution by the Kolmogorov-Smirnov test."""
    assert min(len(ours), len(theirs)) > 50, what
    ours, theirs = ours.astype(np.float32), theirs.astype(np.float32)
    error = np.sqrt(ours.var() / len(ours) + theirs.var() / len(theirs))
    assert abs(ours.mean() - theirs.mean()) <= 4 * error + 1e-4, f"{what}: means {ours.mean():.4f} {theirs.mean():.4f}"
    p = stats.ks_2samp(ours, theirs).pvalue
    assert p > LEAST_P, f"{what}: p = {p:.1e}; spreads {ours.std():.4f} {theirs.std():.4f}"


def require_same_warps(ours: Arrays, theirs: Arrays) -> None:
    """Rotations and scales come as often and are as large, in the same order of axes; so are elastic deformations."""
    found, expected = (_describe(warps["matrices_e4"] / 1e4) for warps in (ours, theirs))
    for name, flags in found["flags"].items():
        other = expected["flags"][name]
        require_same_share(flags.mean(), len(flags), np.array([other.mean(), len(other)]))
    for name, values in found["values"].items():
        require_same_distribution(values, expected["values"][name], name)
    require_same_share(ours["elastic_share"][0], int(ours["elastic_share"][1]), theirs["elastic_share"])
    for column in range(6 if len(theirs["elastic"]) else 0):
        require_same_distribution(ours["elastic"][:, column], theirs["elastic"][:, column], f"elastic {column}")


def _describe(matrices: np.ndarray) -> dict[str, Arrays]:
    scales = np.sort(np.linalg.svd(matrices)[1], axis=1)
    lengths = np.linalg.norm(matrices, axis=2)  # of the rows: the scale along each axis of the scan
    turned = np.abs(matrices * (1 - np.eye(3))).max((1, 2)) > NOTHING
    scaled = np.abs(scales - 1).max(1) > NOTHING
    values: Arrays = {f"scale {rank}": scales[scaled, rank] for rank in range(3)}
    values |= {f"row {axis}": lengths[scaled, axis] for axis in range(3)}
    rotations = matrices[turned & ~scaled]
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        values[f"rotation {row}{column}"] = rotations[:, row, column]
    return {
        "flags": {"turned": turned, "scaled": scaled, "stretched": np.ptp(scales, axis=1) > NOTHING},
        "values": values,
    }
