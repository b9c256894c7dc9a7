"""The user's own masks of brains: which one is of which scan, and whether it can be the mask of its brain."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mapping_stroke.console import counted, say
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.experiment.segment_files import Naming, flat_names
from mapping_stroke.files import leads_nowhere, tell_missing
from mapping_stroke.image import IMAGE_SUFFIXES, Image, Mask, image_suffix, read_image, require_same_grid, turn_axes
from mapping_stroke.run_folder import BRAIN_SUFFIX
from mapping_stroke.space.brain import VOLUME_ML, Brain

NAMED = 5
"""Of more scans without a mask, the rest is counted."""
LISTED_VALUES = 4
"""Of more values in what is no mask, the rest is left out."""


def read_brain(brain: Image | Path | str, scan: Image) -> Mask:
    """The user's mask of a scan's brain, on the scan's grid.

    Args:
        brain: 1 in the brain and 0 elsewhere, on the scan's grid, its axes in any order: an image, or the path of one.
        scan: The scan.

    Raises:
        MappingError: It cannot be read, holds other values, is empty or as large as no brain, or lies elsewhere.
    """
    image = brain if isinstance(brain, Image) else _read(Path(brain))
    told = "the given image" if isinstance(brain, Image) else str(brain)
    turned = turn_axes(image, scan.orientation)
    remedy = "resample the mask onto the scan with nearest neighbour, or outline the brain on this scan"
    require_same_grid(turned, scan, (f"{told}: the brain mask", "its scan"), remedy)
    _require_mask(turned, told)
    mask = turned.voxels > 0
    if not Brain(mask, stripped=False, source="given").is_plausible(scan):
        raise ImageError(
            f"{told}: its brain has {mask.sum() * scan.voxel_volume_mm3 / 1000:.4g} mL, expected {VOLUME_ML[0]:.0f} to "
            f"{VOLUME_ML[1]:.0f} mL; outline the whole brain, or mend the voxel size in the header"
        )
    return mask


def _read(path: Path) -> Image:
    if leads_nowhere(path) or not path.exists():
        raise CaseError(f"{path}: {tell_missing(path)}")
    return read_image(path)


def _require_mask(image: Image, told: str) -> None:
    values = np.unique(image.voxels)
    if values.tolist() == [0, 1]:
        return
    if not values.any():
        raise ImageError(f"{told}: is empty, expected 1 in the brain and 0 elsewhere; outline the brain")
    shown = ", ".join(f"{value:g}" for value in values[:LISTED_VALUES])
    more = f", ... ({len(values)} values)" if len(values) > LISTED_VALUES else ""
    raise ImageError(
        f"{told}: holds {shown}{more}, expected a mask of 1 in the brain and 0 elsewhere; save it so, for example by "
        "thresholding a stripped scan above 0"
    )


def find_given(
    brains: Path | None,
    scans: Mapping[str, Path],
    output: Path,
    naming: Naming = flat_names,
    *,
    perhaps_none: bool = False,
) -> dict[str, Path]:
    """Which of the user's masks is of which scan.

    Args:
        brains: A mask, if there is one scan; or a folder of masks that are named as `mapping` itself names them, with
            any suffix of images, also without the folders in that name. None if the user gives none.
        scans: By the name of their outputs.
        output: Where these go: what lies there may be removed, so that masks must lie elsewhere.
        naming: What outputs are called.
        perhaps_none: Whether a folder may hold masks of other scans only, since these are a part of all.

    Returns:
        Masks by the scans' names; scans without one are told, and left out.

    Raises:
        CaseError: There is no such file or folder, the folder holds no mask of any scan or two of one, a file is given
            for several scans, or a mask is an output itself.
    """
    if brains is None or not scans:
        return {}
    if brains.is_dir() and not image_suffix(brains):
        found = {name: mask for name in scans if (mask := _mask_of(brains, naming(name, BRAIN_SUFFIX)))}
        without = [name for name in scans if name not in found]
        if not found and not perhaps_none:
            raise CaseError(
                f"{brains}: holds no brain mask of any scan, expected {naming(without[0], BRAIN_SUFFIX)} and the like; "
                "name the masks so, or leave --brain out"
            )
        _tell_without(brains, without, len(scans))
    elif leads_nowhere(brains) or not brains.exists():
        raise CaseError(f"{brains}: {tell_missing(brains)}")
    elif len(scans) > 1:
        raise CaseError(
            f"{brains}: is the mask of one brain, and {len(scans)} scans are given; name a folder that holds one for "
            f"each, such as {naming(next(iter(scans)), BRAIN_SUFFIX)}"
        )
    else:
        found = dict.fromkeys(scans, brains)
    for name, mask in found.items():
        if mask.resolve() == (output / naming(name, BRAIN_SUFFIX)).resolve():
            raise CaseError(
                f"{mask}: is an output itself, which is removed when its scan is segmented again; copy the masks that "
                "you have corrected into a folder of their own, and name that"
            )
    return found


def _mask_of(folder: Path, output: str) -> Path | None:
    """The mask of a folder that is named like an output, whatever its suffix; None if there is none."""
    stem = output.removesuffix(".nii.gz")
    places = dict.fromkeys(
        folder / f"{named}{suffix}" for named in (stem, Path(stem).name) for suffix in IMAGE_SUFFIXES
    )
    there = [place for place in places if place.is_file() or leads_nowhere(place)]
    if len(there) > 1:
        raise CaseError(f"{there[0]}: {there[1]} is a mask of the same brain; move one of them away")
    return there[0] if there else None


def _tell_without(folder: Path, without: Sequence[str], scans: int) -> None:
    if without:
        named = ", ".join(without[:NAMED]) + (f" and {len(without) - NAMED} more" if len(without) > NAMED else "")
        say(f"{folder}: holds no mask of {len(without)} of {counted(scans, 'scan')} ({named}), whose brains are found")
