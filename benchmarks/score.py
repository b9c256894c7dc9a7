"""Scoring compared with a reference that searches the whole volume for lesions and surface distances."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import ndimage

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.phantom import PhantomConfig, make_phantom
from benchmarks.timing import Race, describe_race, race
from mapping_stroke.evaluation.score import score
from mapping_stroke.images.image import Mask
from mapping_stroke.lesions import FACE_CONNECTED
from mapping_stroke.rules import postprocess

REFERENCE_WAY = (
    "like the organisers' `scoring.py` and medpy's `hd95`, one pass over the whole volume per lesion, and "
    "surface distances by a distance transform of the whole volume in each direction."
)


@dataclass(frozen=True)
class Score(Benchmark):
    """Time scoring of a synthetic 197x233x189 mask with 25 lesions against a pass over the volume per lesion."""

    repeats: int = 5
    """Timings of each implementation; medians are reported."""

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats)

    def report(self) -> str:
        """Time both, and list the medians and their ratio."""
        return describe_race(race_score(self.repeats), f"python -m benchmarks score --repeats {self.repeats}")


def race_score(repeats: int, config: PhantomConfig = PhantomConfig(), seed: int = 1) -> Race:  # noqa: B008 - frozen
    """Time the profile `atlas2022` on a synthetic pair of masks. Raises `AssertionError` if the two results differ."""
    phantom = make_phantom(config, np.random.default_rng(seed))
    prediction, reference = postprocess(phantom.probability), phantom.reference
    timings = race(
        lambda: score(prediction, reference),
        lambda: score_by_whole_passes(prediction, reference),
        repeats,
        _require_same,
    )
    grid = "x".join(map(str, config.shape))
    return Race(f"Scoring a {grid} mask with {config.lesions} lesions, 95HD included", REFERENCE_WAY, *timings)


def score_by_whole_passes(prediction: Mask, reference: Mask) -> dict[str, float]:
    """The profile `atlas2022` at 1 mm as in the organisers' code and medpy, only for the benchmark."""
    predicted_labels, predicted_lesions = ndimage.label(prediction)
    reference_labels, reference_lesions = ndimage.label(reference)
    found = sum(_touches(reference_labels == label, prediction) for label in range(1, reference_lesions + 1))
    true = sum(_touches(predicted_labels == label, reference) for label in range(1, predicted_lesions + 1))
    # false negatives and false positives
    errors = (reference_lesions - found) + (predicted_lesions - true)
    predicted_vox, reference_vox = int(prediction.sum()), int(reference.sum())
    distances_mm = np.hstack([_distances_mm(prediction, reference), _distances_mm(reference, prediction)])
    return {
        "dice": 2 * int((prediction & reference).sum()) / (predicted_vox + reference_vox),
        "volume_difference_vox": float(abs(predicted_vox - reference_vox)),
        "simple_lesion_count": float(abs(predicted_lesions - reference_lesions)),
        "lesion_f1": found / (found + errors / 2),
        "hd95_mm": float(np.percentile(distances_mm, 95)),
    }


def _touches(lesion: Mask, mask: Mask) -> bool:
    return bool((lesion & mask).any())


def _distances_mm(mask: Mask, other: Mask) -> Float64[np.ndarray, " n"]:
    """Distance of each surface voxel of a mask to the surface of the other."""
    surface = mask ^ ndimage.binary_erosion(mask, FACE_CONNECTED)
    other_surface = other ^ ndimage.binary_erosion(other, FACE_CONNECTED)
    return np.asarray(ndimage.distance_transform_edt(~other_surface))[surface]


def _require_same(ours: dict[str, float], reference: dict[str, float]) -> None:
    assert ours.keys() == reference.keys()
    np.testing.assert_allclose(list(ours.values()), list(reference.values()), rtol=0, atol=1e-12)
