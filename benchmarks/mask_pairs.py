"""Pairs of masks on which two programs could differ: edge cases by name, random ones, and some as large as ATLAS's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.phantom import PhantomConfig, make_phantom
from mapping_stroke.images.image import Mask, Probability
from mapping_stroke.rules import postprocess

UNIT_MM = (1.0, 1.0, 1.0)
LONG_MM = (0.5, 1.0, 3.3)
SHAPE = (9, 8, 7)


@dataclass(frozen=True, eq=False)
class MaskPair:
    """A predicted and a reference mask on one grid, and a map in place of the one behind the prediction."""

    name: str
    prediction: Mask
    reference: Mask
    probability: Probability
    spacing_mm: tuple[float, float, float] = UNIT_MM


def make_pairs(random: int, large: int, seed: int = 0) -> list[MaskPair]:
    """All edge cases, then as many random and large pairs as asked for; the same seed gives the same pairs."""
    rng = np.random.default_rng(seed)
    pairs = list(edge_cases(rng))
    pairs += [_random_pair(rng) for _ in range(random)]
    return pairs + [_large_pair(rng) for _ in range(large)]


def edge_cases(rng: np.random.Generator) -> Iterator[MaskPair]:
    """Each named pair in both directions, on cubic and on long voxels."""
    for name, first, second in _named_masks():
        for spacing_mm in (UNIT_MM, LONG_MM):
            for prediction, reference in ((first, second), (second, first)):
                yield MaskPair(name, prediction, reference, _draw_map(reference, rng), spacing_mm)
    nothing = np.zeros(SHAPE, np.bool_)
    for name, level in (("no lesion, flat map", 0.0), ("one voxel, flat map", 0.4)):
        reference = _voxels((4, 4, 4)) if level else nothing
        yield MaskPair(name, nothing, reference, np.full(SHAPE, level, np.float32))


def write_pairs(pairs: Sequence[MaskPair], path: Path) -> None:
    """Write the pairs in order, for `metric_programs.py`."""
    arrays = {}
    for number, pair in enumerate(pairs):
        arrays[f"{number:05}_prediction"] = pair.prediction
        arrays[f"{number:05}_reference"] = pair.reference
        arrays[f"{number:05}_probability"] = pair.probability
        arrays[f"{number:05}_edges"] = np.array(pair.spacing_mm)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def _named_masks() -> Iterator[tuple[str, Mask, Mask]]:
    nothing, everything = np.zeros(SHAPE, np.bool_), np.ones(SHAPE, np.bool_)
    corner, far_corner = _voxels((0, 0, 0)), _voxels((8, 7, 6))
    block = nothing.copy()
    block[2:6, 2:6, 2:6] = True
    hollow = block.copy()
    hollow[3:5, 3:5, 3:5] = False
    yield "both empty", nothing, nothing
    yield "one empty", nothing, block
    yield "empty against a voxel at the border", nothing, corner
    yield "empty against all", nothing, everything
    yield "identical", block, block
    yield "all against all", everything, everything
    yield "all against a voxel", everything, _voxels((4, 4, 3))
    yield "opposite corners", corner, far_corner
    yield "disjoint neighbours", _voxels((4, 4, 3)), _voxels((5, 4, 3))
    yield "hollow against solid", hollow, block
    # one lesion with 26 neighbours each, two with 6
    yield "touching by an edge", _voxels((3, 3, 3), (4, 4, 3)), _voxels((3, 3, 3))
    yield "touching by a corner", _voxels((3, 3, 3), (4, 4, 4)), _voxels((4, 4, 4))
    yield "touching by a face", _voxels((3, 3, 3), (3, 3, 4)), _voxels((3, 3, 3), (3, 3, 5))
    # rows along the longest axis: one lesion over two, IoU on and around a quarter, more pairs than a greedy choice
    for name, first, second in (
        ("one over two", "XXXXXXX..", "XX...XX.."),
        ("IoU of a quarter", "XXXX.....", "X........"),
        ("IoU of a fifth", "XXXXX....", "X........"),
        ("equal IoU", "X.X......", "XXX......"),
    ):
        yield name, _row(first), _row(second)
    yield "best pair first", _row("XXXXXXXX.XX"), _row("XX.XXXXXXXX")


def _voxels(*places: tuple[int, int, int]) -> Mask:
    mask = np.zeros(SHAPE, np.bool_)
    for place in places:
        mask[place] = True
    return mask


def _row(text: str) -> Mask:
    mask = np.zeros((len(text), 3, 3), np.bool_)
    mask[:, 1, 1] = [letter == "X" for letter in text]
    return mask


def _random_pair(rng: np.random.Generator) -> MaskPair:
    """Specks or blobs of any density, of which the prediction keeps a part and adds others."""
    shape = tuple(int(length) for length in rng.integers(1, 21, 3))
    density = rng.choice([0.01, 0.03, 0.1, 0.3])
    reference = rng.random(shape) < density
    if rng.random() < 0.5:
        reference = ndimage.binary_dilation(reference, ndimage.generate_binary_structure(3, int(rng.integers(1, 4))))
    kept = rng.random(shape) < rng.choice([0.5, 0.8, 0.95])
    prediction = (reference & kept) | (rng.random(shape) < density * rng.choice([0.0, 0.3, 1.0]))
    if rng.random() < 0.3:
        prediction = np.roll(prediction, int(rng.integers(-1, 2)), int(rng.integers(3)))
    x_mm, y_mm, z_mm = rng.uniform(0.3, 4, 3).round(2) if rng.random() < 0.5 else UNIT_MM
    spacing_mm = (float(x_mm), float(y_mm), float(z_mm))
    return MaskPair("random", prediction, reference, _draw_map(reference, rng), spacing_mm)


def _large_pair(rng: np.random.Generator) -> MaskPair:
    """On ATLAS's grid, with many lesions of all sizes."""
    phantom = make_phantom(PhantomConfig(), rng)
    return MaskPair("large", postprocess(phantom.probability), phantom.reference, phantom.probability)


def _draw_map(reference: Mask, rng: np.random.Generator) -> Probability:
    """Higher in the reference than outside it, with noise; many or few levels."""
    levels = int(rng.choice([3, 20, 1000]))
    values = 0.5 + 0.25 * reference + rng.normal(0, 0.2, reference.shape)
    return np.asarray((values.clip(0, 1) * levels).round() / levels, np.float32)
