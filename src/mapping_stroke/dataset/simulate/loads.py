"""How much lesion a case has, and in how many parts: the distribution of ATLAS R2.0."""

import math
from functools import cache

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr

SMALLEST_LOAD_MM3, LARGEST_LOAD_MM3 = 13.0, 200_000.0
"""Range of the loads in ATLAS R2.0 (its voxels are 1 mm3)."""
MIXTURE = ((0.72, 1_860.0, 1.70), (0.28, 59_700.0, 0.76))
"""Share, median in mm3 and logarithmic standard deviation of two log-normal distributions, small strokes and whole
territories, that describe the 955 cases of ATLAS R2.0."""
TABLE_SIZE = 4096
GOLDEN = (math.sqrt(5) - 1) / 2


def atlas_load_mm3(quantile: float, largest_mm3: float = LARGEST_LOAD_MM3) -> float:
    """The load below which this share of the cases lies: `MIXTURE`, cut to the range of ATLAS.

    Args:
        quantile: The share, in [0, 1].
        largest_mm3: Where the distribution is cut, in mm3; more than `SMALLEST_LOAD_MM3`.
    """
    log_loads, shares = _table(largest_mm3)
    load = math.exp(float(np.interp(quantile, shares, log_loads)))
    return min(max(load, SMALLEST_LOAD_MM3), largest_mm3)


@cache
def _table(largest_mm3: float) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Logarithms of loads, and the share of the cases below each, from 0 to 1."""
    log_loads = np.linspace(math.log(SMALLEST_LOAD_MM3), math.log(largest_mm3), TABLE_SIZE)
    below = np.zeros_like(log_loads)
    for share, median_mm3, spread in MIXTURE:
        below += share * ndtr((log_loads - math.log(median_mm3)) / spread)
    return log_loads, (below - below[0]) / (below[-1] - below[0])


def spread_quantile(index: int, offset: float) -> float:
    """Quantile of the `index`-th case: any run of neighbouring cases covers [0, 1) evenly (golden-ratio sequence)."""
    return (offset + index * GOLDEN) % 1.0


def split_load(load_mm3: float, rng: np.random.Generator) -> list[float]:
    """Divide a load among lesions, largest first: one for most small loads, more the larger the load."""
    expected_more = 0.26 * max(math.log10(load_mm3 / SMALLEST_LOAD_MM3), 0.0) ** 1.3
    count = 1 + min(int(rng.poisson(expected_more)), int(load_mm3 / 20))
    shares = np.sort(rng.dirichlet(np.r_[4.0, np.full(count - 1, 0.6)]))[::-1] if count > 1 else np.ones(1)
    parts = [float(share) * load_mm3 for share in shares if share * load_mm3 >= 10]
    return [part * load_mm3 / sum(parts) for part in parts]
