"""Choose the T1w series of a folder and read its voxels."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from mapping_stroke.errors import ImageError, LostContentError
from mapping_stroke.files import GET_CONTENT
from mapping_stroke.images.dicom_headers import Frames, Slice, read_frames
from mapping_stroke.images.dicom_series import NO_NUMBER, DicomSeries, find_series, lost_files, once_each
from mapping_stroke.images.dicom_volumes import FEWEST_SLICES
from mapping_stroke.images.nifti import Affine

T1W = re.compile(
    r"t1|mp-?_?rage|mp2-?_?rage|spgr|bravo|tfl|3d[ _-]?tfe|turbo[ _-]?flash|(^|[^a-z])mpr([^a-z]|$)", re.IGNORECASE
)
"""Matches names that users give to T1w scans."""
NO_T1W = re.compile(
    r"t1[ _-]?(map|rho)|mp2-?_?rage.*t1[ _-]?images|b1[ _-]?map|inv-?_?[12](\W|_|$)|localizer|scout|survey"
    r"|(^|[^a-z])loc([^a-z]|$)|mask|^(?!.*t1).*(t2|flair|swi|dwi|tof)",
    re.IGNORECASE,
)
"""Matches names that also match `T1W` but belong to something else."""
NO_SCAN = re.compile(r"LOCALIZER|PROJECTION IMAGE|MIP|MIN IP|P|(.*[ _])?MAP|MOSAIC|SUBTRACT(ION)?")
"""Image types of images that are not plain scans."""

_MEDIUM = r"(contrast|kontrast|gad[ao]|inje[ck]t|(gad|gd|km|mdc|inj|con)(?![a-z])|c(?![a-z0-9]))"
MEDIUM = re.compile(
    rf"(\+ ?|(?<![a-z])(post|with|w/|mit|nach|apr[eè]s|con|iv)[\W_]*){_MEDIUM}"
    r"|contrast|kontrast|gad[ao]|gd-?dtpa|(?<![a-z])(gad|gd|km|ce|mdc|inj|inject(ed|ion)|inject[eé]e?|c\+)(?![a-z])"
    r"|t1w?ce?(?![a-z])|dotarem|magnevist|prohance|omniscan|multihance|clariscan"
    r"|(?<![a-z])post(?![a-z0-9])(?![\W_]*(op|stroke|surg|treat|tx|ther|train|rehab|interv|tms|proc|test|mort|nat|rt))",
    re.IGNORECASE,
)
"""Matches names of scans with contrast medium."""
NO_MEDIUM = re.compile(
    r"(?<![a-z])(pre|before|without|w[/ _]*w?/?o|no|non|not|ohne|o\.|vor|sans|avant|senza|sin|sem"
    r"|high|hi|low|phase|multi|tissue|image)[\W_]*((and|und|et)[\W_]*)?((with|w/?|post|mit|after)[\W_]*)?" + _MEDIUM,
    re.IGNORECASE,
)
"""Matches names that mention contrast but mean none, one given later in the study, or image contrast."""


def looks_t1w(series: DicomSeries) -> bool:
    """Whether a series has a name typical of T1w scans."""
    names = [name for name in series.facts.names if name]
    return any(T1W.search(name) for name in names) and not any(NO_T1W.search(name) for name in names)


def no_scan_type(series: DicomSeries) -> str:
    """The image type, such as `T1 MAP`, that marks a series as not a plain scan, or empty if there is none."""
    return next((kind for kind in series.slices[0].image_type if NO_SCAN.fullmatch(kind)), "")


def names_medium(name: str) -> bool:
    """Whether a name indicates a scan after contrast medium."""
    return MEDIUM.search(NO_MEDIUM.sub(" ", name)) is not None


def has_medium(series: DicomSeries) -> bool:
    """Whether the names or the header of a series indicate a scan after contrast medium."""
    return series.facts.medium or any(names_medium(name) for name in series.facts.names)


def read_series(series: DicomSeries) -> tuple[Float32[np.ndarray, "x y z"], Affine, tuple[str, ...]]:
    """Read a series: voxels (column, row, slice) scaled by the header, the affine to RAS, and warnings.

    Raises:
        ImageError: Its slices do not stack, or a file is damaged or of an unsupported kind.
    """
    slices, affine = series.stacked()
    _require_one_scaling(slices)
    voxels = np.empty((series.facts.columns, series.facts.rows, len(slices)), dtype=np.float32)
    # a file with many frames is read once, since its slices follow each other
    opened: tuple[Path | None, Frames] = (None, np.zeros((0, 0, 0), np.float32))
    for index, slice_ in enumerate(slices):
        if opened[0] != slice_.file:
            opened = slice_.file, read_frames(slice_.file)
        voxels[:, :, index] = opened[1][slice_.frame].T
    return voxels, affine, _warnings(series)


def _warnings(series: DicomSeries) -> tuple[str, ...]:
    warnings = []
    if series.copies:
        warnings.append(f"{series.copies} of its DICOM files are copies of slices in others: one of each is read")
    warnings += series.left_aside()
    if not looks_t1w(series):
        warnings.append("the name of its DICOM series does not indicate a T1w scan: check that it is one")
    if series.preferred:
        warnings.append(
            f"of several DICOM series with this name, it was chosen because it {series.preferred}; choose another "
            "with --series NUMBER"
        )
    if kind := no_scan_type(series):
        warnings.append(
            f"the image type of its DICOM series, {kind}, indicates that it is not a plain scan: check that it is one"
        )
    if has_medium(series):
        origin = "name" if any(map(names_medium, series.facts.names)) else "header"
        warnings.append(f"its {origin} indicates contrast medium: enhancing tissue may be marked or missed")
    return tuple(warnings)


def _require_one_scaling(slices: Sequence[Slice]) -> None:
    """Raise if frames of one file are scaled differently, because GDCM scales all of them like the first."""
    if slices[0].file == slices[-1].file and len({slice_.scaling for slice_ in slices}) > 1:
        raise ImageError(
            "its frames have different rescale slopes, which is not supported; convert it with dcm2niix and pass the "
            "NIfTI file"
        )


VARIANT = re.compile(r"([ _-]+(nd|norm|rms|mean))+$")
"""Lower-case endings of names that scanners give to variants of a series."""
Criteria = Mapping[str, Callable[[DicomSeries], bool]]
SOUND: Criteria = {
    "is a scan, not a map or a phase image": lambda series: _is_scan(series),
    "makes a stack": lambda series: series.edges_mm() is not None,
    "is whole, not a single echo or volume of a series": lambda series: series.part == 0,
}
"""Reasons to prefer one of several variants of a series, the strongest first."""
CORRECTED: Criteria = {
    "is normalised (NORM)": lambda series: "NORM" in series.slices[0].image_type,
    "is corrected for distortion (not called ND)": lambda series: not re.search(r"[ _-]nd$", _name(series)),
}
"""Further reasons, among original images."""
FINE_SLICES, FINE_MM = 40, 3.0
"""A scan with at least this many slices, no farther apart, is three-dimensional."""
LISTED = 12
"""An error lists this many series."""


def choose_series(place: Path, wanted: str = "") -> DicomSeries:
    """The series of a folder to read.

    Args:
        place: A folder, searched with its subfolders; or a file with several frames.
        wanted: Number, UID or description of the series; empty for the one that looks like a T1w scan.

    Raises:
        ImageError: There is no such series, or it is unclear which one is meant; they are listed.
        LostContentError: Likewise, or slices of it may be missing, and there are broken links. At the end of a stack
            nothing else reveals such a loss.
    """
    found, lost = find_series(place), lost_files(place) if place.is_dir() else []
    try:
        if not found:
            remedy = "" if lost else "; check the folder, or copy it again"
            raise ImageError(f"holds no readable DICOM image{remedy}")
        series = _named(found, wanted) if wanted else _likely(found)
        _require_scan(series)
        if not wanted:
            _require_no_map(series)
    except ImageError as error:
        if lost:
            raise LostContentError(f"{place}: {error}; {_describe_lost(lost)}") from error
        raise ImageError(f"{place}: {error}") from error
    kinds = {(file.parent, file.suffix) for file in series.files}
    # only links like the series' own files can be its missing slices
    missed = [file for file in lost if (file.parent, file.suffix) in kinds]
    if missed or (lost and not wanted and not looks_t1w(series)):
        raise LostContentError(f"{place}: series {series.title} may be incomplete; {_describe_lost(missed or lost)}")
    return series


def _named(found: Sequence[DicomSeries], wanted: str) -> DicomSeries:
    chosen = [series for series in found if _is_called(series, wanted)]
    if len({_name(series) for series in chosen}) == 1:
        chosen = once_each(_narrow(chosen, {**SOUND, **CORRECTED}))
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise ImageError(f"{len(chosen)} series are called {wanted!r}: {_list(chosen)}; {_remedy(chosen)}")
    raise ImageError(f"no series is called {wanted!r}; it holds {_list(found)}; {_remedy(found)}")


def _is_called(series: DicomSeries, wanted: str) -> bool:
    names = (series.number, str(series.facts.number), series.facts.uid, *series.facts.names)
    return wanted.strip().casefold() in {name.casefold() for name in names if name}


def _likely(found: Sequence[DicomSeries]) -> DicomSeries:
    """The one series that best resembles a three-dimensional T1w scan, or the only volume."""
    volumes = [series for series in found if _is_scan(series)]
    named = [series for series in volumes if looks_t1w(series)]
    fine = _narrow([series for series in named if _is_fine(series)], SOUND)
    # derived series may be reformatted copies, so the original is preferred
    original = [series for series in fine if "DERIVED" not in series.slices[0].image_type]
    candidates = next((tier for tier in (original, fine, named, volumes) if tier), [])
    if named:  # without a telling name, no variant is better than another
        candidates = _narrow(candidates, {**SOUND, **CORRECTED})
    candidates = once_each(candidates)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        why = "look like a T1w scan" if named else "could be meant, and none is named like a T1w scan"
        raise ImageError(f"{len(candidates)} series {why}: {_list(candidates)}; {_remedy(candidates)}")
    if len(found) == 1:
        return found[0]
    raise ImageError(
        f"none of its series is an MR volume of at least {FEWEST_SLICES} slices; it holds {_list(found)}; pass "
        "the folder of the T1w scan"
    )


def _narrow(candidates: Sequence[DicomSeries], criteria: Criteria) -> list[DicomSeries]:
    """Reduce candidates of one study with the same name to the best by each criterion that any of them meets.

    Names are compared without the endings of variants. A scan before contrast medium is never replaced by one after.
    """
    if len({series.facts.study for series in candidates}) > 1:  # perhaps of several people: the user decides
        return list(candidates)
    groups: dict[tuple[str, bool], list[DicomSeries]] = {}
    for series in candidates:
        groups.setdefault((VARIANT.sub("", _name(series)), has_medium(series)), []).append(series)
    return [series for (name, _), group in groups.items() for series in (_best(group, criteria) if name else group)]


def _best(group: list[DicomSeries], criteria: Criteria) -> list[DicomSeries]:
    left = group
    reasons: list[str] = []
    for reason, holds in criteria.items():
        better = [series for series in left if holds(series)]
        if better and len(better) < len(left):
            left, reasons = better, [*reasons, reason]
    if not reasons:
        return left
    return [replace(series, preferred=" and ".join(filter(None, (series.preferred, *reasons)))) for series in left]


def _name(series: DicomSeries) -> str:
    """Description, or else protocol, in lower case."""
    return next((name for name in series.facts.names if name), "").casefold()


def _is_scan(series: DicomSeries) -> bool:
    facts = series.facts
    fits = facts.modality == "MR" and facts.samples == 1 and len(series.slices) >= FEWEST_SLICES
    return fits and not no_scan_type(series)


def _is_fine(series: DicomSeries) -> bool:
    edges_mm = series.edges_mm()
    return len(series.slices) >= FINE_SLICES and (edges_mm is None or edges_mm[2] <= FINE_MM)


def _require_scan(series: DicomSeries) -> None:
    """Raise for a series that cannot be an MR scan."""
    remedy = "pass the folder of the T1w scan, or its --series"
    if series.facts.modality != "MR":
        raise ImageError(f"series {series.title} has modality {series.facts.modality}, expected MR; {remedy}")
    if series.facts.samples != 1:
        raise ImageError(f"series {series.title} holds colours, expected one number per voxel; {remedy}")
    if len(series.slices) < 2:
        raise ImageError(f"series {series.title} is a single slice, expected a volume; {remedy}")


def _require_no_map(series: DicomSeries) -> None:
    """Raise for a map, a phase image or the like that was not requested explicitly."""
    if kind := no_scan_type(series):
        raise ImageError(
            f"series {series.title} has the image type {kind}, expected a scan; pass the folder of the T1w scan, or "
            f"choose this series anyway with --series {series.number}"
        )


def _describe_lost(lost: Sequence[Path]) -> str:
    links = "link in it leads to a file that is" if len(lost) == 1 else "links in it lead to files that are"
    return f"{len(lost)} {links} not here ({lost[0].name}): {GET_CONTENT}, or delete the broken links"


def _list(found: Sequence[DicomSeries]) -> str:
    """The series by title, with UIDs if numbers do not distinguish them."""
    numbers = [series.number for series in found]
    titles = [
        f"{series.title[:-1]}, UID {series.facts.uid or NO_NUMBER})"
        if numbers.count(series.number) > 1
        else series.title
        for series in found[:LISTED]
    ]
    more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return "; ".join(titles) + more


def _remedy(found: Sequence[DicomSeries]) -> str:
    if len({series.facts.study for series in found}) > 1:
        return "they belong to several studies: use a folder for each, or choose one with --series NUMBER (or UID)"
    numbers = {series.number for series in found}
    return f"choose one with --series {'NUMBER' if len(numbers) == len(found) else 'UID'}"
