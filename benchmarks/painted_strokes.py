"""Real lesion masks painted into real heads as old infarcts: cavities with the intensity of the head's own CSF."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32, Int32
from scipy import ndimage

from mapping_stroke.images.image import Image, Mask, Voxels
from mapping_stroke.images.nifti import Affine
from mapping_stroke.lesions import FACE_CONNECTED, bounding_box
from mapping_stroke.simulation.lesions import RealMask
from mapping_stroke.space.brain import CELL_MM, FAT, TISSUE, WHITE_QUANTILE, depth_in_template_mm
from mapping_stroke.space.brain_network import close_gaps, fill_holes, largest_region
from mapping_stroke.space.intensities import shift_background
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.resample import resample, shrink
from mapping_stroke.space.template import read_template

CENTRE_MM, FARTHEST_MM = 10.0, 4.0
"""Deeper in the template's brain, voxels are intracranial in any head; farther outside it they are not."""
CLOSING_MM = 5.0
"""Gaps between tissue narrower than twice this are sulci and fissures."""
VENTRICLE_DEPTH_MM, FLUID = 20.0, 0.4
"""This deep in the template's brain, voxels darker than this fraction of its white matter are ventricles."""
FEWEST_VOX = 100
"""Fewest voxels of the ventricles without their walls; with fewer, the walls are included."""
DARKEST = 0.02
"""Share of the deep voxels that count as fluid if no ventricles are found."""
CORTEX_MM = 6.0
"""A mask closer to the surface reaches the cortex; the gap becomes fluid."""
LEAST_AT_SURFACE = 0.1
"""A mask reaches the surface if at least this share of it is this close."""
BORDER_MM = 1.2
"""Standard deviation of the blur of a cavity's border: from fluid to tissue in about 3 mm."""
GRAIN_VOX = 0.5
"""Standard deviation of the blur of the noise in a cavity."""


@dataclass(frozen=True, eq=False)
class Head:
    """A whole head with a known place in MNI152 space, ready to be painted.

    Attributes:
        name: Name of its file, without `_T1w`.
        placed: Its place and bias field.
        scan: Its intensities, with the background at 0.
        space: Its intracranial space, found without the network.
        reference: A reference mask of its brain, if there is one.
    """

    name: str
    placed: PlacedScan
    scan: Image
    space: Mask
    reference: Mask | None

    @property
    def place(self) -> Affine:
        """Template's millimetres to the scan's."""
        return np.linalg.inv(self.placed.to_mni)

    @cached_property
    def bias(self) -> Voxels:
        """Bias of each voxel: the factor by which its intensity is too high."""
        corrected = self.placed.corrected.voxels
        ones = np.ones_like(corrected)
        return ones if self.placed.left_alone else np.divide(self.scan.voxels, corrected, out=ones, where=corrected > 0)

    @cached_property
    def fluid(self) -> tuple[float, float]:
        """Median and standard deviation of the intensities of its ventricles, without bias."""
        return _fluid(Image(self.scan.voxels / self.bias, self.scan.affine), self.place)

    @cached_property
    def outward(self) -> tuple[Float32[np.ndarray, "x y z"], Int32[np.ndarray, "3 x y z"]]:
        """Depth of each voxel of the space in mm, and the nearest voxel outside the space, within `box`."""
        inside = self.space[self.box]
        depth_mm, nearest = ndimage.distance_transform_edt(inside, self.scan.spacing_mm, return_indices=True)
        return depth_mm.astype(np.float32), nearest

    @cached_property
    def box(self) -> tuple[slice, slice, slice]:
        """Bounding box of the space with a small margin."""
        return bounding_box(self.space, margin_vox=4)


def make_head(name: str, placed: PlacedScan, reference: Mask | None) -> Head:
    """A head with its intracranial space: the reference with its sulci closed, or the result of `find_space`."""
    scan = shift_background(placed.scan)
    if reference is None:
        return Head(name, placed, scan, find_space(placed), reference)
    return Head(name, placed, scan, close_gaps(reference, CLOSING_MM, scan.spacing_mm), reference)


def find_space(placed: PlacedScan) -> Mask:
    """The intracranial space of a head without its outermost CSF, from the template and the head's own tissue.

    It is connected grey and white matter within `FARTHEST_MM` of the template's brain, with sulci closed, and all
    voxels deep in that brain.
    """
    small = shrink(placed.corrected, CELL_MM)
    depth_mm = _on_scan(depth_in_template_mm(), small, np.linalg.inv(placed.to_mni), repeat_border=True)
    centre = depth_mm > CENTRE_MM
    relative = small.voxels / np.quantile(small.voxels[centre], WHITE_QUANTILE)
    tissue = (relative > TISSUE) & (relative < FAT) & (depth_mm > -FARTHEST_MM)
    # eroding breaks thin bridges to dura and scalp
    core = largest_region(ndimage.binary_erosion(tissue, FACE_CONNECTED))
    brain = ndimage.binary_dilation(core, FACE_CONNECTED) & tissue
    space = fill_holes(close_gaps(brain, CLOSING_MM, small.spacing_mm) & (depth_mm > -FARTHEST_MM) | centre)
    to_small = np.linalg.inv(small.affine) @ placed.scan.affine
    return resample(space.astype(np.float32), to_small, placed.scan.shape) > 0.5


def surface_share(mask: RealMask) -> float:
    """Share of a mask's voxels within `CORTEX_MM` of the surface of the template's brain, or outside it."""
    voxels = np.argwhere(mask.voxels.numpy() > 127)
    index = (np.linalg.inv(read_template().affine) @ mask.affine)[:3] @ np.c_[voxels, np.ones(len(voxels))].T
    depth_mm = ndimage.map_coordinates(depth_in_template_mm(), index, order=1, mode="nearest")
    return float((depth_mm < CORTEX_MM).mean()) if len(voxels) else 0.0


def lay_mask(mask: RealMask, head: Head, *, mirrored: bool, to_surface: bool) -> Mask:
    """Map a mask in MNI152 space to a head, within its intracranial space.

    Args:
        mask: The mask.
        head: The head.
        mirrored: Whether left and right are swapped first.
        to_surface: Whether a narrow gap between it and the surface of the space is added to it.
    """
    mirror: Affine = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0, 1.0])
    to_mask = np.linalg.inv(mask.affine) @ mirror @ head.placed.to_mni @ head.scan.affine
    lesion = (resample(mask.voxels.numpy() / np.float32(255), to_mask, head.scan.shape) > 0.5) & head.space
    return _to_surface(lesion, head) if to_surface else lesion


def paint(head: Head, lesion: Mask, rng: np.random.Generator) -> Image:
    """The head with a cavity: fluid as in its ventricles, with a soft border to tissue but not to the skull."""
    box = bounding_box(lesion, margin_vox=8)
    # divided by the blurred space: soft towards tissue, sharp towards the skull
    blurred, there = (_blur(part[box], head.scan.spacing_mm) for part in (lesion, head.space))
    share = np.where(head.space[box], blurred / np.maximum(there, np.float32(1e-3)), np.float32(0))
    # slightly smooth, like the noise of a reconstructed scan
    grain = ndimage.gaussian_filter(rng.standard_normal(share.shape), GRAIN_VOX)
    level, noise = head.fluid
    fluid = np.maximum(level + noise * grain / grain.std(), 0) * head.bias[box]
    voxels = head.scan.voxels.copy()
    voxels[box] += np.clip(share, 0, 1) * (fluid - voxels[box])
    return Image(voxels.astype(np.float32), head.scan.affine)


def _to_surface(lesion: Mask, head: Head) -> Mask:
    """Add the voxels between the lesion and the skull, along the shortest paths to the skull."""
    (depth_mm, nearest), inside = head.outward, head.space[head.box]
    rim = inside & (depth_mm < CORTEX_MM)
    reached = np.zeros(inside.shape, np.bool_)
    # boundary voxels nearest to the lesion, then all rim voxels that are nearest to those
    reached[tuple(nearest[:, rim & lesion[head.box]])] = True
    reached = ndimage.binary_dilation(reached, FACE_CONNECTED)
    added = np.zeros_like(inside)
    added[rim] = reached[tuple(nearest[:, rim])]
    whole = lesion.copy()
    whole[head.box] |= added
    return whole


def _fluid(scan: Image, place: Affine) -> tuple[float, float]:
    template = read_template()
    white = np.quantile(template.t1[depth_in_template_mm() > CENTRE_MM], WHITE_QUANTILE)
    dark = (template.t1 < FLUID * white) & (depth_in_template_mm() > VENTRICLE_DEPTH_MM)
    deep, expected = (
        _on_scan(part.astype(np.float32), scan, place) > 0.5
        for part in (depth_in_template_mm() > VENTRICLE_DEPTH_MM, dark)
    )
    limit = TISSUE * np.quantile(scan.voxels[deep], WHITE_QUANTILE)
    ventricles = expected & (scan.voxels < limit)
    # walls are mixed with tissue
    without_walls = ndimage.binary_erosion(deep & (scan.voxels < limit), FACE_CONNECTED) & ventricles
    chosen = without_walls if without_walls.sum() >= FEWEST_VOX else ventricles
    values = scan.voxels[chosen]
    if values.size < FEWEST_VOX:
        values = np.sort(scan.voxels[deep])[: max(int(DARKEST * deep.sum()), 1)]
    # half the central 68 % is a robust standard deviation
    low, middle, high = np.quantile(values, (0.16, 0.5, 0.84))
    return float(middle), float(high - low) / 2


def _on_scan(
    values: Float32[np.ndarray, "a b c"], scan: Image, place: Affine, *, repeat_border: bool = False
) -> Float32[np.ndarray, "x y z"]:
    """A volume on the template's grid, resampled to a scan."""
    to_template = np.linalg.inv(place @ read_template().affine) @ scan.affine
    return resample(values, to_template, scan.shape, repeat_border=repeat_border)


def _blur(mask: Mask, spacing_mm: tuple[float, float, float]) -> Float32[np.ndarray, "x y z"]:
    return ndimage.gaussian_filter(mask.astype(np.float32), [BORDER_MM / edge for edge in spacing_mm], mode="nearest")
