"""What its names and image types tell of a series: whether it is a T1w scan, no scan at all, or has contrast medium."""

import re

from mapping_stroke.dicom.series import DicomSeries

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
