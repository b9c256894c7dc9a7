"""Maps of members, averaged at once."""

from collections.abc import Iterable

from mapping_stroke.images.image import Probability
from mapping_stroke.inference.ensemble import Average, RunningAverage


def average(probabilities: Iterable[Probability]) -> Average:
    """What members with these maps, all on one grid, say together."""
    running = RunningAverage()
    for probability in probabilities:
        running.add(probability)
    return running.result()
