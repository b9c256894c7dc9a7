"""Preprocessed cases: arrays on disk that training maps into memory, and the patches that are cut from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float16, Int16, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from mapping_stroke.environment import allow_open_files
from mapping_stroke.errors import RunFolderError
from mapping_stroke.files import written_whole
from mapping_stroke.images.image import Mask, Voxels
from mapping_stroke.images.nifti import Shape
from mapping_stroke.lesions import find_lesions

ARRAYS_A_CASE = 3
NONE_SHARED: Mapping[str, Path] = MappingProxyType({})
UNSURE = 2
"""Label of lesion voxels that are not visible; training ignores them."""
OTHER_FILES = 256
"""Open files that the rest of a process may need."""

Labels = UInt8[np.ndarray, "x y z"]  # as `CaseArrays.mask`


@dataclass(frozen=True, eq=False)
class CaseArrays:
    """One training case on the network grid.

    Attributes:
        case_id: Id of the case.
        scan: z-scores (x, y, z), float16; mapped from disk, or resident on a device.
        mask: 1 inside a lesion, `UNSURE` if it is not visible (simulated cases only), uint8, same shape and device.
        lesion_voxels: Index (x, y, z) of every voxel that is 1 in the mask; (0, 3) for a case without any.
    """

    case_id: str
    scan: Float16[Tensor, "x y z"]
    mask: UInt8[Tensor, "x y z"]
    lesion_voxels: Int16[np.ndarray, "n 3"]

    @property
    def bytes(self) -> int:
        """Size of scan and mask."""
        return int(self.scan.nbytes + self.mask.nbytes)

    def to(self, device: torch.device) -> "CaseArrays":
        """The same case with scan and mask on a device."""
        return CaseArrays(self.case_id, self.scan.to(device), self.mask.to(device), self.lesion_voxels)


def write_arrays(
    folder: Path, case_id: str, scan: Voxels, mask: Mask | Labels, shared_scan: Path | None = None
) -> None:
    """Write one case as three arrays. The lesion voxels come last, so a case that has them is complete.

    Args:
        folder: Folder of the arrays.
        case_id: Start of their names.
        scan: The scan.
        mask: Its mask.
        shared_scan: File of the scan's array if several masks belong to the scan; written if it is missing. None: one
            of its own, next to the mask.
    """
    arrays: dict[Path, np.ndarray] = {
        folder / f"{case_id}_mask.npy": mask.astype(np.uint8),
        folder / f"{case_id}_lesion.npy": np.argwhere(mask == 1).astype(np.int16),
    }
    if shared_scan is None or not shared_scan.is_file():
        arrays = {shared_scan or folder / f"{case_id}_scan.npy": scan.astype(np.float16), **arrays}
    for path, array in arrays.items():
        with written_whole(path) as partial:
            np.save(partial, array)


def has_arrays(folder: Path, case_id: str, shared_scan: Path | None = None) -> bool:
    """Whether `write_arrays` finished for this case, and a shared scan is still there."""
    complete = (folder / f"{case_id}_lesion.npy").is_file()
    return complete and (shared_scan is None or _scan_file(folder, case_id, shared_scan).is_file())


def _scan_file(folder: Path, case_id: str, shared_scan: Path | None) -> Path:
    own = folder / f"{case_id}_scan.npy"  # earlier versions wrote one for each mask
    return own if shared_scan is None or own.is_file() else shared_scan


def read_all_arrays(
    folder: Path, case_ids: Sequence[str], shared_scans: Mapping[str, Path] = NONE_SHARED
) -> dict[str, CaseArrays]:
    """Map many cases into memory, by their ids; raises as `read_arrays` does.

    Each array stays open, and most systems limit a process to about a thousand open files unless it asks for more.
    """
    allow_open_files(ARRAYS_A_CASE * len(case_ids) + OTHER_FILES)
    return {case_id: read_arrays(folder, case_id, shared_scans.get(case_id)) for case_id in case_ids}


def _map_array(file: Path, case_id: str) -> np.ndarray:
    try:
        # copy-on-write: torch warns about read-only memory
        mapped: np.ndarray = np.load(file, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{file.parent}: the preprocessed arrays of case {case_id} cannot be read ({error}); "
            "delete that folder and rerun the command"
        ) from error
    return mapped


def read_arrays(folder: Path, case_id: str, shared_scan: Path | None = None) -> CaseArrays:
    """Map one case into memory; raises `RunFolderError` if it is missing or damaged."""
    scan_file = _scan_file(folder, case_id, shared_scan)
    files = (scan_file, *(folder / f"{case_id}_{name}.npy" for name in ("mask", "lesion")))
    scan, mask, lesion = (_map_array(file, case_id) for file in files)
    return CaseArrays(case_id, torch.from_numpy(scan), torch.from_numpy(mask), np.asarray(lesion))


Corner = tuple[int, int, int]
"""Lowest voxel of a box; may be negative, and the box may extend past the volume, with zeros there."""


def place_anywhere(shape: Sequence[int], size: Shape, rng: np.random.Generator) -> Corner:
    """A random corner with the patch inside the volume, or, along shorter axes, the volume inside the patch."""
    corner = []
    for edge, length in zip(shape, size, strict=True):
        # nnU-Net pads a short axis on both sides, by one voxel more at the end if the padding is odd
        short_by = max(length - edge, 0)
        low, high = -(short_by // 2), edge - length + short_by // 2 + short_by % 2
        corner.append(int(rng.integers(low, high + 1)))
    return corner[0], corner[1], corner[2]


def place_on_lesion(
    shape: Sequence[int], size: Shape, lesion_voxels: Int16[np.ndarray, "n 3"], rng: np.random.Generator
) -> Corner:
    """A corner that centres the patch on a random lesion voxel; anywhere if there is no lesion.

    As in nnU-Net, the patch is moved if it would start before the volume, but it may extend past its end.
    """
    if len(lesion_voxels) == 0:
        return place_anywhere(shape, size, rng)
    voxel = lesion_voxels[rng.integers(len(lesion_voxels))]
    corner = [
        max(int(centre) - length // 2, -(max(length - edge, 0) // 2))
        for centre, edge, length in zip(voxel, shape, size, strict=True)
    ]
    return corner[0], corner[1], corner[2]


def place_on_any_lesion(
    shape: Sequence[int], size: Shape, lesion_voxels: Int16[np.ndarray, "n 3"], rng: np.random.Generator
) -> Corner:
    """As `place_on_lesion`, but first draw one of the lesions, all equally likely, and then one of its voxels.

    This way, small lesions, which are often many and always the hardest, are drawn as often as large ones.
    """
    if len(lesion_voxels) == 0:
        return place_anywhere(shape, size, rng)
    voxels = lesion_voxels - lesion_voxels.min(axis=0)  # label only their bounding box
    mask = np.zeros(voxels.max(axis=0) + 1, bool)
    mask[tuple(voxels.T)] = True
    lesions = find_lesions(mask)
    chosen = lesions.labels[tuple(voxels.T)] == rng.integers(1, lesions.count + 1)
    return place_on_lesion(shape, size, lesion_voxels[chosen], rng)


def cut_box(volume: Shaped[Tensor, "x y z"], corner: Corner, size: Shape) -> Shaped[Tensor, "x2 y2 z2"]:
    """The voxels of a box, with zeros outside the volume."""
    starts = [max(low, 0) for low in corner]
    stops = [max(min(low + length, edge), 0) for low, length, edge in zip(corner, size, volume.shape, strict=True)]
    x, y, z = (slice(min(start, stop), stop) for start, stop in zip(starts, stops, strict=True))
    inside = volume[x, y, z]
    if inside.shape == size:
        return inside
    padding: list[int] = []
    for axis in (2, 1, 0):  # torch pads from the last axis
        before = min(max(-corner[axis], 0), size[axis])
        padding += [before, size[axis] - before - inside.shape[axis]]
    return functional.pad(inside, padding)
