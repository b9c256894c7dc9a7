"""Checks that a scan is a T1-weighted scan of a head like those of the training, and removal of outlying voxels."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from mapping_stroke.dataset.preprocess import LARGEST_EXTENT_MM
from mapping_stroke.dataset.template_fit import contrast_at, fit_template
from mapping_stroke.errors import ImageError
from mapping_stroke.images.image import Image, Voxels
from mapping_stroke.images.nifti import Affine, in_mm
from mapping_stroke.lesions import bounding_box

DARK, BRIGHT = 0.02, 0.98
"""Quantiles of the foreground that are intensities of tissue even if a scan has outliers."""
ROOM_BELOW, ROOM_ABOVE = 1.0, 3.0
"""Limits of tissue beyond the quantiles, as multiples of their distance; real scans reach 0.3 and 2.5."""
MOST_SHARE = 0.01
"""Largest share of outliers in the foreground; if more voxels lie beyond the limits, none is an outlier."""
FACES = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1]])
"""Steps from a voxel to its face neighbours."""


def tame_outliers(image: Image) -> Image:
    """Replace values far beyond those of tissue by neighbouring values, and add a warning to the image.

    Args:
        image: A scan of any kind, in any unit.

    Returns:
        The image with all other voxels unchanged; the same object if there are no outliers, or if more than 1 % of the
        foreground would be outliers.
    """
    voxels, outlying = image.voxels, np.zeros(image.shape, np.bool_)
    while (found := _find(voxels)).any():  # without the worst outliers, the limits narrow and reveal others
        voxels, outlying = _fill(voxels, found), outlying | found
    if not outlying.any():
        return image
    return replace(image, voxels=voxels, warnings=(*image.warnings, _outlier_warning(image.voxels, outlying)))


def _find(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """The voxels beyond the limits; none if they are too many."""
    foreground = _find_foreground(voxels)
    values = voxels[foreground]
    none = np.zeros_like(foreground)
    if values.size == 0:
        return none
    ranks = [int(quantile * (values.size - 1)) for quantile in (DARK, BRIGHT)]
    dark, bright = np.partition(values, ranks)[ranks].astype(np.float64)
    room = bright - dark
    # 0 is never an outlier, since most programs use it as background
    low, high = min(dark - ROOM_BELOW * room, 0.0), bright + ROOM_ABOVE * room
    if room == 0 or (values.min() >= low and values.max() <= high):
        return none
    found = foreground & ((voxels < low) | (voxels > high))
    return found if np.count_nonzero(found) <= MOST_SHARE * values.size else none


def _find_foreground(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """All voxels but 0 and the value of the first corner, unless that is so rare that it may be an outlier."""
    nonzero = voxels != 0
    background = voxels == voxels[0, 0, 0]
    return np.asarray(nonzero & ~background) if background.mean() > MOST_SHARE else nonzero


def _fill(voxels: Voxels, outlying: Bool[np.ndarray, "x y z"]) -> Voxels:
    """Replace outlying voxels from their rim inwards, each by the (lower) median of its known neighbours.

    No new value appears: a scan of whole numbers stays one, and background stays background.
    """
    filled, left = voxels.copy(), outlying.copy()
    places = np.argwhere(left)
    while places.size:
        neighbours = np.clip(places[:, None] + FACES, 0, np.array(voxels.shape) - 1)  # at the border: the voxel itself
        at = tuple(np.moveaxis(neighbours, -1, 0))
        known = ~left[at]
        counts = known.sum(axis=1)
        ready = counts > 0
        ordered = np.sort(np.where(known, filled[at], np.inf), axis=1)  # unknown neighbours come last
        here = tuple(places[ready].T)
        filled[here] = ordered[ready, (counts[ready] - 1) // 2]
        left[here] = False
        places = places[~ready]
    return filled


def _outlier_warning(voxels: Voxels, outlying: Bool[np.ndarray, "x y z"]) -> str:
    outliers, kept = voxels[outlying], voxels[~outlying]
    many, them = ("1 voxel holds", "it") if outliers.size == 1 else (f"{outliers.size} voxels hold", "them")
    low, high = outliers.min(), outliers.max()
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return (
        f"{many} {span}, far beyond all others ({kept.min():g} to {kept.max():g}) and beyond any tissue: replaced by "
        f"values next to {them}"
    )


LEAST_FIT = 0.05
"""With a smaller fit, the template is not recognised: T1w scans of adult brains have 0.2 and more, noise 0.01."""
LEAST_CONTRAST = 0.12
"""T1w scans have 0.14 and more (nearly all 0.2), T2w, FLAIR, PD and CT 0.13 and less (nearly all less than 0.06)."""
OBLIQUE_DEG = 15.0
"""Networks see a scan along its grid's axes, and training rotated heads by about this much."""


def doubt_scan(scan: Image, *, t1w: bool, mni152: bool) -> list[str]:
    """Warnings about a scan of unknown position before it is passed to a model.

    Args:
        scan: A scan that passed `check_scan`.
        t1w: Whether it should be a T1w scan.
        mni152: Whether it should be in MNI152 space, and will not be registered.

    Returns:
        One line per warning.
    """
    if not (t1w or mni152):
        return []
    found = fit_template(scan)
    if found.fit < LEAST_FIT:
        return [
            "it does not resemble the MNI152 template in any position, so neither its contrast nor its position could "
            "be checked: make sure that it is a T1w scan of an entire brain with a correct orientation"
        ]
    doubts = _doubt_contrast(found.contrast) if t1w else []
    if mni152 and not found.in_place:
        doubts.append(
            "it does not lie in MNI152 space, for which the model was made, and registration is switched off: the "
            "result may be poor, use --space auto"
        )
    elif mni152 and (turned_deg := grid_turn_deg(scan)) > OBLIQUE_DEG:
        doubts.append(
            f"its grid is turned by {turned_deg:.0f} degrees against the axes of MNI152, which the model expects: the "
            "result may be poor, use --space auto"
        )
    return doubts


def doubt_placed_scan(brain: Image, place: Affine) -> list[str]:
    """Warnings if a registered scan does not look like T1w, one line each.

    If the template fits one side of the brain better than both, only that side counts, because a large stroke leaves
    little contrast on its own side.

    Args:
        brain: The scan, 0 around its brain.
        place: Position of the template on it: the template's millimetres to the scan's.
    """
    return _doubt_contrast(contrast_at(brain, place))


def _doubt_contrast(contrast: float) -> list[str]:
    if contrast >= LEAST_CONTRAST:
        return []
    return [
        "its intensities do not look like those of a T1w scan (white matter is not brighter than grey matter), and the "
        "model was only trained on T1w scans: do not use the result, give the T1w scan"
    ]


def grid_turn_deg(scan: Image) -> float:
    """Largest angle in degrees between an axis of a grid and the nearest anatomical direction."""
    cosines = np.abs(scan.affine[:3, :3] / np.array(scan.spacing_mm)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


FEWEST_VOX = 8
"""Along each axis; fewer mean single slices or a broken header."""
SKEWEST_DEG = 10.0
"""Largest deviation of a grid's axes from right angles, which scanners always write."""
LARGEST_EDGE_MM = 10.0
"""Scans with larger voxels cannot show a lesion."""
THICK_EDGE_MM = 4.0
"""Thicker slices hide small lesions."""
SMALLEST_EXTENT_MM = 30.0
"""Of the non-zero voxels along each axis: a third of a newborn's head."""
BRAIN_EXTENT_MM = 90.0
"""A complete adult brain is longer than this along each axis."""
BRAIN_ML = (500.0, 2500.0)
"""A brain in its own space has 1000 to 1900 mL, in MNI space 2050 mL; a head with its skull 3000 mL and more."""
HEAD_EXTENT_MM = 350.0
"""A head with its neck is shorter than this."""
NO_BACKGROUND = 0.99
"""With a larger share of non-zero voxels, there is no background."""
FLAT = 0.7
"""Share of neighbours with equal values along every axis: 0.01 to 0.25 in scans, 0.85 in tissue maps."""
AIR_HU = -500.0
"""In CT, air is around -1000, and nothing else is below this."""
LOWEST_HU = -5000.0
"""No CT has lower values; those outside its field of view are -1024 to -3024."""
AIR_SHARE = 0.1
"""With a larger share of air, such a volume counts as CT."""


def check_scan(scan: Image, *, heads: bool = False) -> list[str]:
    """Check by its grid and values whether an image can be a T1w scan of a head.

    Args:
        scan: The image.
        heads: Whether it may show more than the brain without a warning.

    Returns:
        Warnings for the user, one line each, the file's own first.

    Raises:
        ImageError: The grid has too few, too large or skewed voxels; the values are constant, a label map or a CT; or
            the non-zero voxels span far less or more than a head.
    """
    _require_grid(scan)
    value = one_value(scan.voxels)
    if value:
        raise ImageError(f"{value}, expected a brain; check the conversion that wrote it, and that it is not a mask")
    nonzero = scan.voxels != 0
    box = bounding_box(nonzero)
    extent_mm = [(edge.stop - edge.start) * mm for edge, mm in zip(box, scan.spacing_mm, strict=True)]
    _require_head(extent_mm, scan)
    corner = float(scan.voxels[0, 0, 0])  # some programs write another background than 0
    _require_intensities(scan.voxels[box], (nonzero & (scan.voxels != corner))[box] if corner else nonzero[box])
    warnings = [*scan.warnings, *_brain_warnings(extent_mm, nonzero, scan.voxel_volume_mm3, heads=heads)]
    if max(scan.spacing_mm) > THICK_EDGE_MM:
        warnings.append(f"voxels of {in_mm(scan.spacing_mm)}: lesions smaller than a slice can be missed")
    return warnings


def one_value(voxels: Voxels) -> str:
    """Description of a volume without contrast, such as `all voxels are 0`; empty for any other."""
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
            "give the entire volume instead of single slices"
        )
    if max(scan.spacing_mm) > LARGEST_EDGE_MM:
        raise ImageError(
            f"has voxels of {in_mm(scan.spacing_mm)}, expected edges of at most {LARGEST_EDGE_MM:g} mm; fix the "
            "voxel size in its header, or use a finer scan"
        )
    axes = scan.affine[:3, :3] / np.array(scan.spacing_mm)
    skew_deg = float(np.degrees(np.arcsin(min(np.abs(np.triu(axes.T @ axes, 1)).max(), 1.0))))
    if skew_deg > SKEWEST_DEG:
        raise ImageError(
            f"the axes of its grid are {skew_deg:.0f} degrees off a right angle, expected at most {SKEWEST_DEG:g}: its "
            "header holds a shear; resample the scan onto a grid with right angles"
        )


def _require_head(extent_mm: list[float], scan: Image) -> None:
    if min(extent_mm) < SMALLEST_EXTENT_MM or max(extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"its non-zero voxels span {in_mm(extent_mm)} (voxels of {in_mm(scan.spacing_mm)}), expected a "
            f"head ({SMALLEST_EXTENT_MM:g} to {LARGEST_EXTENT_MM:g} mm); fix the voxel size in its header"
        )


def _require_intensities(voxels: Voxels, inside: Bool[np.ndarray, "x y z"]) -> None:
    """Raise for a label map (almost all neighbours equal) and for a CT (much air, in Hounsfield units)."""
    air = float((voxels < AIR_HU).mean())
    if air > AIR_SHARE and float(voxels.min()) > LOWEST_HU:
        raise ImageError(
            f"{air:.0%} of its voxels are below {AIR_HU:g}, like air in CT, expected a T1-weighted MRI; give the T1w "
            "scan (if this is one, shift its values such that the background is 0)"
        )
    if all(_share_equal(voxels, inside, axis) > FLAT for axis in range(3)):
        raise ImageError(
            "almost all neighbouring voxels have the same value, as in a label map, expected a T1-weighted MRI; give "
            "the scan, not its segmentation"
        )


def _share_equal(voxels: Voxels, inside: Bool[np.ndarray, "x y z"], axis: int) -> float:
    """Share of equal values among neighbours along an axis that are both inside; 0 if there are none."""
    ahead, behind = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
    both = inside[ahead] & inside[behind]
    equal = (voxels[ahead] == voxels[behind]) & both
    return int(np.count_nonzero(equal)) / max(int(np.count_nonzero(both)), 1)


def _brain_warnings(
    extent_mm: list[float], nonzero: Bool[np.ndarray, "x y z"], voxel_volume_mm3: float, *, heads: bool
) -> list[str]:
    """Warnings if the non-zero voxels do not have the size of a brain, or if there is no background."""
    found_vox = int(np.count_nonzero(nonzero))
    found_ml = found_vox * voxel_volume_mm3 / 1000
    size = f"its non-zero voxels span {in_mm(extent_mm)} and fill {found_ml:.0f} mL"
    if found_vox > NO_BACKGROUND * nonzero.size and not heads:
        return ["it has no background of 0, so everything around the brain counts as brain: strip the skull first"]
    if min(extent_mm) < BRAIN_EXTENT_MM or found_ml < BRAIN_ML[0]:
        return [f"{size}, less than a brain: check whether a part is missing"]
    if max(extent_mm) > HEAD_EXTENT_MM:
        return [f"{size}, more than a head: check the voxel size in its header"]
    if found_ml > BRAIN_ML[1] and not heads:
        return [f"{size}, more than a brain: strip the skull first, unless the model was trained on whole heads"]
    return []
