"""How much lesion a case has, and in how many parts: the distribution of ATLAS R2.0."""

import math

import numpy as np
from scipy.special import ndtr, ndtri

SMALLEST_LOAD_MM3, LARGEST_LOAD_MM3 = 13.0, 200_000.0
"""Range of the loads in ATLAS R2.0 (its voxels are 1 mm3)."""
MEDIAN_LOAD_MM3, SPREAD = 4_300.0, 2.0
"""Centre and logarithmic standard deviation of the distribution before it is cut to that range: half under 5 000."""
GOLDEN = (math.sqrt(5) - 1) / 2


def atlas_load_mm3(quantile: float, largest_mm3: float = LARGEST_LOAD_MM3) -> float:
    """The load below which this share of the cases lies; a log-normal distribution cut to the range of ATLAS.

    Args:
        quantile: The share, in [0, 1].
        largest_mm3: Where the distribution is cut.
    """
    ends = (SMALLEST_LOAD_MM3, largest_mm3)
    low, high = (float(ndtr(math.log(end / MEDIAN_LOAD_MM3) / SPREAD)) for end in ends)
    load = MEDIAN_LOAD_MM3 * math.exp(SPREAD * float(ndtri(low + quantile * (high - low))))
    return min(max(load, SMALLEST_LOAD_MM3), largest_mm3)


def spread_quantile(index: int, offset: float) -> float:
    """Quantile of the `index`-th case: any run of neighbouring cases covers [0, 1) evenly (golden-ratio sequence)."""
    return (offset + index * GOLDEN) % 1.0


def split_load(load_mm3: float, rng: np.random.Generator) -> list[float]:
    """Divide a load among lesions, largest first: one for most small loads, more the larger the load."""
    expected_more = 0.25 * max(math.log10(load_mm3 / SMALLEST_LOAD_MM3), 0.0) ** 1.3
    count = 1 + min(int(rng.poisson(expected_more)), int(load_mm3 / 20))
    shares = np.sort(rng.dirichlet(np.r_[4.0, np.full(count - 1, 0.6)]))[::-1] if count > 1 else np.ones(1)
    parts = [float(share) * load_mm3 for share in shares if share * load_mm3 >= 10]
    return [part * load_mm3 / sum(parts) for part in parts]
