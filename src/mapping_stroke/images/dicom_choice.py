"""Which series of a folder is the T1w scan, and its voxels."""

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
"""In a name that a scanner's user gave to a T1w scan."""
NO_T1W = re.compile(
    r"t1[ _-]?(map|rho)|mp2-?_?rage.*t1[ _-]?images|b1[ _-]?map|inv-?_?[12](\W|_|$)|localizer|scout|survey"
    r"|(^|[^a-z])loc([^a-z]|$)|mask|^(?!.*t1).*(t2|flair|swi|dwi|tof)",
    re.IGNORECASE,
)
"""In a name that has it, but belongs to something else."""
NO_SCAN = re.compile(r"LOCALIZER|PROJECTION IMAGE|MIP|MIN IP|P|(.*[ _])?MAP|MOSAIC|SUBTRACT(ION)?")
"""Image types of what is no scan of a head."""

_MEDIUM = r"(contrast|kontrast|gad[ao]|inje[ck]t|(gad|gd|km|mdc|inj|con)(?![a-z])|c(?![a-z0-9]))"
MEDIUM = re.compile(
    rf"(\+ ?|(?<![a-z])(post|with|w/|mit|nach|apr[eè]s|con|iv)[\W_]*){_MEDIUM}"
    r"|contrast|kontrast|gad[ao]|gd-?dtpa|(?<![a-z])(gad|gd|km|ce|mdc|inj|inject(ed|ion)|inject[eé]e?|c\+)(?![a-z])"
    r"|t1w?ce?(?![a-z])|dotarem|magnevist|prohance|omniscan|multihance|clariscan"
    r"|(?<![a-z])post(?![a-z0-9])(?![\W_]*(op|stroke|surg|treat|tx|ther|train|rehab|interv|tms|proc|test|mort|nat|rt))",
    re.IGNORECASE,
)
"""In the name of a scan after contrast medium."""
NO_MEDIUM = re.compile(
    r"(?<![a-z])(pre|before|without|w[/ _]*w?/?o|no|non|not|ohne|o\.|vor|sans|avant|senza|sin|sem"
    r"|high|hi|low|phase|multi|tissue|image)[\W_]*((and|und|et)[\W_]*)?((with|w/?|post|mit|after)[\W_]*)?" + _MEDIUM,
    re.IGNORECASE,
)
"""In a name that has such a word, but says that there is none, or only later in the study; or means the picture."""


def looks_t1w(series: DicomSeries) -> bool:
    """Whether a series is called what scanners' users call T1w scans."""
    names = [name for name in series.facts.names if name]
    return any(T1W.search(name) for name in names) and not any(NO_T1W.search(name) for name in names)


def no_scan_type(series: DicomSeries) -> str:
    """The image type that says that a series is no scan, such as `T1 MAP`; empty where none does."""
    return next((kind for kind in series.slices[0].image_type if NO_SCAN.fullmatch(kind)), "")


def names_medium(name: str) -> bool:
    """Whether a name says that contrast medium was given before the scan."""
    return MEDIUM.search(NO_MEDIUM.sub(" ", name)) is not None


def has_medium(series: DicomSeries) -> bool:
    """Whether a series' names, or its header, say that contrast medium was given before the scan."""
    return series.facts.medium or any(names_medium(name) for name in series.facts.names)


def read_series(series: DicomSeries) -> tuple[Float32[np.ndarray, "x y z"], Affine, tuple[str, ...]]:
    """Read a series: voxels (column, row, slice) scaled as the header says, the affine to RAS, and warnings.

    Raises:
        ImageError: Its slices do not stack, or a file is damaged or of a kind that is not read.
    """
    slices, affine = series.stacked()
    _require_one_scaling(slices)
    voxels = np.empty((series.facts.columns, series.facts.rows, len(slices)), dtype=np.float32)
    opened: tuple[Path | None, Frames] = (None, np.zeros((0, 0, 0), np.float32))
    for index, slice_ in enumerate(slices):
        if opened[0] != slice_.file:
            opened = slice_.file, read_frames(slice_.file)
        voxels[:, :, index] = opened[1][slice_.frame].T
    return voxels, affine, _warnings(series)


def _warnings(series: DicomSeries) -> tuple[str, ...]:
    warnings = []
    if series.copies:
        warnings.append(f"{series.copies} of its DICOM files hold slices that others hold, too: one of each is read")
    warnings += series.left_aside()
    if not looks_t1w(series):
        warnings.append("the name of its DICOM series does not say that it is a T1w scan: look whether it is")
    if series.preferred:
        warnings.append(
            f"of the DICOM series that are called like it, it is taken because it {series.preferred}; choose another "
            "with --series NUMBER"
        )
    if kind := no_scan_type(series):
        warnings.append(
            f"the image type of its DICOM series, {kind}, says that it is no plain scan: look whether it is"
        )
    if has_medium(series):
        where = "name" if any(map(names_medium, series.facts.names)) else "header"
        warnings.append(f"its {where} says contrast medium: enhancing tissue may be marked or missed")
    return tuple(warnings)


def _require_one_scaling(slices: Sequence[Slice]) -> None:
    """Raise where frames of one file are scaled differently: GDCM scales all of them like the first."""
    if slices[0].file == slices[-1].file and len({slice_.scaling for slice_ in slices}) > 1:
        raise ImageError(
            "its frames have different rescale slopes, which are not read; convert it with dcm2niix and give the NIfTI "
            "file"
        )


VARIANT = re.compile(r"([ _-]+(nd|norm|rms|mean))+$")
"""At the end of a name, in small letters, that the scanner gave to a variant of the series that it is called after."""
Criteria = Mapping[str, Callable[[DicomSeries], bool]]
SOUND: Criteria = {
    "is a scan, not a map or a phase image": lambda series: _is_scan(series),
    "makes a stack": lambda series: series.edges_mm() is not None,
    "is whole, not a single echo or volume of a series": lambda series: series.part == 0,
}
"""What speaks for one of several variants of a series, first things first."""
CORRECTED: Criteria = {
    "is normalised (NORM)": lambda series: "NORM" in series.slices[0].image_type,
    "is corrected for distortion (not called ND)": lambda series: not re.search(r"[ _-]nd$", _name(series)),
}
"""What else does, among original images."""
FINE_SLICES, FINE_MM = 40, 3.0
"""A scan with at least so many slices no farther apart is a three-dimensional one."""
LISTED = 12
"""Of more series than this, an error lists the first."""


def choose_series(place: Path, wanted: str = "") -> DicomSeries:
    """The series of a folder that is to be read.

    Args:
        place: A folder, which is searched below, too; or a file with several frames.
        wanted: Number, UID or description of the series; empty for the one that looks like a T1w scan.

    Raises:
        ImageError: There is no such series, or none or several could be meant; they are listed.
        LostContentError: Likewise, or slices of it may lack, and links lead to files that are not here. At an end of a
            stack nothing else shows such a loss.
    """
    found, lost = find_series(place), lost_files(place) if place.is_dir() else []
    try:
        if not found:
            remedy = "" if lost else "; check the folder, or copy it again"
            raise ImageError(f"holds no DICOM image that can be read{remedy}")
        series = _named(found, wanted) if wanted else _likely(found)
        _require_scan(series)
        if not wanted:
            _require_no_map(series)
    except ImageError as error:
        if lost:
            raise LostContentError(f"{place}: {error}; {_describe_lost(lost)}") from error
        raise ImageError(f"{place}: {error}") from error
    beside = {(file.parent, file.suffix) for file in series.files}
    missed = [file for file in lost if (file.parent, file.suffix) in beside]
    if missed or (lost and not wanted and not looks_t1w(series)):
        raise LostContentError(f"{place}: series {series.title} may not be all of it; {_describe_lost(missed or lost)}")
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
    """The only series that looks most like a three-dimensional T1w scan, or the only volume there is."""
    volumes = [series for series in found if _is_scan(series)]
    named = [series for series in volumes if looks_t1w(series)]
    fine = _narrow([series for series in named if _is_fine(series)], SOUND)
    original = [series for series in fine if "DERIVED" not in series.slices[0].image_type]
    candidates = next((tier for tier in (original, fine, named, volumes) if tier), [])
    if named:
        candidates = _narrow(candidates, {**SOUND, **CORRECTED})
    candidates = once_each(candidates)
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        what = "look like a T1w scan" if named else "could be meant, and none is called a T1w scan"
        raise ImageError(f"{len(candidates)} series {what}: {_list(candidates)}; {_remedy(candidates)}")
    if len(found) == 1:
        return found[0]
    raise ImageError(
        f"none of its series is an MR volume of {FEWEST_SLICES} slices or more; it holds {_list(found)}; give "
        "the folder of the T1w scan"
    )


def _narrow(candidates: Sequence[DicomSeries], criteria: Criteria) -> list[DicomSeries]:
    """The candidates of one study, of those with one name only the best: by each criterion that any of them meets.

    Names count without what the scanner adds to variants. A scan before contrast medium never gives way to one after.
    """
    if len({series.facts.study for series in candidates}) > 1:
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
    """Description, or else protocol, in small letters."""
    return next((name for name in series.facts.names if name), "").casefold()


def _is_scan(series: DicomSeries) -> bool:
    facts = series.facts
    fits = facts.modality == "MR" and facts.samples == 1 and len(series.slices) >= FEWEST_SLICES
    return fits and not no_scan_type(series)


def _is_fine(series: DicomSeries) -> bool:
    edges_mm = series.edges_mm()
    return len(series.slices) >= FINE_SLICES and (edges_mm is None or edges_mm[2] <= FINE_MM)


def _require_scan(series: DicomSeries) -> None:
    """Raise for what no wish can turn into an MR scan."""
    remedy = "give the folder of the T1w scan, or its --series"
    if series.facts.modality != "MR":
        raise ImageError(f"series {series.title} has modality {series.facts.modality}, expected MR; {remedy}")
    if series.facts.samples != 1:
        raise ImageError(f"series {series.title} holds colours, expected one number a voxel; {remedy}")
    if len(series.slices) < 2:
        raise ImageError(f"series {series.title} is a single slice, expected a volume; {remedy}")


def _require_no_map(series: DicomSeries) -> None:
    """Raise for a map, a phase image or the like that nobody has asked for."""
    if kind := no_scan_type(series):
        raise ImageError(
            f"series {series.title} has the image type {kind}, expected a scan; give the folder of the T1w scan, or "
            f"take it all the same with --series {series.number}"
        )


def _describe_lost(lost: Sequence[Path]) -> str:
    lead = "link in it leads to a file that is" if len(lost) == 1 else "links in it lead to files that are"
    return f"{len(lost)} {lead} not here ({lost[0].name}): {GET_CONTENT}, or else delete what leads nowhere"


def _list(found: Sequence[DicomSeries]) -> str:
    """The series by title; with UIDs where numbers are not enough to tell them apart."""
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
        return "they belong to several studies: give a folder each, or choose one with --series NUMBER (or UID)"
    numbers = {series.number for series in found}
    return f"choose one with --series {'NUMBER' if len(numbers) == len(found) else 'UID'}"
