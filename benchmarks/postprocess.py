"""Post-processing compared with a reference that searches the whole volume for every component."""

import numpy as np
from scipy import ndimage

from benchmarks.phantom import PhantomConfig, make_phantom
from benchmarks.timing import Race, race
from mapping_stroke.images.image import Mask, Probability
from mapping_stroke.rules import postprocess

REFERENCE_WAY = (
    "like the authors' `rename_predictions.py`, one pass over the whole volume for each component: picked out by its "
    "label, multiplied with the labels of the cores, and the product's distinct values counted."
)


def race_postprocess(repeats: int, config: PhantomConfig = PhantomConfig(), seed: int = 1) -> Race:  # noqa: B008 - frozen
    """Time the rule `challenge` on a made-up map; raises `AssertionError` where the two ways differ."""
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
    """The rule `challenge` in the manner of the authors' `rename_predictions.py`; for the benchmark alone.

    Same answer as `mapping_stroke.rules.postprocess`, but each component is picked out of the whole volume by its
    label, and which cores it holds is read off the product of the two over the whole volume.
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
    if core.sum() == edge.sum():
        edge = probability > np.float32(0.3)
    edge_labels, regions = ndimage.label(edge)
    mask = core.copy()
    for region_label in range(1, regions + 1):
        region = edge_labels == region_label
        cores_held = len(np.unique(region * core_labels)) - 1
        if (cores_held >= 1) if is_small else (cores_held <= 1):
            mask = np.maximum(mask, region)
    return mask
