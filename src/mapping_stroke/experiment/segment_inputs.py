"""Which scans are segmented, and what their outputs are called."""

import re
from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.console import counted, say
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.patterns import Patterns, without_brain_masks
from mapping_stroke.dicom.folders import dicom_files, is_dicom, lost_files
from mapping_stroke.errors import CaseError
from mapping_stroke.experiment.segment_files import MAP_SUFFIXES
from mapping_stroke.files import given_name, is_folder, leads_nowhere
from mapping_stroke.image import image_stem, image_suffix
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, OWNER_FILE

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
    _tell_passed(folder, images)
    if (series or not files) and (_any_dicom(folder) or (lost_files(folder) and not _looks_like_bids(there))):
        return [folder]
    if series:
        raise CaseError(f"{folder}: holds no DICOM file of which --series {series} could be; name another folder")
    if not files:
        remedy = "use `mapping bids` for a BIDS data set" if _looks_like_bids(there) else "name another folder"
        raise CaseError(f"{folder}: holds no image file itself, expected scans; {remedy}, or {DEEPER}")
    return files


def _tell_passed(folder: Path, images: Sequence[Path]) -> None:
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
