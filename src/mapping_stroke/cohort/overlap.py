"""The lesion overlap map of a cohort: in how many scans each voxel of MNI152 space is lesioned."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from scipy import ndimage

from mapping_stroke.cohort.group_files import GroupFiles
from mapping_stroke.console import track
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.errors import SCAN_FAILURES, describe_failure
from mapping_stroke.files import fingerprint, read_object, remove_files, sha256, write_json
from mapping_stroke.images.image import Mask, read_image, write_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.lesions import bounding_box
from mapping_stroke.space.resample import Box, box_on_grid

Counts = UInt16[np.ndarray, "197 233 189"]
KEPT = 2000
"""Masks that stay in memory, of some 20 kB each: after a correction the app adds all up again, but reads one."""
VERSION = 1
"""Raised if the same masks give other maps."""
DESCRIPTION = (
    "Number of scans with a lesion at each voxel of MNI152 space (grid of ATLAS R2.0, 1 mm), from the final masks by "
    "nearest neighbour; in the mirrored map the lesions of both sides are on the left (x <= 0)."
)
MIDDLE = ATLAS_GRID.shape[0] // 2
"""Index of the sagittal plane x = 0: the grid has as many voxels to its left as to its right."""


@dataclass(frozen=True)
class PlacedMask:
    """The mask of a scan, and the scan's millimetres to those of MNI152 (4 x 4)."""

    name: str
    path: Path
    to_mni: Sequence[Sequence[float]]


@dataclass(frozen=True)
class OverlapFacts:
    """What an overlap map holds.

    Attributes:
        scans: Number of scans in it.
        most: Largest number of scans with a lesion at one voxel.
        most_mirrored: The same with both sides on one hemisphere.
        left_out: Names of scans that do not count, by reason.
        unreadable: Why the final mask of a scan could not be read, by name.
        masks: Fingerprint of the masks; the same masks need not be read again.
    """

    scans: int
    most: int
    most_mirrored: int
    left_out: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    masks: str = ""


def place_mask(mask: Mask, index_to_mni: Affine) -> tuple[Box, Bool[np.ndarray, "a b c"]]:
    """A mask on the grid of ATLAS R2.0 by nearest neighbour: the box that it reaches, and its voxels there.

    Args:
        mask: The mask.
        index_to_mni: Its voxel indices to millimetres of MNI152.
    """
    to_mask = np.linalg.inv(index_to_mni) @ ATLAS_GRID.affine
    box = box_on_grid(bounding_box(mask, margin_vox=1), np.linalg.inv(to_mask), ATLAS_GRID.shape)
    shape = tuple(edge.stop - edge.start for edge in box)
    if 0 in shape:
        return box, np.zeros(shape, bool)
    start = to_mask[:3, 3] + to_mask[:3, :3] @ [edge.start for edge in box]
    return box, np.asarray(ndimage.affine_transform(mask, to_mask[:3, :3], start, shape, order=0))


class OverlapCount:
    """Adds masks up, one scan after another. A scan counts once at a voxel, also where both of its sides meet."""

    def __init__(self) -> None:
        self.scans = 0
        self.counts: Counts = np.zeros(ATLAS_GRID.shape, np.uint16)
        self.mirrored: Counts = np.zeros(ATLAS_GRID.shape, np.uint16)
        """Lesions of both sides at x <= 0; a voxel of the midplane is its own mirror image and counts there."""

    def add(self, box: Box, placed: Bool[np.ndarray, "a b c"]) -> None:
        """Add what `place_mask` returned for the mask of a scan."""
        self.scans += 1
        self.counts[box] += placed
        x, y, z = box
        wide = np.zeros((ATLAS_GRID.shape[0], *placed.shape[1:]), bool)
        wide[x] = placed
        self.mirrored[: MIDDLE + 1, y, z] += wide[: MIDDLE + 1] | wide[MIDDLE:][::-1]


def write_overlap(
    folder: Path, files: GroupFiles, masks: Sequence[PlacedMask], left_out: dict[str, list[str]]
) -> OverlapFacts:
    """Write the overlap maps, unless they hold exactly these masks already. A map without any scan is not written.

    Args:
        folder: The output folder.
        files: Names of the files.
        masks: The masks that count.
        left_out: Names of the scans that do not, by reason.

    Returns:
        What the maps hold. If they are not those of an earlier call, older files have been removed, also the picture.
    """
    hashes, lost = _hash(masks)
    placed = [[mask.name, hashes[mask.name], mask.to_mni] for mask in masks if mask.name in hashes]
    key = fingerprint([VERSION, placed, left_out, lost])
    earlier = _read_facts(folder, files)
    if earlier and earlier.masks == key:
        return earlier
    remove_files(folder / name for name in files.of_overlap)
    counts = OverlapCount()
    for mask in track([mask for mask in masks if mask.name in hashes], "Adding up lesions", len(placed)):
        try:
            box, bits, shape = _read_placed(mask.path, hashes[mask.name], tuple(map(tuple, mask.to_mni)))
            counts.add(box, np.unpackbits(bits, count=math.prod(shape)).reshape(shape).astype(bool))
        except SCAN_FAILURES as error:
            lost[mask.name] = describe_failure(error, mask.path)
    most, most_mirrored = int(counts.counts.max()), int(counts.mirrored.max())
    facts = OverlapFacts(counts.scans, most, most_mirrored, left_out, lost, key)
    if counts.scans:
        write_image(folder / files.overlap, counts.counts, ATLAS_GRID.affine)
        write_image(folder / files.mirrored, counts.mirrored, ATLAS_GRID.affine)
        write_json(folder / files.overlap_facts, {"Description": DESCRIPTION, **asdict(facts)})
    return facts


@lru_cache(maxsize=KEPT)
def _read_placed(
    path: Path, digest: str, to_mni: tuple[tuple[float, ...], ...]
) -> tuple[Box, UInt8[np.ndarray, " bytes"], tuple[int, ...]]:
    """The box, packed voxels and shape of `place_mask` for a file with this hash."""
    mask = read_image(path)
    box, placed = place_mask(mask.voxels > 0, np.array(to_mni) @ mask.affine)
    return box, np.packbits(placed), placed.shape


def _read_facts(folder: Path, files: GroupFiles) -> OverlapFacts | None:
    """What the maps in a folder hold; None if they are missing or not known."""
    stored = read_object(folder / files.overlap_facts)
    if not all((folder / name).is_file() for name in (files.overlap, files.mirrored)):
        return None
    known = {name: stored[name] for name in OverlapFacts.__dataclass_fields__ if name in stored}
    return OverlapFacts(**known) if len(known) == len(OverlapFacts.__dataclass_fields__) else None


def _hash(masks: Sequence[PlacedMask]) -> tuple[dict[str, str], dict[str, str]]:
    """Hash of each mask by name; and why the others cannot be read."""
    hashes, lost = dict[str, str](), dict[str, str]()
    for mask in masks:
        try:
            hashes[mask.name] = sha256(mask.path)
        except SCAN_FAILURES as error:
            lost[mask.name] = describe_failure(error, mask.path)
    return hashes, lost
