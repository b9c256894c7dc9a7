"""Scans with a known position in MNI152 space: brains, skull-stripped or in simulated heads, and then moved."""

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
"""Of simulated scans before they are moved; a coarser one in tests."""
SIZES = (0.85, 1.02)
"""Of heads along each axis, the template's as 1: most heads are smaller than it."""
MARGIN_VOX = 3
"""Room around what a scan shows."""
UNMOVED = Deformation(0.0, 0.0, 0.0, (1.0, 1.0, 1.0), 0.0, 0.0)


@dataclass(frozen=True)
class Plan:
    """How a scan is to be made.

    Attributes:
        path: A skull-stripped brain in MNI152 space.
        kind: What the scan shows; None: the brain as it was cut out, without simulation or lesions.
        load_ml: Of its lesion.
        turn_deg: About any axis.
        shift_mm: In any direction.
        edges_mm: Of its voxels.
        axes: Where they point, such as `RAS`.
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
        """Of the person."""
        return self.path.name.split("_")[0]

    @property
    def shows(self) -> str:
        """The kind, in words."""
        return self.kind or "brain as it is"


@dataclass(frozen=True, eq=False)
class MisplacedScan:
    """A scan, and where the template lies on it.

    Attributes:
        plan: How it was made.
        scan: The scan.
        brain: Its brain.
        lesions: Its lesions.
        truth: MNI152 millimetres to the scan's, as the brain's own registration has it.
        unmoved: The scan in MNI152 space, before it was moved.
    """

    plan: Plan
    scan: Image
    brain: Mask
    lesions: Mask
    truth: Affine
    unmoved: Image


def misplace(plan: Plan, rng: np.random.Generator) -> MisplacedScan:
    """Make one scan; the generator draws how it looks, where it is turned and shifted, and its size.

    Raises:
        ImageError: The plan's file cannot be read, or shows no skull-stripped brain in MNI152 space.
    """
    brain = read_image(plan.path)
    inside = Image((brain.voxels > 0).astype(np.float32), brain.affine)
    lesions = Image(np.zeros_like(brain.voxels), brain.affine)
    source = brain
    if plan.kind is not None:
        source, lesions = _simulate(plan.path, plan.kind, plan.load_ml, rng)
    truth = _draw_move(plan.turn_deg, plan.shift_mm, rng)
    grid = _grid_of(source, truth, plan.edges_mm)
    scan, inside, lesions = (reorient(_on_grid(image, truth, grid), plan.axes) for image in (source, inside, lesions))
    return MisplacedScan(plan, scan, inside.voxels > 0.5, lesions.voxels > 0.5, truth, source)


def _simulate(path: Path, kind: Kind, load_ml: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """A person with that brain, which stays where it is, and the lesions."""
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
    """Turn, shift and resize about the centre of the template's grid."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    move: Affine = np.eye(4)
    move[:3, :3] = Rotation.from_rotvec(axis * turn_deg, degrees=True).as_matrix() @ np.diag(rng.uniform(*SIZES, 3))
    centre_mm = ATLAS_GRID.affine[:3, :3] @ (np.array(ATLAS_GRID.shape) / 2) + ATLAS_GRID.affine[:3, 3]
    move[:3, 3] = centre_mm + direction * shift_mm - move[:3, :3] @ centre_mm
    return move


def _grid_of(source: Image, move: Affine, edges_mm: Sequence[float]) -> tuple[Affine, Shape]:
    """An upright grid that holds all that a moved head shows."""
    shown = np.argwhere(source.voxels > 0)
    corners = np.array(list(np.ndindex(2, 2, 2))) * np.ptp(shown, axis=0) + shown.min(axis=0)
    places_mm = (move @ source.affine @ np.c_[corners, np.ones(8)].T)[:3]
    affine: Affine = np.diag([*edges_mm, 1.0])
    affine[:3, 3] = places_mm.min(axis=1) - MARGIN_VOX * np.array(edges_mm)
    x, y, z = (int(n) for n in np.ceil(np.ptp(places_mm, axis=1) / edges_mm) + 2 * MARGIN_VOX)
    return affine, (x, y, z)


def _on_grid(source: Image, move: Affine, grid: tuple[Affine, Shape]) -> Image:
    affine, shape = grid
    return Image(resample(source.voxels, np.linalg.inv(move @ source.affine) @ affine, shape), affine)
