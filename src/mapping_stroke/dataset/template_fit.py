"""Fit of the MNI152 template's tissues to a scan of any contrast."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import combinations_with_replacement, product
from operator import itemgetter

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mapping_stroke.images.image import Image, Voxels
from mapping_stroke.images.nifti import Affine

TEMPLATE_LICENCE = (
    "ICBM 152 2009a nonlinear symmetric, (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute, McGill University; free to use, copy, modify and distribute with this notice; via nilearn"
)
POINTS_FILE = "mni152.npz"


@dataclass(frozen=True, eq=False)
class TissuePoints:
    """Points in the brain of the template.

    Attributes:
        places_mm: Their positions, RAS millimetres of MNI152.
        grey: Share of grey matter around each, in [0, 1].
        white: Share of white matter; the rest is CSF.
    """

    places_mm: Float32[np.ndarray, "n 3"]
    grey: Float32[np.ndarray, " n"]
    white: Float32[np.ndarray, " n"]


@cache
def tissue_points() -> TissuePoints:
    """The packaged points."""
    content = files("mapping_stroke.dataset").joinpath(POINTS_FILE).read_bytes()
    with np.load(BytesIO(content)) as stored:
        grey, white = (stored[name].astype(np.float32) / 255 for name in ("grey", "white"))
        return TissuePoints(stored["places_mm"], grey, white)


CELL_MM = 4.0
"""A scan is first averaged to about this voxel size."""
COVERED, LEAST_COVERED = 0.9, 0.4
"""A scan shows a point if it covers more than the first share of its surroundings. A fit needs at least the second
share of the points."""
STEPS = ((12.0, 20.0, 0.87), (6.0, 10.0, 0.93))
"""Coarse and fine steps of the template: millimetres, degrees and scale."""
MOST_STEPS = 10
MUCH_BETTER = 2.0
"""If a guess fits this many times better, the template is not on the brain."""
BACKGROUND_COLUMNS = 10
"""Columns of the design before grey and white matter: 1, the coordinates, and their pairwise products."""
BRIGHT_HALF = 0.5
"""Contrast is also measured in the brighter half of the brain, because dark CSF in the sulci makes cortex look dark."""
DARKER, BRIGHT, FOREGROUND = 0.02, 0.9, 0.2
"""Foreground is brighter than the last share of the way from the dark to the bright quantile of non-background."""
SCALP_MM, VERTEX_MM, BRAIN_MM = 14.0, 12.0, 90.0
"""In a head: distances from skin to brain at the sides and at the top, and height below the vertex without neck."""
EDGE_QUANTILES = (0.01, 0.99)

Turn = Float64[np.ndarray, "3 3"]  # a rotation
_Among = Bool[np.ndarray, " n"]  # some of the points
UPRIGHT: Turn = np.eye(3)


@dataclass(frozen=True)
class TemplateFit:
    """The fit of the template to a scan.

    Attributes:
        fit: Share of the variance of intensities that the tissues explain, times the share of the brain that the scan
            shows, in [0, 1]; 0 if it shows too little.
        in_place: Whether it fits best at the scan's own affine: the scan is in MNI152 space, to about 6 mm, 10 degrees
            and 7 % of size.
        contrast: White matter minus grey matter in ranks within the brain, the smaller value of the entire brain and
            its brighter half; above 0 if white matter is brighter. 0 if `fit` is 0.
    """

    fit: float
    in_place: bool
    contrast: float


@dataclass(frozen=True, eq=False)
class _Coarse:
    """A scan in large voxels: means of the foreground, and its share of each voxel."""

    means: Voxels
    shares: Voxels
    affine: Affine


def fit_template(scan: Image) -> TemplateFit:
    """Fit the template to a scan; takes 0.1 to 0.3 s, less for a scan in MNI152 space."""
    coarse = _coarsen(scan)
    place: Affine = np.eye(4)
    fit, starts = _fit(coarse, place), _starts(coarse)
    in_place = _fits_best_in_place(coarse, starts)
    if not in_place:
        climbed = [_climb(coarse, start, _moves(*STEPS[0])) for start in (place, *starts)]
        place, _ = max(climbed, key=itemgetter(1))
        place, fit = _climb(coarse, place, _moves(*STEPS[1]))
    return TemplateFit(fit, in_place, _contrast(coarse, place) if fit > 0 else 0.0)


def lies_in_place(scan: Image) -> bool:
    """`TemplateFit.in_place`, in a third of the time."""
    coarse = _coarsen(scan)
    return _fits_best_in_place(coarse, _starts(coarse))


def _fits_best_in_place(coarse: _Coarse, starts: Sequence[Affine]) -> bool:
    fit = _fit(coarse, np.eye(4))
    if fit <= 0 or any(_fit(coarse, start) > MUCH_BETTER * fit for start in starts):
        return False
    return all(_fit(coarse, move) <= fit for move in _moves(*STEPS[0]))


def find_places(scan: Image, turns: Sequence[Turn]) -> list[tuple[Affine, float]]:
    """Fit the template to a scan that may be rotated, shifted and of another size.

    Args:
        scan: A T1w scan, or one of another contrast.
        turns: Approximate rotations of the head to try.

    Returns:
        The position that each guess leads to (two per rotation, fewer if the scan is small), template's millimetres to
        the scan's, and the fit there, in (0, 1]; best first, empty if the template fits nowhere.
    """
    coarse = _coarsen(scan)
    starts = [start for turn in turns for start in _starts(coarse, turn)]
    places = [_climb(coarse, start, _moves(*STEPS[0])) for start in starts]
    return sorted((found for found in places if found[1] > 0), key=itemgetter(1), reverse=True)


def fit_at(scan: Image, place: Affine) -> float:
    """Fit of the template to a scan at a position (template's millimetres to the scan's), in [0, 1].

    The largest `TemplateFit.fit` of the entire brain and each side, because a large stroke leaves little normal tissue
    on its own side but spares the other.
    """
    return _best_side(_coarsen(scan), place)[1]


def contrast_at(scan: Image, place: Affine) -> float:
    """`TemplateFit.contrast` at a position, of the part of the brain (both sides or one) with the best fit."""
    coarse = _coarsen(scan)
    side, fit = _best_side(coarse, place)
    return _contrast(coarse, place, side) if fit > 0 else 0.0


def _best_side(coarse: _Coarse, place: Affine) -> tuple[_Among | None, float]:
    """The part of the brain with the best fit at a position (None for all of it), and that fit."""
    right = tissue_points().places_mm[:, 0] > 0
    fits = [(side, _fit(coarse, place, side)) for side in (None, right, ~right)]
    return max(fits, key=itemgetter(1))


def _climb(coarse: _Coarse, place: Affine, moves: Sequence[Affine]) -> tuple[Affine, float]:
    """Move to the best neighbour as long as the fit improves; return the last position and its fit."""
    fit = _fit(coarse, place)
    for _ in range(MOST_STEPS):
        moved, moved_fit = _best_of(coarse, [place @ move for move in moves])
        if moved_fit <= fit:
            break
        place, fit = moved, moved_fit
    return place, fit


def _best_of(coarse: _Coarse, places: Sequence[Affine]) -> tuple[Affine, float]:
    fits = [_fit(coarse, place) for place in places]
    best = int(np.argmax(fits))
    return places[best], fits[best]


def _fit(coarse: _Coarse, place: Affine, among: _Among | None = None) -> float:
    """The fit at a position, by all points or by some of them."""
    values, seen = _look(coarse, place)
    if among is None:
        covered = float(seen.mean())
    else:
        covered, seen = float(seen[among].mean()), seen & among
    if covered < LEAST_COVERED:
        return 0.0
    design, ranks = _design()[seen], _ranks(values[seen])
    # Cholesky gives the sums of squares of a QR; einsum, since BLAS threads only wait for one another here
    triangle = np.linalg.cholesky(np.einsum("na,nb->ab", design, design))
    explained = np.linalg.solve(triangle, np.einsum("na,n->a", design, ranks)) ** 2
    # smooth variation, such as a bias field, is background and counts neither for nor against the tissues
    beyond_background = float(ranks @ ranks - explained[:BACKGROUND_COLUMNS].sum())
    return float(explained[BACKGROUND_COLUMNS:].sum()) / beyond_background * covered


def _contrast(coarse: _Coarse, place: Affine, among: _Among | None = None) -> float:
    values, seen = _look(coarse, place)
    seen = seen if among is None else seen & among
    bright = seen & (values >= np.quantile(values[seen], BRIGHT_HALF))
    differences = []
    for part in (seen, bright):
        coefficients = np.linalg.lstsq(_design()[part], _ranks(values[part]), rcond=None)[0]
        differences.append(float(coefficients[-1] - coefficients[-2]))
    return min(differences)


def _look(coarse: _Coarse, place: Affine) -> tuple[Float64[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The scan's values at the template's points for a position, and which of the points it shows."""
    to_voxels = np.linalg.inv(coarse.affine) @ place
    voxels = to_voxels[:3, :3] @ tissue_points().places_mm.T + to_voxels[:3, 3:]
    values, shares = (
        ndimage.map_coordinates(volume, voxels, np.float64, order=1) for volume in (coarse.means, coarse.shares)
    )
    return values, shares > COVERED


def _ranks(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Ranks from 0 to 1; equal values keep their order, which follows the coordinates and thus counts as background."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable") / (len(values) - 1)


@cache
def _design() -> Float64[np.ndarray, "n 12"]:
    points = tissue_points()
    centred = (points.places_mm - points.places_mm.mean(axis=0)) / 60.0  # all columns of about one size
    pairs = [centred[:, a] * centred[:, b] for a, b in combinations_with_replacement(range(3), 2)]
    return np.column_stack([np.ones(len(centred)), centred, *pairs, points.grey, points.white]).astype(np.float64)


@cache
def _moves(shift_mm: float, turn_deg: float, scale: float) -> tuple[Affine, ...]:
    """Single steps in both directions along the axes, about them and in size, relative to the template's centre."""
    linear = [np.eye(3) * size for size in (scale, 1 / scale)]
    for axis, angle_deg in product(np.eye(3), (-turn_deg, turn_deg)):
        linear.append(Rotation.from_rotvec(axis * angle_deg, degrees=True).as_matrix())
    centre = tissue_points().places_mm.mean(axis=0, dtype=np.float64)
    moves = [_affine(matrix, centre - matrix @ centre) for matrix in linear]
    moves += [_affine(np.eye(3), sign * shift_mm * axis) for axis, sign in product(np.eye(3), (-1, 1))]
    return tuple(moves)


def _starts(coarse: _Coarse, turn: Turn = UPRIGHT) -> list[Affine]:
    """Two guesses, both rotated: the foreground is a brain, or it is a head with the brain in its upper part."""
    inside = coarse.shares > 0.5
    if not inside.any():
        return []
    dark, bright = np.quantile(coarse.means[inside], (DARKER, BRIGHT))
    voxels = np.argwhere(inside & (coarse.means >= dark + FOREGROUND * (bright - dark)))
    places_mm = (voxels @ coarse.affine[:3, :3].T + coarse.affine[:3, 3]) @ turn  # rows times a rotation undo it
    brain_mm = np.quantile(places_mm, EDGE_QUANTILES, axis=0)
    upper = places_mm[places_mm[:, 2] > brain_mm[1, 2] - BRAIN_MM]
    head_mm = np.quantile(upper, EDGE_QUANTILES, axis=0) + np.outer([1, -1], [SCALP_MM, SCALP_MM, VERTEX_MM])
    extent_mm = np.diff(_template_box(), axis=0)[0]
    sides = slice(0, 2)
    size = np.diff(head_mm, axis=0)[0, sides].mean() / extent_mm[sides].mean()
    # the neck hides the lower end of the brain, so the template's proportions replace it
    head_mm[0, 2] = head_mm[1, 2] - size * extent_mm[2]
    boxes = [box_mm for box_mm in (brain_mm, head_mm) if (np.diff(box_mm, axis=0) > CELL_MM).all()]
    return [_affine(turn, np.zeros(3)) @ _onto_box(box_mm) for box_mm in boxes]


def _onto_box(box_mm: Float64[np.ndarray, "2 3"]) -> Affine:
    """The transform from the template's box to another one."""
    own_mm = _template_box()
    size = np.diff(box_mm, axis=0)[0] / np.diff(own_mm, axis=0)[0]
    return _affine(np.diag(size), box_mm.mean(axis=0) - size * own_mm.mean(axis=0))


def _template_box() -> Float64[np.ndarray, "2 3"]:
    return np.quantile(tissue_points().places_mm.astype(np.float64), EDGE_QUANTILES, axis=0)


def _affine(matrix: Float64[np.ndarray, "3 3"], shift_mm: Float64[np.ndarray, " 3"]) -> Affine:
    affine: Affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, shift_mm
    return affine


def _coarsen(scan: Image) -> _Coarse:
    """Average to voxels of about `CELL_MM`; 0 and the value of the first corner are background."""
    factors = [max(round(CELL_MM / edge), 1) for edge in scan.spacing_mm]
    voxels = scan.voxels[tuple(slice(n // factor * factor) for n, factor in zip(scan.shape, factors, strict=True))]
    foreground = (voxels != 0) & (voxels != voxels[0, 0, 0])
    shares = block_means(foreground.astype(np.float32), factors)
    means = block_means(np.where(foreground, voxels, np.float32(0)), factors) / np.maximum(shares, 1e-6)
    # the centre of a block lies between its voxels' centres
    affine = scan.affine @ _affine(np.diag(factors).astype(np.float64), (np.array(factors) - 1) / 2)
    return _Coarse(means * (shares > 0.5), shares, affine)


def block_means(voxels: Float32[np.ndarray, "x y z"], factors: Sequence[int]) -> Float32[np.ndarray, "a b c"]:
    """Means over blocks with these numbers of voxels along each axis, which must divide the shape of `voxels`."""
    for axis, factor in enumerate(factors):
        shape = [*voxels.shape[:axis], voxels.shape[axis] // factor, factor, *voxels.shape[axis + 1 :]]
        voxels = voxels.reshape(shape).mean(axis=axis + 1)
    return voxels
