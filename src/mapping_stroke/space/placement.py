"""Place a raw T1w scan in MNI152 space, and resample maps back to the scan's own grid."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage
from scipy.linalg import polar
from scipy.optimize import linear_sum_assignment

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.dataset.scan_checks import OBLIQUE_DEG, grid_turn_deg
from mapping_stroke.dataset.template_fit import fit_at, lies_in_place
from mapping_stroke.errors import ConfigError, RegistrationError
from mapping_stroke.images.image import Image, Mask
from mapping_stroke.images.nifti import SAME_PLACE_VOX, Affine, largest_shift_mm
from mapping_stroke.space.brain import (
    CELL_MM,
    Brain,
    complete_brain,
    cut_out,
    find_brain,
    find_brain_by_template,
    find_brain_upright,
    missing_tissue,
    overlap_with_template,
)
from mapping_stroke.space.intensities import NOISE_WARNING, divide_bias, find_bias, shift_background, silence_air
from mapping_stroke.space.resample import resample, shrink
from mapping_stroke.space.rough_fit import Quality, Registration, rate, search, stays_there

SPACES = ("auto", "native", "mni")
LEAST_OVERLAPS = {"network": 0.90, "shown": 0.80}
"""Dice of the scan's and the template's brain, by the brain's source; below it the whole head is also registered. 15
heads had at least 0.96, 17 skull-stripped scans at least 0.93; one whose stroke of 223 mL was removed had 0.84."""
MOST_ROTATED_DEG = 20.0
"""The network was trained on upright heads; a head rotated farther is presented to it upright."""
REMEDY = "check its outline, or pass your own mask with --brain"


@dataclass(frozen=True, eq=False)
class PlacedScan:
    """A scan, its brain, and its place in MNI152 space.

    Attributes:
        scan: The scan as stored in its file.
        corrected: The scan without bias field, its background at 0; `scan` itself if it was left alone.
        brain: Its brain, on its own grid.
        to_mni: The scan's millimetres to those of MNI152, RAS.
        quality: Quality of the fit to the template.
        left_alone: Whether it already lies in MNI152 space, so that `to_mni` is the identity.
        starts: Number of rough places refined until one was accepted; 0 if it was left alone.
        warnings: Doubts about its brain, one line each.
    """

    scan: Image
    corrected: Image
    brain: Brain
    to_mni: Affine
    quality: Quality
    left_alone: bool
    starts: int
    warnings: tuple[str, ...] = ()

    def on_atlas(self, grid: Grid = ATLAS_GRID, *, brain_only: bool = False) -> Image:
        """The corrected scan in MNI152 space, by one linear interpolation, with 0 outside its field of view.

        Voxels much finer than the grid's are averaged first.

        Args:
            grid: The grid of ATLAS R2.0 (197x233x189, 1 mm), or another one in MNI152 space, such as a network's own.
            brain_only: Whether everything outside the brain becomes 0.
        """
        voxels = (
            np.where(self.brain.mask, self.corrected.voxels, np.float32(0)) if brain_only else self.corrected.voxels
        )
        return bring_to_atlas(Image(voxels, self.scan.affine), self.to_mni @ self.scan.affine, grid)

    def from_atlas(self, values: Float32[np.ndarray, "a b c"], grid: Grid = ATLAS_GRID) -> Float32[np.ndarray, "x y z"]:
        """A map in MNI152 space, resampled to the scan's own grid by one linear interpolation, with 0 outside the map.

        No value leaves the range of `values` and 0.

        Args:
            values: The map.
            grid: Grid of the map, see `on_atlas`.
        """
        own = Image(self.scan.voxels, self.to_mni @ self.scan.affine)
        if _is_grid(own, grid):
            return values
        return resample(values, np.linalg.inv(grid.affine) @ own.affine, self.scan.shape)

    @property
    def turn_deg(self) -> float:
        """The rotation of the head relative to the axes of its own grid."""
        to_grid = np.linalg.inv(self.scan.affine[:3, :3] / self.scan.spacing_mm) @ np.linalg.inv(self.to_mni)[:3, :3]
        turn, _ = polar(to_grid)
        # relative to the nearest assignment of axes, since files may store them in any order and direction
        nearest = np.zeros((3, 3))
        rows, columns = linear_sum_assignment(-np.abs(turn))
        nearest[rows, columns] = np.sign(turn[rows, columns])
        # angle of a rotation from its trace, 1 + 2 cos
        return float(np.degrees(np.arccos(np.clip((np.trace(nearest.T @ turn) - 1) / 2, -1, 1))))

    def cut_out(self) -> Image:
        """The scan's brain in voxels of about the template's size, with 0 around it."""
        return cut_out(self.corrected, self.brain.mask)

    def to_json(self) -> dict[str, object]:
        """Facts to keep with the results, as plain JSON values."""
        return {
            "to_mni": self.to_mni.tolist(),
            "quality": asdict(self.quality),
            "left_alone": self.left_alone,
            "stripped": self.brain.stripped,
            "starts": self.starts,
        }


def bring_to_atlas(image: Image, to_mni: Affine, grid: Grid = ATLAS_GRID) -> Image:
    """An image in MNI152 space, by one linear interpolation, with 0 outside its field of view.

    Args:
        image: Voxels much finer than the grid's are averaged first.
        to_mni: Voxel index to the millimetres of MNI152.
        grid: See `PlacedScan.on_atlas`.
    """
    source = Image(image.voxels, to_mni)
    if _is_grid(source, grid):
        return source
    source = shrink(source, grid.spacing_mm)
    return Image(resample(source.voxels, np.linalg.inv(source.affine) @ grid.affine, grid.shape), grid.affine)


def bring_mask_to_atlas(mask: Mask, to_mni: Affine, grid: Grid = ATLAS_GRID) -> Bool[np.ndarray, "a b c"]:
    """A mask in MNI152 space, by nearest neighbour, which preserves volumes; see `bring_to_atlas`."""
    to_scan = np.linalg.inv(to_mni) @ grid.affine
    return np.asarray(ndimage.affine_transform(mask, to_scan[:3, :3], to_scan[:3, 3], grid.shape, order=0))


def require_space_name(space: str) -> None:
    """Raise `ConfigError`, with the known names, for an unknown space."""
    if space not in SPACES:
        raise ConfigError(f"no space {space!r}; expected one of {', '.join(SPACES)}")


def place_scan(scan: Image, space: str = "auto", brain: Mask | None = None) -> PlacedScan:
    """Find a scan's brain, its place in MNI152 space, and its bias field.

    The brain is extracted first and registered without the rest of the head. Only if the network's brain is implausible
    is the whole head registered and its brain derived from the template, which `warnings` reports.

    Args:
        scan: A T1w scan with any orientation and voxel size: a whole head, defaced or not, or a stripped brain.
        space: `native` registers it, and `mni` leaves it alone because it lies in MNI152 space. `auto` leaves it alone
            if it lies there, within 3 mm on average over the brain and on a grid that is not oblique, and registers it
            otherwise.
        brain: The user's own mask of its brain, on its grid.

    Raises:
        RegistrationError: No start leads to an acceptable place.
        ConfigError: There is no such space, or the network is not installed.
    """
    require_space_name(space)
    lifted = shift_background(scan)
    quiet = silence_air(lifted)  # noise as bright as tissue misleads the network
    placed = _place(scan, quiet, brain, space)
    return placed if quiet is lifted else replace(placed, warnings=(NOISE_WARNING, *placed.warnings))


def _place(scan: Image, lifted: Image, given: Mask | None, space: str) -> PlacedScan:
    """Place a scan by its own brain, or by the whole head if its brain is doubtful and the head fits better."""
    found = find_brain(lifted, given)
    if found.source == "given":
        return _place_brain(scan, lifted, found, space)
    placed, doubt = _place_found(scan, lifted, found, space)
    if placed and not doubt:
        return placed
    try:
        by_template = _place_head(scan, lifted, space)
        if by_template.turn_deg > MOST_ROTATED_DEG:
            upright = _place_upright(scan, lifted, by_template, space)
            if upright is not by_template and upright.quality.overlap >= LEAST_OVERLAPS["network"]:
                return upright
    except RegistrationError:
        if placed is None:
            raise
        return _doubted(placed, doubt)
    if placed and by_template.quality.similarity < placed.quality.similarity:
        return _doubted(placed, doubt)
    warning = f"brain extraction by the network failed ({doubt}), so the brain was derived from the template: {REMEDY}"
    return replace(by_template, warnings=(warning, *by_template.warnings))


def _doubted(placed: PlacedScan, doubt: str) -> PlacedScan:
    return replace(placed, warnings=(f"its brain is doubtful ({doubt}): {REMEDY}", *placed.warnings))


def _place_found(scan: Image, lifted: Image, brain: Brain, space: str) -> tuple[PlacedScan | None, str]:
    """The scan placed by its extracted brain, if possible, and the doubt about it, if any."""
    if not brain.mask.any():
        return None, "it recognised no brain"
    if not brain.is_plausible(scan):
        return None, f"its brain has {brain.volume_ml(scan):.0f} mL"
    try:
        placed = _place_brain(scan, lifted, brain, space)
        if brain.source == "network" and placed.turn_deg > MOST_ROTATED_DEG:
            placed = max(placed, _place_upright(scan, lifted, placed, space), key=lambda one: one.quality.overlap)
    except RegistrationError:
        return None, "its brain does not fit the template"
    if placed.quality.overlap < LEAST_OVERLAPS[brain.source]:
        return placed, f"its brain and the template's overlap by {placed.quality.overlap:.2f}"
    return placed, ""


def _place_upright(scan: Image, lifted: Image, placed: PlacedScan, space: str) -> PlacedScan:
    """The scan placed by the brain that the network finds in the upright head, unchanged if it finds none."""
    upright = find_brain_upright(lifted, np.linalg.inv(placed.to_mni))
    return _place_brain(scan, lifted, upright, space) if upright.is_plausible(scan) else placed


def _place_brain(scan: Image, lifted: Image, brain: Brain, space: str) -> PlacedScan:
    """Register a known brain, and estimate its bias field in the meantime."""
    small, overlap_at = cut_out(lifted, brain.mask), partial(overlap_with_template, scan, brain.mask)
    if space == "mni" or (space == "auto" and _lies_there(scan, small)):
        there = _stay(small, overlap_at)
        return _finish(scan, scan, complete_brain(lifted, brain, there.place), there)
    with ThreadPoolExecutor(1, "bias") as other:  # N4 needs only the brain, not its place
        corrected = other.submit(lambda: divide_bias(lifted, find_bias(lifted, brain.mask)))
        registration = search(small, overlap_at)
        whole = complete_brain(lifted, brain, registration.place)
        return _finish(scan, corrected.result(), whole, registration)


def _place_head(scan: Image, lifted: Image, space: str) -> PlacedScan:
    """Register a whole head, and derive its brain from the template."""
    small = shrink(lifted, CELL_MM)

    def overlap_at(place: Affine) -> float:
        return overlap_with_template(scan, find_brain_by_template(lifted, place).mask, place)

    left_alone = space == "mni" or (space == "auto" and _lies_there(scan, small))
    registration = _stay(small, overlap_at) if left_alone else search(small, overlap_at)
    brain = find_brain_by_template(lifted, registration.place)
    corrected = scan if left_alone else divide_bias(lifted, find_bias(lifted, brain.mask))
    return _finish(scan, corrected, brain, registration)


def _stay(small: Image, overlap_at: Callable[[Affine], float]) -> Registration:
    """The registration of a scan that already lies in MNI152 space."""
    there: Affine = np.eye(4)
    return Registration(there, rate(there, fit_at(small, there), overlap_at(there)), 0)


def _finish(scan: Image, corrected: Image, brain: Brain, registration: Registration) -> PlacedScan:
    return PlacedScan(
        scan=scan,
        corrected=corrected,
        brain=brain,
        to_mni=np.linalg.inv(registration.place),
        quality=registration.quality,
        left_alone=registration.starts == 0,
        starts=registration.starts,
        warnings=tuple(missing_tissue(scan, _with_signal(scan, brain), registration.place)),
    )


def _with_signal(scan: Image, brain: Brain) -> Mask:
    """The brain without zero voxels that are brain only by the template."""
    return brain.mask & (scan.voxels != 0) if brain.source == "template" else brain.mask


def _lies_there(scan: Image, small: Image) -> bool:
    """Whether a scan lies in MNI152 space. Takes half a second only if it might, and has another grid than ATLAS."""
    if grid_turn_deg(scan) > OBLIQUE_DEG or not lies_in_place(small):
        return False
    return _is_grid(scan, ATLAS_GRID) or stays_there(small)


def _is_grid(image: Image, grid: Grid) -> bool:
    if image.shape != grid.shape:
        return False
    return largest_shift_mm(image.affine, grid.affine, image.shape) < SAME_PLACE_VOX * grid.spacing_mm
