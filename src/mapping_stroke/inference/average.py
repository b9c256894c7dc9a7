"""The model average: one running mean of the members' maps, and how far they agree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.special import expit

from mapping_stroke.dataset.preprocess import Prepared
from mapping_stroke.errors import BundleError
from mapping_stroke.image import Probability
from mapping_stroke.inference.sliding_window import NO_LESION_LOGIT
from mapping_stroke.networks.cards import Averaging

Map = Float32[np.ndarray, "x y z"]


@dataclass(frozen=True, eq=False)
class Average:
    """What the members say together.

    Attributes:
        probability: Mean P(lesion), in [0, 1]; or P of the mean logit.
        uncertainty: Standard deviation of P(lesion) over the members (divisor n), in [0, 0.5]; 0 for one member.
        agreement: Share of the members with P(lesion) > 0.5, in [0, 1].
        members: How many were averaged.
    """

    probability: Probability
    uncertainty: Map
    agreement: Map
    members: int

    def on(self, lay: Callable[[Map], Map]) -> "Average":
        """The same with every map laid on another grid."""
        return Average(lay(self.probability), lay(self.uncertainty), lay(self.agreement), self.members)


class RunningAverage:
    """Mean, spread and votes of maps on one grid, taken one at a time: memory does not grow with their number.

    Args:
        of: `probability`: the maps are P(lesion), and so is their mean, the paper's way. `logit`: they are logits, and
            the mean is taken of these, as nnU-Net v2 does.
    """

    def __init__(self, of: Averaging = "probability") -> None:
        self.members = 0
        self._of = of
        empty = np.zeros((0, 0, 0), np.float32)
        self._logits, self._mean, self._squares, self._votes = empty, empty, empty, empty

    def add(self, values: Map) -> None:
        """Take one more member's map (Welford's running mean and sum of squares)."""
        probability = np.asarray(expit(values)) if self._of == "logit" else values
        self.members += 1
        if self.members == 1:
            self._logits = values.copy() if self._of == "logit" else self._logits
            self._mean, self._squares = probability.copy(), np.zeros_like(probability)
            self._votes = (probability > np.float32(0.5)).astype(np.float32)
            return
        if self._of == "logit":
            self._logits += (values - self._logits) / self.members
        difference = probability - self._mean
        self._mean += difference / self.members
        self._squares += difference * (probability - self._mean)
        self._votes += probability > np.float32(0.5)

    def result(self, prepared: Prepared | None = None) -> Average:
        """What has been averaged so far; on the scan's own grid if `prepared` says where the maps lie.

        Raises:
            BundleError: There is no map yet.
        """
        if self.members == 0:
            raise BundleError("a model average needs at least one member; train one, or name a folder that holds some")
        uncertainty = np.sqrt(np.maximum(self._squares, 0) / self.members)
        if self._of == "logit":
            logits = prepared.restore(self._logits, NO_LESION_LOGIT) if prepared else self._logits
            probability = np.asarray(expit(logits))
        else:
            probability = prepared.restore(self._mean) if prepared else self._mean
        if prepared is None:
            return Average(probability, uncertainty, self._votes / self.members, self.members)
        agreement = prepared.restore(self._votes / self.members)
        return Average(probability, prepared.restore(uncertainty), agreement, self.members)


def join(averages: Sequence[Average]) -> Average:
    """The average over groups of members, each group averaged on the same grid.

    The variance of all is the mean of the groups' variances and of their means' squared distances.
    """
    if len(averages) == 1:
        return averages[0]
    members = sum(each.members for each in averages)
    shares = [each.members / members for each in averages]
    probability = _weighted(shares, [each.probability for each in averages])
    variances = [each.uncertainty**2 + (each.probability - probability) ** 2 for each in averages]
    agreement = _weighted(shares, [each.agreement for each in averages])
    return Average(probability, np.sqrt(_weighted(shares, variances)), agreement, members)


def _weighted(shares: Sequence[float], maps: Sequence[Map]) -> Map:
    total = np.zeros_like(maps[0])
    for share, values in zip(shares, maps, strict=True):
        total += np.float32(share) * values
    return total
