"""Is this a T1-weighted scan of a head, of the kind a model was trained on? Outlying voxels are tamed."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from mapping_stroke.dataset.preprocess import LARGEST_EXTENT_MM
from mapping_stroke.dataset.template_fit import contrast_at, fit_template
from mapping_stroke.errors import ImageError
from mapping_stroke.images.image import Image, Voxels
from mapping_stroke.images.nifti import Affine
from mapping_stroke.lesions import bounding_box

DARK, BRIGHT = 0.02, 0.98
"""Quantiles of the foreground that lie within tissue even if a scan has outliers."""
ROOM_BELOW, ROOM_ABOVE = 1.0, 3.0
"""Limits for tissue beyond the quantiles, as multiples of the distance between them; real scans: 0.3 and 2.5."""
MOST_SHARE = 0.01
"""Fraction of the foreground: if more voxels are outlying, they do not count as outliers."""
FACES = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
"""From a voxel to those that share a face with it."""


def tame_outliers(image: Image) -> Image:
    """Replace voxels with values far outside tissue by neighbouring values, and add a warning to the image.

    Args:
        image: A scan of any kind, in any unit.

    Returns:
        The image, all other voxels bit for bit as they were; the same object if nothing is outlying, or if more
        than 1 % of the foreground would be.
    """
    voxels, outlying = image.voxels, np.zeros(image.shape, np.bool_)
    while (found := _find(voxels)).any():  # what lay under the worst comes to light without them
        voxels, outlying = _fill(voxels, found), outlying | found
    if not outlying.any():
        return image
    return replace(image, voxels=voxels, warnings=(*image.warnings, _told_outliers(image.voxels, outlying)))


def _find(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """The voxels beyond the limits; none if they are too many."""
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


def _told_outliers(voxels: Voxels, outlying: Bool[np.ndarray, "x y z"]) -> str:
    spoilt, kept = voxels[outlying], voxels[~outlying]
    many, them = ("1 voxel holds", "it") if spoilt.size == 1 else (f"{spoilt.size} voxels hold", "them")
    span = f"{spoilt.min():g}" if spoilt.min() == spoilt.max() else f"{spoilt.min():g} to {spoilt.max():g}"
    return (
        f"{many} {span}, far beyond all others ({kept.min():g} to {kept.max():g}), as no tissue does: read as what is "
        f"beside {them}"
    )


LEAST_FIT = 0.05
"""Below this nothing of the template is found again: T1w scans of adult brains have 0.2 and more, noise 0.01."""
LEAST_CONTRAST = 0.12
"""T1w scans have 0.14 and more (nearly all 0.2), T2w, FLAIR, PD and CT 0.13 and less (nearly all less than 0.06)."""
OBLIQUE_DEG = 15.0
"""Networks read along the grid's axes; training turned heads by about this much."""


def doubt_scan(scan: Image, *, t1w: bool, mni152: bool) -> list[str]:
    """Warnings about a scan of unknown position before a model reads it.

    Args:
        scan: A scan that `check_scan` lets pass.
        t1w: Whether it should be a T1w.
        mni152: Whether it should lie in MNI152 space, and will not be registered.

    Returns:
        A line each; empty if all is well or nothing is asked.
    """
    if not (t1w or mni152):
        return []
    found = fit_template(scan)
    if found.fit < LEAST_FIT:
        return [
            "it does not resemble the MNI152 template wherever that is laid, so neither its contrast nor its place "
            "could be judged: look whether it is a T1w scan of a whole brain, the right way up"
        ]
    doubts = _doubt_contrast(found.contrast) if t1w else []
    if mni152 and not found.in_place:
        doubts.append(
            "it does not lie in MNI152 space, for which the model was made, and was not to be registered: the result "
            "may be poor, let --space be auto"
        )
    elif mni152 and (turned_deg := grid_turn_deg(scan)) > OBLIQUE_DEG:
        doubts.append(
            f"its grid is turned by {turned_deg:.0f} degrees against the axes of MNI152, along which the model reads: "
            "the result may be poor, let --space be auto"
        )
    return doubts


def doubt_placed_scan(brain: Image, place: Affine) -> list[str]:
    """Warnings if a registered scan does not look like T1w, a line each; empty otherwise.

    Only the side of the brain that the template fits best counts if that is better than all of it: a large stroke
    leaves little contrast on its own side.

    Args:
        brain: The scan, 0 around its brain.
        place: Where the template lies on it: the template's millimetres to the scan's.
    """
    return _doubt_contrast(contrast_at(brain, place))


def _doubt_contrast(contrast: float) -> list[str]:
    if contrast >= LEAST_CONTRAST:
        return []
    return [
        "its intensities do not look like those of a T1w scan (white matter is not brighter than grey matter), and the "
        "model knows T1w scans alone: do not use the result, give the T1w scan"
    ]


def grid_turn_deg(scan: Image) -> float:
    """How far a grid's axes are from the anatomical directions next to them, at most, in degrees."""
    cosines = np.abs(scan.affine[:3, :3] / np.array(scan.spacing_mm)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


FEWEST_VOX = 8
"""Along each axis; fewer are single slices or a broken header."""
SKEWEST_DEG = 10.0
"""How far the axes of a grid may be from standing upright on one another, as they do in all that scanners write."""
LARGEST_EDGE_MM = 10.0
"""No scan that shows a lesion has larger voxels."""
THICK_EDGE_MM = 4.0
"""Slices thicker than this hide small lesions."""
SMALLEST_EXTENT_MM = 30.0
"""Of what is not 0, each way: a third of a newborn's head."""
BRAIN_EXTENT_MM = 90.0
"""A whole adult brain is longer than this each way."""
BRAIN_ML = (500.0, 2500.0)
"""A brain in its own space has 1000 to 1900 mL, in MNI space 2050 mL; a head with its skull 3000 mL and more."""
HEAD_EXTENT_MM = 350.0
"""A head with its neck is shorter than this."""
NO_BACKGROUND = 0.99
"""Share of voxels other than 0 above which there is no background."""
FLAT = 0.7
"""Share of neighbours of the same value, along every axis: 0.01 to 0.25 in scans, 0.85 in maps of tissues."""
AIR_HU = -500.0
"""CT shows air around -1000 and nothing else below this."""
LOWEST_HU = -5000.0
"""No CT goes below: what it writes outside its circle is -1024 to -3024."""
AIR_SHARE = 0.1
"""Share of air from which a volume with such values counts as CT."""


def check_scan(scan: Image, *, heads: bool = False) -> list[str]:
    """Look whether an image can be a T1w scan of a head, at its grid and its values.

    Args:
        scan: The image.
        heads: Whether it may show more than the brain, which is then not reported.

    Returns:
        What a user should know, a line each, the file's own `warnings` first; empty if all is well.

    Raises:
        ImageError: The grid has too few voxels, or too large or skew ones; the voxels hold one value, a label map or a
            CT; or what is not 0 is far smaller or larger than a head.
    """
    _require_grid(scan)
    value = one_value(scan.voxels)
    if value:
        raise ImageError(f"{value}, expected a brain; check the conversion that wrote it, or whether it is a mask")
    nonzero = scan.voxels != 0
    box = bounding_box(nonzero)
    extent_mm = [(edge.stop - edge.start) * mm for edge, mm in zip(box, scan.spacing_mm, strict=True)]
    _require_head(extent_mm, scan)
    corner = float(scan.voxels[0, 0, 0])  # background, whatever its value
    _require_intensities(scan.voxels[box], (nonzero & (scan.voxels != corner))[box] if corner else nonzero[box])
    warnings = [*scan.warnings, *_brain_warnings(extent_mm, nonzero, scan.voxel_volume_mm3, heads=heads)]
    if max(scan.spacing_mm) > THICK_EDGE_MM:
        warnings.append(f"voxels of {_lengths(scan.spacing_mm)} mm: lesions smaller than a slice can be missed")
    return warnings


def one_value(voxels: Voxels) -> str:
    """Description of a volume without contrast, such as `all voxels are 0`; empty if there is contrast."""
    nonzero = voxels != 0
    low = float(voxels.min(where=nonzero, initial=np.inf))
    high = float(voxels.max(where=nonzero, initial=-np.inf))
    if low < high:
        return ""
    some = bool(nonzero.any())
    which = "non-zero voxels" if some and not nonzero.all() else "voxels"
    return f"all {which} are {low if some else 0:g}"


def _require_grid(scan: Image) -> None:
    if min(scan.shape) < FEWEST_VOX:
        raise ImageError(
            f"has {'x'.join(map(str, scan.shape))} voxels, expected at least {FEWEST_VOX} along each axis; "
            "give the whole volume, not single slices"
        )
    if max(scan.spacing_mm) > LARGEST_EDGE_MM:
        raise ImageError(
            f"has voxels of {_lengths(scan.spacing_mm)} mm, expected edges of at most {LARGEST_EDGE_MM:g} mm; fix the "
            "voxel size in its header, or use a finer scan"
        )
    axes = scan.affine[:3, :3] / np.array(scan.spacing_mm)
    skew_deg = float(np.degrees(np.arcsin(min(np.abs(np.triu(axes.T @ axes, 1)).max(), 1.0))))
    if skew_deg > SKEWEST_DEG:
        raise ImageError(
            f"the axes of its grid are {skew_deg:.0f} degrees off the upright, expected at most {SKEWEST_DEG:g}: its "
            "header holds a transform that shears; resample the scan onto an upright grid"
        )


def _require_head(extent_mm: list[float], scan: Image) -> None:
    if min(extent_mm) < SMALLEST_EXTENT_MM or max(extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"its non-zero voxels span {_lengths(extent_mm)} mm (voxels of {_lengths(scan.spacing_mm)} mm), expected a "
            f"head ({SMALLEST_EXTENT_MM:g} to {LARGEST_EXTENT_MM:g} mm); fix the voxel size in its header"
        )


def _require_intensities(voxels: Voxels, inside: Bool[np.ndarray, "x y z"]) -> None:
    """Raise for a label map (almost all neighbours alike) and for a CT (much air, in Hounsfield units)."""
    air = float((voxels < AIR_HU).mean())
    if air > AIR_SHARE and float(voxels.min()) > LOWEST_HU:
        raise ImageError(
            f"{air:.0%} of its voxels are below {AIR_HU:g}, as air is in a CT, expected a T1-weighted MRI; give the "
            "T1w scan (where it is one, shift its values until the background is 0)"
        )
    if all(_share_alike(voxels, inside, axis) > FLAT for axis in range(3)):
        raise ImageError(
            "almost all neighbouring voxels have the same value, as in a label map, expected a T1-weighted MRI; give "
            "the scan, not its segmentation"
        )


def _share_alike(voxels: Voxels, inside: Bool[np.ndarray, "x y z"], axis: int) -> float:
    """Of the neighbours along an axis that are both inside, how many have the same value; 0 if there are none."""
    ahead, behind = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
    both = inside[ahead] & inside[behind]
    alike = (voxels[ahead] == voxels[behind]) & both
    return int(np.count_nonzero(alike)) / max(int(np.count_nonzero(both)), 1)


def _brain_warnings(
    extent_mm: list[float], nonzero: Bool[np.ndarray, "x y z"], voxel_volume_mm3: float, *, heads: bool
) -> list[str]:
    """Whether what is not 0 has the size of a brain, and whether there is a background at all."""
    found_vox = int(np.count_nonzero(nonzero))
    found_ml = found_vox * voxel_volume_mm3 / 1000
    size = f"its non-zero voxels span {_lengths(extent_mm)} mm and fill {found_ml:.0f} mL"
    if found_vox > NO_BACKGROUND * nonzero.size and not heads:
        return ["it has no background of 0, so all that is around the brain counts as brain: strip the skull first"]
    if min(extent_mm) < BRAIN_EXTENT_MM or found_ml < BRAIN_ML[0]:
        return [f"{size}, less than a brain: look whether a part is missing"]
    if max(extent_mm) > HEAD_EXTENT_MM:
        return [f"{size}, more than a head: look at the voxel size in its header"]
    if found_ml > BRAIN_ML[1] and not heads:
        return [f"{size}, more than a brain: strip the skull first, unless the model was trained on whole heads"]
    return []


def _lengths(lengths_mm: tuple[float, ...] | list[float]) -> str:
    return " x ".join(f"{length:.3g}" for length in lengths_mm)
