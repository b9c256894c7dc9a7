"""The model average: one running mean of the members' maps, and how far they agree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.special import expit

from mapping_stroke.dataset.preprocess import Prepared, PreprocessSpec
from mapping_stroke.errors import BundleError
from mapping_stroke.image import Probability
from mapping_stroke.networks.cards import Averaging

Map = Float32[np.ndarray, "x y z"]
Plane = Float32[np.ndarray, "y z"]
PreparedScan = Mapping[PreprocessSpec, Prepared]
"""A scan as the members read it: once for each preprocessing."""


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

    def result(self, lay: Callable[[Map], Map] = lambda values: values) -> Average:
        """What has been averaged so far, each map laid on another grid if a function is given that does so.

        Raises:
            BundleError: There is no map yet.
        """
        if self.members == 0:
            raise BundleError("a model average needs at least one member; train one, or name a folder that holds some")
        uncertainty = lay(np.sqrt(np.maximum(self._squares, 0) / self.members))
        probability = np.asarray(expit(lay(self._logits))) if self._of == "logit" else lay(self._mean)
        return Average(probability, uncertainty, lay(self._votes / self.members), self.members)


def average_groups(groups: Mapping[PreprocessSpec, RunningAverage], prepared: PreparedScan) -> Average:
    """The average over groups of members on the scan's own grid; 0 outside the brain's box.

    Args:
        groups: What was averaged of the members that read the same grid.
        prepared: The scan on these grids.
    """
    inside = join([running.result(prepared[spec].restore_inside) for spec, running in groups.items()])
    return inside.on(next(iter(prepared.values())).surround)


def join(averages: Sequence[Average]) -> Average:
    """The average over groups of members, each group averaged on the same grid.

    The variance of all is the mean of the groups' variances and of their means' squared distances.
    """
    if len(averages) == 1:
        return averages[0]
    members = sum(each.members for each in averages)
    shares = [np.float32(each.members / members) for each in averages]
    probability, uncertainty, agreement = (np.empty_like(averages[0].probability) for _ in range(3))
    for x in range(len(probability)):  # plane by plane: what is computed in between stays in the processor's cache
        mean = probability[x] = _weighted(shares, [each.probability[x] for each in averages])
        variances = [each.uncertainty[x] ** 2 + (each.probability[x] - mean) ** 2 for each in averages]
        uncertainty[x] = np.sqrt(_weighted(shares, variances))
        agreement[x] = _weighted(shares, [each.agreement[x] for each in averages])
    return Average(probability, uncertainty, agreement, members)


def _weighted(shares: Sequence[np.float32], planes: Sequence[Plane]) -> Plane:
    total = np.zeros_like(planes[0])
    for share, values in zip(shares, planes, strict=True):
        total += share * values
    return total
