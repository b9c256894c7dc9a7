"""Means over cases with the uncertainty that comes from which cases were drawn: bootstrap intervals."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over cases.

    Attributes:
        mean: Over the cases where the value is defined; NaN where it is nowhere.
        std: Standard deviation over the same cases, with n - 1; NaN for fewer than two of them.
        low, high: Ends of the 95 % interval of the mean; NaN for fewer than two defined cases.
        cases: How many there are, defined or not.
        undefined: Cases left out because the value is NaN there.
    """

    mean: float
    std: float
    low: float
    high: float
    cases: int
    undefined: int


def estimate_mean(values: Float64[np.ndarray, " n"]) -> Estimate:
    """Mean and 95 % percentile bootstrap interval over cases; the same values give the same interval.

    The cases drawn depend on their number only, so that of two arrays over the same cases the same ones are drawn: the
    interval of a difference is that of paired cases. Source: Efron and Tibshirani 1993, chapter 13.
    """
    defined = values[~np.isnan(values)]
    undefined = len(values) - len(defined)
    if len(defined) < 2:
        mean = float(defined.mean()) if len(defined) else math.nan
        return Estimate(mean, math.nan, math.nan, math.nan, len(values), undefined)
    drawn = _drawn(len(values))
    weights = drawn[:, ~np.isnan(values)]
    totals = weights.sum(1)
    means = (weights @ defined)[totals > 0] / totals[totals > 0]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(float(defined.mean()), float(defined.std(ddof=1)), float(low), float(high), len(values), undefined)


@lru_cache(maxsize=16)
def _drawn(cases: int) -> Float64[np.ndarray, "resamples n"]:
    """How often each case is drawn in each resample."""
    return np.random.default_rng(SEED).multinomial(cases, np.full(cases, 1 / cases), RESAMPLES).astype(np.float64)
