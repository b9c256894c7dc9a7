"""A raw T1w scan brought to MNI152 space, and what was found there brought back to the scan's own grid."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float32

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.dataset.plausibility import OBLIQUE_DEG, grid_turn_deg
from mapping_stroke.dataset.template_fit import fit_template
from mapping_stroke.errors import ConfigError
from mapping_stroke.image import Affine, Image, Mask
from mapping_stroke.nifti_grid import SAME_PLACE_VOX, largest_shift_mm
from mapping_stroke.space.bias import divide_bias
from mapping_stroke.space.black import above_black
from mapping_stroke.space.quality import Quality
from mapping_stroke.space.resample import resample, shrink
from mapping_stroke.space.search import Found, look_at, search, stays_there
from mapping_stroke.space.template import read_template

SPACES = ("auto", "native", "mni")


@dataclass(frozen=True, eq=False)
class PlacedScan:
    """A scan, and where it lies in MNI152 space.

    Attributes:
        scan: As its file holds it.
        corrected: The same without its bias field, its black at 0; `scan` itself where it was left alone.
        brain: Its brain, on its own grid.
        to_mni: The scan's millimetres to those of MNI152, RAS.
        quality: How well the template fits.
        left_alone: Whether it lay in MNI152 space already: `to_mni` is the identity then.
        stripped: Whether it shows next to nothing around its brain.
        starts: Rough places that were refined until one would do; 0 where it was left alone.
    """

    scan: Image
    corrected: Image
    brain: Mask
    to_mni: Affine
    quality: Quality
    left_alone: bool
    stripped: bool
    starts: int

    def on_atlas(self, grid: Grid = ATLAS_GRID, *, brain_only: bool = False) -> Image:
        """The corrected scan in MNI152 space, by one linear interpolation; what it does not show is 0.

        Voxels much finer than the grid's are averaged first.

        Args:
            grid: That of ATLAS R2.0 (197x233x189, 1 mm), or another one in MNI152 space, such as a network's own.
            brain_only: Whether everything but the brain becomes 0.
        """
        voxels = np.where(self.brain, self.corrected.voxels, np.float32(0)) if brain_only else self.corrected.voxels
        source = Image(voxels, self.to_mni @ self.scan.affine)
        if _is_grid(source, grid):
            return source
        source = shrink(source, grid.spacing_mm)
        return Image(resample(source.voxels, np.linalg.inv(source.affine) @ grid.affine, grid.shape), grid.affine)

    def from_atlas(self, values: Float32[np.ndarray, "a b c"], grid: Grid = ATLAS_GRID) -> Float32[np.ndarray, "x y z"]:
        """A map in MNI152 space on the scan's own grid, by one linear interpolation; 0 beyond the map.

        No value leaves the range of `values` and 0.

        Args:
            values: The map.
            grid: Where it lies, as for `on_atlas`.
        """
        own = Image(self.scan.voxels, self.to_mni @ self.scan.affine)
        if _is_grid(own, grid):
            return values
        return resample(values, np.linalg.inv(grid.affine) @ own.affine, self.scan.shape)

    def to_json(self) -> dict[str, object]:
        """What is worth keeping beside the results, as plain JSON values."""
        return {
            "to_mni": self.to_mni.tolist(),
            "quality": asdict(self.quality),
            "left_alone": self.left_alone,
            "stripped": self.stripped,
            "starts": self.starts,
        }


def require_space_name(space: str) -> None:
    """Raise `ConfigError` that lists the known ones unless there is such a space."""
    if space not in SPACES:
        raise ConfigError(f"no space {space!r}; expected one of {', '.join(SPACES)}")


def place_scan(scan: Image, space: str = "auto") -> PlacedScan:
    """Find where a scan lies in MNI152 space, its bias field and its brain.

    Args:
        scan: A T1w scan with any orientation and voxel size: a whole head, defaced or not, or a stripped brain.
        space: `native`: it is registered. `mni`: it lies in MNI152 space, and is left alone. `auto`: it is left alone
            if it lies there, to 3 mm on average over the brain, on a grid that is not oblique, and registered
            otherwise.

    Raises:
        RegistrationError: Nothing that was found from any start is good enough.
        ConfigError: There is no such space.
    """
    require_space_name(space)
    lifted = above_black(scan)
    left_alone = space == "mni" or (space == "auto" and _lies_there(scan, lifted))
    found = _look_there(lifted) if left_alone else search(lifted)
    to_mni: Affine = np.linalg.inv(found.place)
    template = read_template()
    to_template = np.linalg.inv(template.affine) @ to_mni @ scan.affine
    return PlacedScan(
        scan=scan,
        corrected=scan if left_alone else divide_bias(lifted, found.bias),
        brain=resample(found.brain.mask.astype(np.float32), to_template, scan.shape) > 0.5,
        to_mni=to_mni,
        quality=found.quality,
        left_alone=left_alone,
        stripped=found.brain.stripped,
        starts=found.starts,
    )


def _look_there(scan: Image) -> Found:
    """A scan in MNI152 space; only in a head does finding the brain need the bias."""
    found = look_at(scan, np.eye(4), unbiased=True)
    return found if found.brain.stripped else look_at(scan, np.eye(4))


def _lies_there(scan: Image, lifted: Image) -> bool:
    """Quickly seen of most scans that do not; a second of a processor for the others, but for those of ATLAS R2.0."""
    if grid_turn_deg(scan) > OBLIQUE_DEG or not fit_template(scan).in_place:
        return False
    return _is_grid(scan, ATLAS_GRID) or stays_there(lifted)


def _is_grid(image: Image, grid: Grid) -> bool:
    if image.shape != grid.shape:
        return False
    return largest_shift_mm(image.affine, grid.affine, image.shape) < SAME_PLACE_VOX * grid.spacing_mm
