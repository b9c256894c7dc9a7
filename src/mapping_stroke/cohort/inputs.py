"""Find the scans to segment, the names of their outputs, and the user's own masks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.cohort.results import MAP_SUFFIXES, SUFFIXES, FlatLayout, OutputLayout
from mapping_stroke.console import counted, listed, say
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.dataset.names import Patterns, without_brain_masks
from mapping_stroke.errors import CaseError
from mapping_stroke.files import describe_missing, given_name, is_folder, leads_nowhere
from mapping_stroke.images.dicom_series import dicom_files, is_dicom, lost_files
from mapping_stroke.images.formats import IMAGE_SUFFIXES, image_suffix
from mapping_stroke.images.image import image_stem
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, OWNER_FILE

DEEPER = "use `mapping segment FOLDER --scans PATTERN` with a pattern such as '*/T1.nii.gz'"
"""Advice for scans with equal names in different folders."""
TAKEN = (OWNER_FILE, *FlatLayout.group.all)
"""Files about all scans, which no output of a scan may overwrite."""
LISTED = 5
"""Messages name this many scans without a brain mask and count the rest."""


def find_scans(given: Sequence[Path], series: str = "", pattern: str | None = None) -> dict[str, Path]:
    """The scans by the name of their outputs, in order. A folder stands for its images except our own outputs.

    A folder with the name of an image, as left by some archive programs, counts as a scan, and reading it fails. A
    folder without image files but with DICOM files, in it or in subfolders, is one scan, named after the folder as it
    was given, not after the target of a link. The same applies to a folder of links to DICOM files whose content is
    missing: reading it will report that.

    Args:
        given: Image files and folders.
        series: DICOM series of a folder; the folder is then the scan, even if it also holds image files.
        pattern: Selects images in folders and their subfolders, see `Patterns`; outputs are named after their case ids.

    Raises:
        CaseError: There is no scan, two have the same name, or a name is taken. Case is ignored, as on the disks of
            many machines.
        ConfigError: The pattern is malformed.
    """
    if pattern is not None and not any(_holds_scans(path) for path in given):
        raise CaseError(f"--scans '{pattern}' selects images in folders, but no folder is given; name one or omit it")
    scans = [named for path in given for named in _named_scans(path, series, pattern)]
    if not scans:
        raise CaseError("no scan is given, expected one or more; name their files, or a folder that holds them")
    if series and all(image_suffix(scan) for _, scan in scans):
        raise CaseError(f"--series {series} selects from DICOM folders, but none is given; name one or omit it")
    names: dict[str, Path] = {}
    known: dict[str, Path] = {}
    for name, scan in scans:
        key = name.casefold()  # on many disks, names that differ only in case are one file
        if any(f"{key}{suffix}" in TAKEN for suffix in SUFFIXES):
            raise CaseError(f"{scan}: the name {name} is taken by a file of the output folder; rename the scan")
        if key in known:
            raise CaseError(
                f"{scan}: {known[key]} has the same name (ignoring case), and outputs are named after it; rename one, "
                f"or {DEEPER}"
            )
        names[name] = known[key] = scan
    return names


def _named_scans(path: Path, series: str, pattern: str | None) -> list[tuple[str, Path]]:
    """The scans of a given file or folder, each with the name of its outputs."""
    if pattern is not None and _holds_scans(path):
        found = find_cases(path, "plain", Patterns(scans=pattern))
        return [(case.case_id, case.scan) for case in found.cases]
    scans = _scans_in(path, series) if _holds_scans(path) else [path]
    return [(scan_name(scan, series), scan) for scan in scans]


def scan_name(scan: Path, series: str = "") -> str:
    """The name of a scan's outputs, from that of its file or DICOM folder."""
    return image_stem(scan) if image_suffix(scan) else _dicom_name(scan, series)


def _holds_scans(path: Path) -> bool:
    return is_folder(path) and image_suffix(path) is None


def holds_dicom(path: Path) -> bool:
    """Whether a file is DICOM or a folder holds DICOM files, also if only the content behind their links is missing."""
    if is_folder(path):
        return _any_dicom(path) or bool(lost_files(path))
    return image_suffix(path) is None and (is_dicom(path) or leads_nowhere(path))


def _any_dicom(folder: Path) -> bool:
    return any(True for _ in dicom_files(folder))


def _dicom_name(path: Path, series: str) -> str:
    """The name for outputs of a DICOM folder or file. Headers hold people's names, so nothing is taken from them."""
    name = given_name(path) if is_folder(path) else image_stem(path)
    return f"{name}_series-{re.sub('[^A-Za-z0-9]+', '-', series)}" if series else name


def _scans_in(folder: Path, series: str) -> list[Path]:
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [path for path in inside if image_suffix(path)]
    ours = (*MAP_SUFFIXES, *FlatLayout.group.all)
    files = [path for path in without_brain_masks(images) if not path.name.endswith(ours)]
    _report_skipped(folder, images)
    if (series or not files) and (_any_dicom(folder) or (lost_files(folder) and not _looks_like_bids(inside))):
        return [folder]
    if series:
        raise CaseError(f"{folder}: holds no DICOM file, so no --series {series}; name another folder")
    if not files:
        remedy = "use `mapping bids` for a BIDS data set" if _looks_like_bids(inside) else "name another folder"
        raise CaseError(f"{folder}: holds no image file itself, expected scans; {remedy}, or {DEEPER}")
    return files


def _report_skipped(folder: Path, images: Sequence[Path]) -> None:
    """Report images skipped as brain masks, unless a lesion mask next to them shows that they are our outputs."""
    ours = {path.with_name(path.name.removesuffix(MASK_SUFFIX) + BRAIN_SUFFIX) for path in images}
    skipped = sorted(set(images) - set(without_brain_masks(images)) - ours)
    if skipped:
        many = f"skips {counted(len(skipped), 'image')} named like brain masks of the scans next to them, such as"
        say(f"{folder}: {many} {skipped[0].name}; pass their files if they are scans")


def _looks_like_bids(inside: Sequence[Path]) -> bool:
    return any(
        path.name == "dataset_description.json" or (path.name.startswith("sub-") and path.is_dir()) for path in inside
    )


@dataclass(frozen=True)
class MaskKind:
    """A kind of masks that users give for their scans.

    Attributes:
        option: The option that names them.
        noun: What messages call one.
        suffixes: Ends of their names, after the name of the scan's outputs; the first is named in messages.
        otherwise: What is done for scans without one.
        short: Whether the name of a scan may lack its `_T1w` there.
    """

    option: str
    noun: str
    suffixes: tuple[str, ...]
    otherwise: str
    short: bool = False

    def stems(self, name: str) -> list[str]:
        """The names that a scan may have in the names of its masks."""
        return list(dict.fromkeys((name, name.removesuffix("_T1w") if self.short else name)))


BRAINS = MaskKind("--brain", "brain mask", (BRAIN_SUFFIX,), "brain extraction is used for them")
REFERENCES = MaskKind(
    "--reference",
    "reference mask",
    ("_reference.nii.gz", "_lesion.nii.gz", MASK_SUFFIX),
    "they are not scored",
    short=True,
)


def find_given(
    given: Path | None,
    scans: Mapping[str, Path],
    layout: OutputLayout,
    kind: MaskKind = BRAINS,
    *,
    perhaps_none: bool = False,
) -> dict[str, Path]:
    """Match the user's masks to scans.

    Args:
        given: A mask, if there is one scan; or a folder of masks named after the scans as `mapping` names its own, with
            any image suffix, in subfolders as in the layout or all in one folder. None if the user gives none.
        scans: Scans by the name of their outputs.
        kind: What they are masks of.
        layout: Names the outputs; these may be removed, so the user's masks must not be among them.
        perhaps_none: Whether the folder may hold only masks of other scans, since only part of a data set is chosen.

    Returns:
        Masks by the scans' names; scans without one are reported and left out.

    Raises:
        CaseError: There is no such file or folder, the folder holds no mask of any scan or two of one, a file is given
            for several scans, or a mask is an output itself.
    """
    if given is None or not scans:
        return {}
    expected = {
        name: [layout.relative(stem, suffix) for stem in kind.stems(name) for suffix in kind.suffixes] for name in scans
    }
    if given.is_dir() and not image_suffix(given):
        found = {name: mask for name in scans if (mask := _mask_named(given, expected[name]))}
        without = [name for name in scans if name not in found]
        if not found and not perhaps_none:
            raise CaseError(
                f"{given}: holds no {kind.noun} of any scan, expected names such as {expected[without[0]][0]}; "
                f"rename the masks, or leave {kind.option} out"
            )
        _report_without(given, without, len(scans), kind)
    elif leads_nowhere(given) or not given.exists():
        raise CaseError(f"{given}: {describe_missing(given)}")
    elif len(scans) > 1:
        raise CaseError(
            f"{given}: is the {kind.noun} of one scan, but {len(scans)} scans are given; name a folder with one mask "
            f"per scan, such as {next(iter(expected.values()))[0]}"
        )
    else:
        found = dict.fromkeys(scans, given)
    for name, mask in found.items():
        if mask.resolve() in {(layout.folder / own).resolve() for own in expected[name]}:
            raise CaseError(
                f"{mask}: is an output, which is removed when its scan is segmented again; copy the masks that "
                "you have corrected into a folder of their own, and name that"
            )
    return found


def _mask_named(folder: Path, outputs: Sequence[str]) -> Path | None:
    """The mask in a folder that is named like one of the outputs, with any image suffix, if there is one."""
    stems = [output.removesuffix(".nii.gz") for output in outputs]
    places = dict.fromkeys(
        folder / f"{named}{suffix}" for stem in stems for named in (stem, Path(stem).name) for suffix in IMAGE_SUFFIXES
    )
    found = [place for place in places if place.is_file() or leads_nowhere(place)]
    if len(found) > 1:
        raise CaseError(f"{found[0]}: {found[1]} is a mask of the same scan; move one of them away")
    return found[0] if found else None


def _report_without(folder: Path, without: Sequence[str], scans: int, kind: MaskKind) -> None:
    if without:
        count = f"{len(without)} of {counted(scans, 'scan')}"
        say(f"{folder}: holds no mask for {count} ({listed(without, LISTED)}); {kind.otherwise}")
