"""The brain of a scan on its own grid: from the network, the template or the user, completed and checked."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage
from scipy.linalg import polar

from mapping_stroke.images.image import Image, Mask
from mapping_stroke.images.nifti import Affine
from mapping_stroke.lesions import FACE_CONNECTED, bounding_box
from mapping_stroke.space.brain_network import close_gaps, extract_brain, fill_holes
from mapping_stroke.space.resample import box_on_grid, resample, shrink
from mapping_stroke.space.template import read_template

Region = Bool[np.ndarray, "a b c"]  # on the template's grid
BrainSource = Literal["network", "shown", "template", "given"]

CELL_MM = 2.0
"""Scans are first averaged to about this voxel size, the template's."""
SURE_MM, FARTHEST_MM = 2.0, 4.0
"""Depth in the template's brain beyond which voxels are brain, and distance beyond which they are not."""
SHELL_MM = (10.0, 20.0)
"""Distance outside the brain at which a whole head shows scalp and a skull-stripped one nothing."""
STRIPPED_SHARE = 0.25
"""A skull-stripped scan shows less than this fraction of that shell; poorly stripped ones show some."""
WHITE_QUANTILE = 0.8
"""This quantile of the intensities in the brain is white matter."""
CENTRE_MM = 10.0
"""This deep in the template's brain, any scan shows brain."""
SIGNAL, TISSUE, FAT = 0.05, 0.45, 1.25
"""Relative to white matter: above background; grey matter and brighter; brighter than brain."""
CLOSING_MM = 8.0
"""Gaps narrower than twice this are closed: sulci, fissures and stroke cavities."""
VOLUME_ML = (500.0, 2500.0)
"""Range of intracranial volumes; outside it, the result is no brain or the header has a wrong voxel size."""
MARGIN_MM = 8.0
"""Margin around the brain that registration reads."""


@dataclass(frozen=True, eq=False)
class Brain:
    """The brain of a scan.

    Attributes:
        mask: The brain, on the scan's grid.
        stripped: Whether the scan shows almost nothing around it.
        source: The network, the non-zero voxels of a skull-stripped scan, the template, or the user.
    """

    mask: Mask
    stripped: bool
    source: BrainSource

    def volume_ml(self, scan: Image) -> float:
        """Volume, given its scan."""
        return int(self.mask.sum()) * scan.voxel_volume_mm3 / 1000

    def is_plausible(self, scan: Image) -> bool:
        """Whether its volume is plausible for a brain."""
        return VOLUME_ML[0] <= self.volume_ml(scan) <= VOLUME_ML[1]

    def to_json(self, scan: Image) -> dict[str, object]:
        """Facts to keep with the results, as plain JSON values, given its scan."""
        return {"source": self.source, "volume_ml": round(self.volume_ml(scan), 1)}


def find_brain(scan: Image, given: Mask | None = None) -> Brain:
    """Find the brain of a scan with unknown placement.

    Args:
        scan: A T1w scan, its background at 0.
        given: The user's own mask on its grid; None for brain extraction by the network.

    Returns:
        The given mask or the network's. If the scan shows almost nothing around the network's, its non-zero voxels with
        gaps closed. An empty mask if the network recognises no brain.
    """
    mask = extract_brain(scan) if given is None else given
    source: BrainSource = "network" if given is None else "given"
    if not mask.any():
        return Brain(mask, stripped=False, source=source)
    stripped = _is_stripped(scan, mask)
    if stripped and given is None:
        return Brain(_voxels_with_signal(scan, mask), stripped=True, source="shown")
    return Brain(mask, stripped, source)


def find_brain_upright(scan: Image, place: Affine) -> Brain:
    """Find the brain by the network in a scan that is first rotated upright.

    Args:
        scan: A T1w scan of a head that is far from upright, its background at 0.
        place: Rough place of the template, its millimetres to the scan's.
    """
    turn, _ = polar(place[:3, :3])  # the rotation nearest to the affine, without its scale and shear
    corners_vox = np.array(list(np.ndindex(2, 2, 2))) * (np.array(scan.shape) - 1)
    # along the head's own axes; the upright grid must contain the whole rotated field of view
    corners_mm = (corners_vox @ scan.affine[:3, :3].T + scan.affine[:3, 3]) @ turn
    edge_mm = min(max(scan.spacing_mm), CELL_MM)
    affine: Affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = edge_mm * turn, turn @ corners_mm.min(axis=0)
    x, y, z = (int(n) for n in np.ceil(np.ptp(corners_mm, axis=0) / edge_mm) + 1)
    upright = resample(scan.voxels, np.linalg.inv(scan.affine) @ affine, (x, y, z))
    found = extract_brain(Image(upright, np.diag([edge_mm, edge_mm, edge_mm, 1.0])))
    mask = resample(found.astype(np.float32), np.linalg.inv(affine) @ scan.affine, scan.shape) > 0.5
    return Brain(mask, stripped=False, source="network")


def cut_out(scan: Image, brain: Mask) -> Image:
    """The scan with 0 around its brain, cropped to it and averaged to about `CELL_MM`."""
    margin_vox = int(np.ceil(MARGIN_MM / min(scan.spacing_mm)))
    box = bounding_box(brain, margin_vox)
    affine = scan.affine.copy()
    affine[:3, 3] += scan.affine[:3, :3] @ [edge.start for edge in box]
    return shrink(Image(np.where(brain[box], scan.voxels[box], np.float32(0)), affine), CELL_MM)


def find_brain_by_template(scan: Image, place: Affine) -> Brain:
    """The brain of a head derived from the registered template, corrected by the scan at its edge.

    Args:
        scan: A T1w scan.
        place: Template's millimetres to the scan's.
    """
    small, template, depth_mm = shrink(scan, CELL_MM), read_template(), depth_in_template_mm()
    values = _on_template(small, small.voxels, place)
    in_view = view_on_template(scan, place)
    centre = values[(depth_mm > CENTRE_MM) & in_view]
    white = float(np.quantile(centre, WHITE_QUANTILE)) if centre.size else 0.0
    tissue = depth_mm > 0
    if white > 0:
        tissue = close_gaps(_tissue(values / white, depth_mm), CLOSING_MM, (template.spacing_mm,) * 3)
    # the scan decides near the surface of the template's brain, the template decides deep inside
    region = fill_holes((tissue & (depth_mm > -FARTHEST_MM)) | ((depth_mm > SURE_MM) & in_view))
    to_template = np.linalg.inv(place @ template.affine) @ scan.affine
    mask = resample(region.astype(np.float32), to_template, scan.shape) > 0.5
    return Brain(mask, stripped=False, source="template")


def overlap_with_template(scan: Image, brain: Mask, place: Affine) -> float:
    """Dice of the scan's and the template's brain within the scan's field of view, in [0, 1]."""
    here, there = brain_on_template(scan, brain, place), view_on_template(scan, place) & (depth_in_template_mm() > 0)
    total = int(here.sum()) + int(there.sum())
    return 2 * int((here & there).sum()) / total if total else 0.0


def brain_on_template(scan: Image, brain: Mask, place: Affine) -> Region:
    """A scan's brain on the template's grid."""
    small = shrink(replace(scan, voxels=brain.astype(np.float32)), CELL_MM)
    return _on_template(small, small.voxels, place) > 0.5


def view_on_template(scan: Image, place: Affine) -> Region:
    """The scan's field of view on the template's grid."""
    template = read_template()
    to_scan = np.linalg.inv(scan.affine) @ place @ template.affine
    index = np.indices(template.t1.shape, dtype=np.float32).reshape(3, -1)
    voxels = to_scan[:3, :3].astype(np.float32) @ index + to_scan[:3, 3:].astype(np.float32)
    limits = np.array(scan.shape, np.float32)[:, None] - np.float32(0.5)
    inside = np.all((voxels > np.float32(-0.5)) & (voxels < limits), axis=0)
    return np.asarray(inside.reshape(template.t1.shape))


@cache
def depth_in_template_mm() -> Float32[np.ndarray, "a b c"]:
    """Depth below the surface of the template's brain, negative outside."""
    template = read_template()
    inside = template.brain > 0.5
    depth, height = (ndimage.distance_transform_edt(part, sampling=template.spacing_mm) for part in (inside, ~inside))
    return (depth - height).astype(np.float32)


def _is_stripped(scan: Image, brain: Mask) -> bool:
    small = shrink(scan, CELL_MM)
    inside = shrink(replace(scan, voxels=brain.astype(np.float32)), CELL_MM).voxels > 0.5
    if not inside.any():
        return False
    away_mm = ndimage.distance_transform_edt(~inside, sampling=small.spacing_mm)
    # beyond the skull's thickness: scalp in a whole head, nothing in a skull-stripped scan
    shell = (away_mm > SHELL_MM[0]) & (away_mm < SHELL_MM[1])
    white = float(np.quantile(small.voxels[inside], WHITE_QUANTILE))
    return bool((small.voxels[shell] > SIGNAL * white).mean() < STRIPPED_SHARE) if shell.any() else False


def _voxels_with_signal(scan: Image, brain: Mask) -> Mask:
    """All non-zero voxels of a skull-stripped scan, with narrow gaps and holes closed."""
    white = float(np.quantile(scan.voxels[brain], WHITE_QUANTILE))
    signal = scan.voxels > SIGNAL * white
    small = shrink(replace(scan, voxels=signal.astype(np.float32)), CELL_MM)
    closed = close_gaps(small.voxels > 0.5, CLOSING_MM, small.spacing_mm)
    to_small = np.linalg.inv(small.affine) @ scan.affine
    return fill_holes(signal | (resample(closed.astype(np.float32), to_small, scan.shape) > 0.5))


def _on_template(scan: Image, values: Float32[np.ndarray, "x y z"], place: Affine) -> Float32[np.ndarray, "a b c"]:
    template = read_template()
    x, y, z = template.t1.shape
    return resample(values, np.linalg.inv(scan.affine) @ place @ template.affine, (x, y, z))


def _tissue(relative: Float32[np.ndarray, "a b c"], depth_mm: Float32[np.ndarray, "a b c"]) -> Region:
    """Connected grey and white matter, separated from tissue that touches it by a bridge of one voxel."""
    tissue = (relative > TISSUE) & (relative < FAT) & (depth_mm > -FARTHEST_MM)
    thin = ndimage.binary_erosion(tissue, FACE_CONNECTED)  # breaks thin bridges to dura and scalp
    labels, count = ndimage.label(thin, FACE_CONNECTED)
    if count == 0:
        return thin
    # counted inside the template's brain only: muscle and scalp may be larger
    sizes = np.bincount(labels[(labels > 0) & (depth_mm > 0)], minlength=count + 1)
    return np.asarray(ndimage.binary_dilation(labels == sizes.argmax(), FACE_CONNECTED) & tissue)


DEEP_MM, AROUND_MM = 4.0, 8.0
"""Depth in the template's brain from which a cavity is accepted; similar voxels this near belong to it."""
DARK = 0.6
"""Cavities are darker than this fraction of white matter."""
MIRROR: Affine = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Swaps left and right in MNI152 space."""


def complete_brain(scan: Image, brain: Brain, place: Affine) -> Brain:
    """Add the cavities that the network left out of the brain, once the place is known. Other brains stay as they are.

    The network's outline may pass below a cavity at the surface. A region is a cavity if it is dark, deep in the
    template's brain, and has brain at its mirror image; it is added with similar voxels nearby. Bone at that depth,
    such as the petrous part, lies on both sides.

    Args:
        scan: The scan, its background at 0.
        brain: Its brain.
        place: Template's millimetres to the scan's.
    """
    if brain.source != "network":
        return brain
    template, depth_mm = read_template(), depth_in_template_mm()
    here = brain_on_template(scan, brain.mask, place).astype(np.float32)
    # the template is nearly symmetric, so the intact hemisphere shows where brain should be
    opposite = resample(here, np.linalg.inv(template.affine) @ MIRROR @ template.affine, depth_mm.shape)
    candidates = bounding_box((opposite > 0.5) & (here == 0) & (depth_mm > DEEP_MM), _cells(AROUND_MM))
    to_scan = np.linalg.inv(scan.affine) @ place @ template.affine
    box = box_on_grid(candidates, to_scan, scan.shape)
    # on the scan's own grid from here, since cavities may be thinner than the template's voxels
    values, known = scan.voxels[box], brain.mask[box]
    if known.size == 0:
        return brain
    to_template = np.linalg.inv(to_scan)
    to_template[:3, 3] += to_template[:3, :3] @ [edge.start for edge in box]
    white = float(np.quantile(scan.voxels[brain.mask], WHITE_QUANTILE))
    absent = ~known & (values > 0) & (values < DARK * white) & (resample(opposite, to_template, known.shape) > 0.5)
    # only a deep voxel starts a cavity: near the surface, dark voxels are CSF outside the brain
    deep = absent & (resample(depth_mm, to_template, known.shape) > DEEP_MM)
    if not deep.any():
        return brain
    mask = brain.mask.copy()
    mask[box] |= absent & (ndimage.distance_transform_edt(~deep, sampling=scan.spacing_mm) <= AROUND_MM)
    return replace(brain, mask=fill_holes(mask))


def _cells(length_mm: float) -> int:
    """Voxels of the template that span a length."""
    return int(np.ceil(length_mm / read_template().spacing_mm))


DEPTH_MM = 6.0
"""Depth below the surface of the template's brain; after affine registration, brains differ from it by less."""
LEAST_ML = 10.0
"""A missing region of at least this volume, in the scan's space, is reported."""


def missing_ml(scan: Image, brain: Mask, place: Affine) -> tuple[float, float]:
    """The volume of the template's brain, deeper than `DEPTH_MM` below its surface, that a scan lacks.

    Args:
        scan: A scan.
        brain: Its brain, on its grid.
        place: Template's millimetres to the scan's.

    Returns:
        Millilitres of the largest region within the field of view that is not in the brain, and of all tissue outside
        the field of view; 0 if nothing is missing.
    """
    expected = depth_in_template_mm() > DEPTH_MM
    in_view = view_on_template(scan, place)
    absent = expected & in_view & ~brain_on_template(scan, brain, place)
    # the determinant converts the template's volume to the scan's
    cell_ml = read_template().spacing_mm ** 3 * abs(np.linalg.det(place[:3, :3])) / 1000
    labels, count = ndimage.label(absent, FACE_CONNECTED)
    largest_vox = int(np.bincount(labels[absent]).max()) if count else 0
    return largest_vox * cell_ml, int((expected & ~in_view).sum()) * cell_ml


def missing_tissue(scan: Image, brain: Mask, place: Affine) -> list[str]:
    """Warnings about missing tissue, one line each, or none if the brain is complete."""
    cut_ml, unseen_ml = missing_ml(scan, brain, place)
    warnings = []
    if cut_ml >= LEAST_ML:
        warnings.append(
            f"about {cut_ml:.0f} mL of connected tissue are missing from the brain, compared with the template: if "
            "brain extraction removed a lesion, it cannot be found; check its outline, or pass an unstripped scan"
        )
    if unseen_ml >= LEAST_ML:
        warnings.append(
            f"about {unseen_ml:.0f} mL of the brain lie outside its field of view: lesions there are not found, and "
            "volumes are incomplete"
        )
    return warnings
