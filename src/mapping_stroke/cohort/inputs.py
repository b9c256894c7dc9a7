"""Which scans are segmented, what their outputs are called, and the user's own brain masks."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mapping_stroke.cohort.results import MAP_SUFFIXES, Naming, flat_names
from mapping_stroke.console import counted, say
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.names import Patterns, without_brain_masks
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.files import describe_missing, given_name, is_folder, leads_nowhere
from mapping_stroke.images.dicom_series import dicom_files, is_dicom, lost_files
from mapping_stroke.images.formats import IMAGE_SUFFIXES, image_suffix
from mapping_stroke.images.image import Image, Mask, image_stem, read_image, reorient, require_same_grid
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, OWNER_FILE
from mapping_stroke.space.brain import VOLUME_ML, Brain

DEEPER = "use `mapping segment FOLDER --scans PATTERN` with a pattern such as '*/T1.nii.gz'"
"""For scans in folders of their own, which are told apart by these folders' names."""


def find_scans(given: Sequence[Path], series: str = "", pattern: str | None = None) -> dict[str, Path]:
    """The scans by the name of their outputs, in order; a folder stands for its image files but for outputs of ours.

    A folder that is named like an image, as some programs leave when they unpack one, is a scan that cannot be read.
    A folder without image files that holds DICOM files, itself or below, is one scan, and is named like the folder: as
    it was given, whatever its links lead to. So is one that holds links to DICOM files that are not here: reading it
    will say so.

    Args:
        given: Image files and folders.
        series: Which DICOM series of a folder is meant: then it is the scan, also where image files lie beside it.
        pattern: A folder stands for the images in and below it that match, see `Patterns`, each named by its case id.

    Raises:
        CaseError: There is no scan, two have the same name, or a name is taken; capitals do not tell names apart, nor
            do they on the disks of many machines.
        ConfigError: The pattern is malformed.
    """
    if pattern is not None and not any(_stands_for_others(path) for path in given):
        raise CaseError(f"--scans '{pattern}' chooses in folders, and none is given; name one, or leave it out")
    scans = [named for path in given for named in _named_scans(path, series, pattern)]
    if not scans:
        raise CaseError("no scan is given, expected one or more; name their files, or a folder that holds them")
    if series and all(image_suffix(scan) for _, scan in scans):
        raise CaseError(f"--series {series} chooses in DICOM folders, and none is given; name one, or leave it out")
    names: dict[str, Path] = {}
    known: dict[str, Path] = {}
    for name, scan in scans:
        key = name.casefold()
        if f"{key}.json" == OWNER_FILE:
            raise CaseError(f"{scan}: the name {name} is taken by a file of the output folder; rename the scan")
        if key in known:
            raise CaseError(
                f"{scan}: {known[key]} has the same name, capitals aside, and outputs are named after it; rename one, "
                f"or {DEEPER}"
            )
        names[name] = known[key] = scan
    return names


def _named_scans(path: Path, series: str, pattern: str | None) -> list[tuple[str, Path]]:
    """What a given file or folder stands for, each scan with the name of its outputs."""
    if pattern is not None and _stands_for_others(path):
        found = find_cases(path, "plain", Patterns(scans=pattern))
        return [(case.case_id, case.scan) for case in found.cases]
    scans = _scans_in(path, series) if _stands_for_others(path) else [path]
    return [(image_stem(scan) if image_suffix(scan) else _folder_name(scan, series), scan) for scan in scans]


def _stands_for_others(path: Path) -> bool:
    return is_folder(path) and image_suffix(path) is None


def holds_dicom(path: Path) -> bool:
    """Whether a folder, itself or below, or a file is DICOM, or was before the content behind its links was dropped."""
    if is_folder(path):
        return _any_dicom(path) or bool(lost_files(path))
    return image_suffix(path) is None and (is_dicom(path) or leads_nowhere(path))


def _any_dicom(folder: Path) -> bool:
    return any(True for _ in dicom_files(folder))


def _folder_name(path: Path, series: str) -> str:
    """What the outputs of a DICOM folder, or file, are called: nothing of its headers, where people's names are."""
    name = given_name(path) if is_folder(path) else image_stem(path)
    return f"{name}_series-{re.sub('[^A-Za-z0-9]+', '-', series)}" if series else name


def _scans_in(folder: Path, series: str) -> list[Path]:
    there = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [path for path in there if image_suffix(path)]
    files = [path for path in without_brain_masks(images) if not path.name.endswith(MAP_SUFFIXES)]
    _report_passed(folder, images)
    if (series or not files) and (_any_dicom(folder) or (lost_files(folder) and not _looks_like_bids(there))):
        return [folder]
    if series:
        raise CaseError(f"{folder}: holds no DICOM file of which --series {series} could be; name another folder")
    if not files:
        remedy = "use `mapping bids` for a BIDS data set" if _looks_like_bids(there) else "name another folder"
        raise CaseError(f"{folder}: holds no image file itself, expected scans; {remedy}, or {DEEPER}")
    return files


def _report_passed(folder: Path, images: Sequence[Path]) -> None:
    """Tell of images that may be no brain masks of ours: no lesion mask of the same scan lies beside them."""
    ours = {path.with_name(path.name.removesuffix(MASK_SUFFIX) + BRAIN_SUFFIX) for path in images}
    passed = sorted(set(images) - set(without_brain_masks(images)) - ours)
    if passed:
        told = f"passes over {counted(len(passed), 'image')} named like brain masks of scans beside them, such as"
        say(f"{folder}: {told} {passed[0].name}; give their files if they are scans")


def _looks_like_bids(inside: Sequence[Path]) -> bool:
    return any(
        path.name == "dataset_description.json" or (path.name.startswith("sub-") and path.is_dir()) for path in inside
    )


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
    turned = reorient(image, scan.orientation)
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
        raise CaseError(f"{path}: {describe_missing(path)}")
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
        _report_without(brains, without, len(scans))
    elif leads_nowhere(brains) or not brains.exists():
        raise CaseError(f"{brains}: {describe_missing(brains)}")
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


def _report_without(folder: Path, without: Sequence[str], scans: int) -> None:
    if without:
        named = ", ".join(without[:NAMED]) + (f" and {len(without) - NAMED} more" if len(without) > NAMED else "")
        say(f"{folder}: holds no mask of {len(without)} of {counted(scans, 'scan')} ({named}), whose brains are found")
