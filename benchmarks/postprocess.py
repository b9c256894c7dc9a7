"""Post-processing compared with a reference that searches the whole volume for every component."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.phantom import PhantomConfig, make_phantom
from benchmarks.timing import Race, describe_race, race
from mapping_stroke.images.image import Mask, Probability
from mapping_stroke.rules import postprocess

REFERENCE_WAY = (
    "like the authors' `rename_predictions.py`, one pass over the whole volume per component: the component is "
    "selected by its label and multiplied by the labels of the cores; the distinct values of the product are counted."
)


@dataclass(frozen=True)
class Postprocess(Benchmark):
    """Time post-processing of a synthetic 197x233x189 map with 25 lesions against one pass over it per component."""

    repeats: int = 5
    """Timings of each implementation; medians are reported."""

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats)

    def report(self) -> str:
        """Time both, and list the medians and their ratio."""
        return describe_race(
            race_postprocess(self.repeats), f"python -m benchmarks postprocess --repeats {self.repeats}"
        )


def race_postprocess(repeats: int, config: PhantomConfig = PhantomConfig(), seed: int = 1) -> Race:  # noqa: B008 - frozen
    """Time the rule `challenge` on a synthetic map. Raises `AssertionError` if the two results differ."""
    probability = make_phantom(config, np.random.default_rng(seed)).probability
    timings = race(
        lambda: postprocess(probability),
        lambda: postprocess_by_whole_passes(probability),
        repeats,
        np.testing.assert_array_equal,
    )
    grid = "x".join(map(str, config.shape))
    return Race(f"Post-processing a {grid} probability map with {config.lesions} lesions", REFERENCE_WAY, *timings)


def postprocess_by_whole_passes(probability: Probability) -> Mask:
    """The rule `challenge` as in the authors' `rename_predictions.py`, only for the benchmark.

    Same result as `mapping_stroke.rules.postprocess`, but each component is selected from the whole volume by its
    label, and its cores are the distinct values of its product with the labels of the cores.
    """
    is_small = np.count_nonzero(probability > np.float32(0.5)) < 3000
    core = probability > np.float32(0.7 if is_small else 0.55)
    edge = probability > np.float32(0.5)
    core_labels, cores = ndimage.label(core)
    if is_small and cores > 4:
        sizes_vox = [np.sum(core_labels == core_label) for core_label in range(1, cores + 1)]
        core &= core_labels != 1 + int(np.argmin(sizes_vox))
        core_labels, cores = ndimage.label(core)
    if cores == 0:
        peak = probability.max()
        return np.asarray((probability > peak - np.float32(0.1)) & (peak > np.float32(0.1)))
    if core.sum() == edge.sum():  # no voxel between the levels: widen the edge
        edge = probability > np.float32(0.3)
    edge_labels, regions = ndimage.label(edge)
    mask = core.copy()
    for region_label in range(1, regions + 1):
        region = edge_labels == region_label
        cores_held = len(np.unique(region * core_labels)) - 1
        if (cores_held >= 1) if is_small else (cores_held <= 1):
            mask = np.maximum(mask, region)
    return mask
