"""A few voxels of values that no tissue has: spikes, markers, burnt-in text, rounding that overflowed.

They would take the mean and the spread of a whole scan with them, and whatever is found by those. Limits: see decision
56.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from mapping_stroke.image import Image, Voxels

DARK, BRIGHT = 0.02, 0.98
"""Quantiles of what a scan shows: as far as it may be spoilt, they are of tissue."""
ROOM_BELOW, ROOM_ABOVE = 1.0, 3.0
"""No tissue lies further beyond the quantiles than so many times the distance between them; real scans: 0.3 and 2.5."""
MOST_SHARE = 0.01
"""Of what a scan shows: more voxels than that are no outliers, whatever they are."""
FACES = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
"""From a voxel to those that share a face with it."""


def tame_outliers(image: Image) -> Image:
    """Give voxels that hold what no tissue does a value from beside them, and tell so in the image's `warnings`.

    Args:
        image: A scan of any kind, in any unit.

    Returns:
        The image, all other voxels bit for bit as they were; the very same object where nothing is outlying, or where
        more than 1 % of what is shown would be.
    """
    voxels, outlying = image.voxels, np.zeros(image.shape, np.bool_)
    while (found := _find(voxels)).any():  # what lay under the worst comes to light without them
        voxels, outlying = _fill(voxels, found), outlying | found
    if not outlying.any():
        return image
    return replace(image, voxels=voxels, warnings=(*image.warnings, _told(image.voxels, outlying)))


def _find(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """The voxels beyond the limits; none where they are too many."""
    shown = _find_shown(voxels)
    values = voxels[shown]
    none = np.zeros_like(shown)
    if values.size == 0:
        return none
    ranks = [int(quantile * (values.size - 1)) for quantile in (DARK, BRIGHT)]
    dark, bright = np.partition(values, ranks)[ranks].astype(np.float64)
    room = bright - dark
    low, high = min(dark - ROOM_BELOW * room, 0.0), bright + ROOM_ABOVE * room
    if room == 0 or (values.min() >= low and values.max() <= high):
        return none
    found = shown & ((voxels < low) | (voxels > high))
    return found if np.count_nonzero(found) <= MOST_SHARE * values.size else none


def _find_shown(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """All but the background, which is 0, and the first corner's value unless that is rare and so may be an outlier."""
    shown = voxels != 0
    background = voxels == voxels[0, 0, 0]
    return np.asarray(shown & ~background) if background.mean() > MOST_SHARE else shown


def _fill(voxels: Voxels, outlying: Bool[np.ndarray, "x y z"]) -> Voxels:
    """The voxels with those that are outlying replaced from their rim inwards, each by a middle one of its neighbours.

    No value is made that was not there: a scan of whole numbers stays one, and background stays background.
    """
    filled, left = voxels.copy(), outlying.copy()
    places = np.argwhere(left)
    while places.size:
        beside = np.clip(places[:, None] + FACES, 0, np.array(voxels.shape) - 1)  # beyond the border: the voxel itself
        at = tuple(np.moveaxis(beside, -1, 0))
        known = ~left[at]
        counts = known.sum(axis=1)
        ready = counts > 0
        ordered = np.sort(np.where(known, filled[at], np.inf), axis=1)
        here = tuple(places[ready].T)
        filled[here] = ordered[ready, (counts[ready] - 1) // 2]
        left[here] = False
        places = places[~ready]
    return filled


def _told(voxels: Voxels, outlying: Bool[np.ndarray, "x y z"]) -> str:
    spoilt, kept = voxels[outlying], voxels[~outlying]
    many, them = ("1 voxel holds", "it") if spoilt.size == 1 else (f"{spoilt.size} voxels hold", "them")
    span = f"{spoilt.min():g}" if spoilt.min() == spoilt.max() else f"{spoilt.min():g} to {spoilt.max():g}"
    return (
        f"{many} {span}, far beyond all others ({kept.min():g} to {kept.max():g}), as no tissue does: read as what is "
        f"beside {them}"
    )
