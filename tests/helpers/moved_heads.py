"""Scans of the template's own brain, in a head or not, moved by a known amount: no other data is needed."""

from functools import cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mapping_stroke.images.image import Image, reorient
from mapping_stroke.images.nifti import Affine
from mapping_stroke.space.resample import resample
from mapping_stroke.space.template import read_template

CENTRE_MM = np.array([0.0, -18.0, 9.0])
EDGE_MM = 3.0
ROOM_MM = 30.0
SCALP_MM, SKULL_MM, FLUID_MM = 15.0, 8.0, 3.0


def move(turn_deg: tuple[float, float, float], shift_mm: tuple[float, float, float], size: float = 0.93) -> Affine:
    """Template's millimetres to a scan's: turned and resized about the brain's centre, then shifted."""
    affine: Affine = np.eye(4)
    affine[:3, :3] = size * Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    affine[:3, 3] = CENTRE_MM + shift_mm - affine[:3, :3] @ CENTRE_MM
    return affine


NEAR = move((4, -6, 8), (6, -9, 12))
"""A place for any test that needs one: what tests share is computed once. The head counts as upright."""


@cache
def head(*, stripped: bool) -> Image:
    """The template's brain at 2 mm, alone or in fluid, a dark skull, a bright scalp and a neck."""
    template = read_template()
    room = round(ROOM_MM / template.spacing_mm)
    brain = np.pad(np.where(template.brain > 0.5, np.maximum(template.t1, 0.1), 0), room)
    affine = template.affine.copy()
    affine[:3, 3] -= ROOM_MM
    if stripped:
        return Image(brain.astype(np.float32), affine)
    inside = brain > 0
    away_mm = ndimage.distance_transform_edt(~inside, sampling=template.spacing_mm)
    x, y, z = (axis * template.spacing_mm + affine[i, 3] for i, axis in enumerate(np.indices(brain.shape)))
    neck = (np.hypot(x, y + 25) < 55) & (z < -50)
    shells = [inside, away_mm < FLUID_MM, away_mm < SKULL_MM, (away_mm < SCALP_MM) | neck]
    return Image(np.select(shells, [brain, 0.2, 0.05, 0.9], 0).astype(np.float32), affine)


def moved_scan(to_scan: Affine, *, stripped: bool = True, axes: str = "RAS", seed: int = 0) -> Image:
    """A noisy scan of a moved head, on an upright grid that holds it, stored in any orientation."""
    still = head(stripped=stripped)
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(still.shape) - 1)
    places_mm = (to_scan @ still.affine @ np.c_[corners, np.ones(8)].T)[:3]
    affine: Affine = np.diag([EDGE_MM, EDGE_MM, EDGE_MM, 1.0])
    affine[:3, 3] = places_mm.min(axis=1)
    x, y, z = (int(n) for n in np.ceil(np.ptp(places_mm, axis=1) / EDGE_MM))
    voxels = 500 * resample(still.voxels, np.linalg.inv(to_scan @ still.affine) @ affine, (x, y, z))
    noise = np.random.default_rng(seed).normal(0, 10, voxels.shape).astype(np.float32)
    scan = reorient(Image(np.where(voxels > 1, np.maximum(voxels + noise, 1), 0).astype(np.float32), affine), axes)
    return Image(scan.voxels, scan.affine.astype(np.float32).astype(np.float64))  # as it would come back from a file


def brain_of(scan: Image, to_scan: Affine) -> Image:
    """The share of each of a scan's voxels that is brain."""
    template = read_template()
    to_template = np.linalg.inv(to_scan @ template.affine) @ scan.affine
    return Image(resample(template.brain, to_template, scan.shape), scan.affine)


def error_mm(place: Affine, truth: Affine) -> float:
    """How far apart two places put the template's brain, mean over it."""
    template = read_template()
    index = np.argwhere(template.brain > 0.5)[::50]
    points = template.affine @ np.c_[index, np.ones(len(index))].T
    return float(np.linalg.norm(((place - truth) @ points)[:3], axis=0).mean())
