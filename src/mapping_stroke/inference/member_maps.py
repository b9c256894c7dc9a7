"""What each member of a model says alone, and all together, from one prediction of each."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float32
from scipy.special import expit

from mapping_stroke.dataset.preprocess import Prepared
from mapping_stroke.image import Probability
from mapping_stroke.inference.average import Map, PreparedScan, RunningAverage, average_groups
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.networks.bundle import BundleMember
from mapping_stroke.networks.cards import Averaging


def predict_each(
    ensemble: Ensemble, prepared: PreparedScan, advance: Callable[[float], None] = lambda share: None
) -> Iterator[tuple[BundleMember | None, Probability]]:
    """Yield every member with its P(lesion) on the scan's own grid, then None with that of `ensemble.predict`.

    One member's map is held at a time, beside the running mean.

    Args:
        ensemble: The members on an engine.
        prepared: What `ensemble.prepare` made of a scan.
        advance: Told the share of the work that was just done; the shares sum to 1.
    """
    means = {spec: RunningAverage(ensemble.window.average) for spec in prepared}
    for member in ensemble.members:
        spec = member.card.preprocess
        values = ensemble.predict_member(member, prepared, lambda share: advance(share / len(ensemble.members)))
        means[spec].add(values)
        yield member, _alone(values, prepared[spec], ensemble.window.average)
    yield None, average_groups(means, prepared).probability


def _alone(values: Map, prepared: Prepared, of: Averaging) -> Float32[np.ndarray, "x2 y2 z2"]:
    """A map on the network's grid, of P(lesion) or its logit, as P(lesion) on the scan's own grid."""
    inside = prepared.restore_inside(values)
    return prepared.surround(np.asarray(expit(inside)) if of == "logit" else inside)
