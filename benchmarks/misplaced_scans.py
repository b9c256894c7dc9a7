"""Scans with a known position in MNI152 space: skull-stripped brains or simulated heads that have been moved."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from mapping_stroke.dataset.grid import ATLAS_GRID, atlas_grid
from mapping_stroke.images.image import Image, Mask, read_image, reorient
from mapping_stroke.images.nifti import Affine, Shape
from mapping_stroke.simulation.case import draw_any_look, head_grid, simulate_case
from mapping_stroke.simulation.head import Kind
from mapping_stroke.simulation.lesions import allowed_region, draw_lesions
from mapping_stroke.simulation.person import Deformation
from mapping_stroke.simulation.scanner import draw_any_scanner
from mapping_stroke.simulation.sources import read_brain
from mapping_stroke.space.resample import resample

SPACING_MM = 1.0
"""Spacing of simulated scans before they are moved; tests use a coarser one."""
SIZES = (0.85, 1.02)
"""Size of heads along each axis relative to the template; most heads are smaller."""
MARGIN_VOX = 3
"""Margin around the visible part of a scan."""
UNMOVED = Deformation(0.0, 0.0, 0.0, (1.0, 1.0, 1.0), 0.0, 0.0)


@dataclass(frozen=True)
class Plan:
    """Plan of a misplaced scan.

    Attributes:
        path: A skull-stripped brain in MNI152 space.
        kind: Part of the head that the scan shows; None for the brain itself, without simulation or lesions.
        load_ml: Volume of its lesion.
        turn_deg: Rotation about a random axis.
        shift_mm: Shift in a random direction.
        edges_mm: Edges of its voxels.
        axes: Orientation of its axes, such as `RAS`.
    """

    path: Path
    kind: Kind | None
    load_ml: float
    turn_deg: float
    shift_mm: float
    edges_mm: tuple[float, float, float]
    axes: str

    @property
    def name(self) -> str:
        """Name of the person."""
        return self.path.name.split("_")[0]

    @property
    def shows(self) -> str:
        """The kind, in words."""
        return self.kind or "original brain"


@dataclass(frozen=True, eq=False)
class MisplacedScan:
    """A scan with its true position.

    Attributes:
        plan: Its plan.
        scan: The scan.
        brain: Its brain.
        lesions: Its lesions.
        truth: MNI152 millimetres to the scan's, by the brain's original registration.
        unmoved: The scan in MNI152 space, before it was moved.
    """

    plan: Plan
    scan: Image
    brain: Mask
    lesions: Mask
    truth: Affine
    unmoved: Image


def misplace(plan: Plan, rng: np.random.Generator) -> MisplacedScan:
    """Make one scan. The generator draws its appearance, its size, and the axes of rotation and shift.

    Raises:
        ImageError: The plan's file cannot be read, or shows no skull-stripped brain in MNI152 space.
    """
    brain = read_image(plan.path)
    inside = Image((brain.voxels > 0).astype(np.float32), brain.affine)
    lesions = Image(np.zeros_like(brain.voxels), brain.affine)
    source = brain
    if plan.kind is not None:
        source, lesions = _simulate(plan.path, plan.kind, plan.load_ml, rng)
    # the template's millimetres equal the unmoved scan's, so the move is the true place
    truth = _draw_move(plan.turn_deg, plan.shift_mm, rng)
    grid = _grid_of(source, truth, plan.edges_mm)
    scan, inside, lesions = (reorient(_on_grid(image, truth, grid), plan.axes) for image in (source, inside, lesions))
    return MisplacedScan(plan, scan, inside.voxels > 0.5, lesions.voxels > 0.5, truth, source)


def _simulate(path: Path, kind: Kind, load_ml: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """A person with that brain, which is not deformed, and the lesions."""
    brain = read_brain(path, atlas_grid(SPACING_MM))
    lesions = torch.zeros_like(brain.inside)
    if load_ml > 0:
        lesions = draw_lesions(brain, allowed_region(brain), [1000 * load_ml], rng)
    look = draw_any_look(1000 * load_ml, draw_any_scanner(rng), kind, 1.0, rng)
    made = simulate_case(brain, lesions, replace(look, deformation=UNMOVED), rng)
    affine = (head_grid(brain) if kind == "head" else brain.grid).affine
    voxels = torch.where(made.coverage > 0.5, made.scan.clamp(min=0), 0)
    scan, mask = (
        Image(np.ascontiguousarray(volume.numpy(), dtype=np.float32), affine) for volume in (voxels, made.mask)
    )
    return scan, mask


def _draw_move(turn_deg: float, shift_mm: float, rng: np.random.Generator) -> Affine:
    """Rotate, shift and resize about the centre of the template's grid."""
    # normalised Gaussian vectors are uniform on the sphere
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    move: Affine = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec(axis * turn_deg, degrees=True).as_matrix() @ np.diag(rng.uniform(*SIZES, 3))
    centre_mm = ATLAS_GRID.affine[:3, :3] @ (np.array(ATLAS_GRID.shape) / 2) + ATLAS_GRID.affine[:3, 3]
    # the centre is only shifted
    move[:3, 3] = centre_mm + direction * shift_mm - move[:3, :3] @ centre_mm
    return move


def _grid_of(source: Image, move: Affine, edges_mm: Sequence[float]) -> tuple[Affine, Shape]:
    """An upright grid that contains the visible part of a moved head."""
    shown = np.argwhere(source.voxels > 0)
    # an affine map takes a box to the hull of its corners
    corners = np.array(list(np.ndindex(2, 2, 2))) * np.ptp(shown, axis=0) + shown.min(axis=0)
    places_mm = (move @ source.affine @ np.c_[corners, np.ones(8)].T)[:3]
    affine: Affine = np.diag([*edges_mm, 1.0])
    affine[:3, 3] = places_mm.min(axis=1) - MARGIN_VOX * np.array(edges_mm)
    x, y, z = (int(n) for n in np.ceil(np.ptp(places_mm, axis=1) / edges_mm) + 2 * MARGIN_VOX)
    return affine, (x, y, z)


def _on_grid(source: Image, move: Affine, grid: tuple[Affine, Shape]) -> Image:
    affine, shape = grid
    return Image(resample(source.voxels, np.linalg.inv(move @ source.affine) @ affine, shape), affine)
