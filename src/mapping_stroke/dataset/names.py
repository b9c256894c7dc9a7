"""File names: BIDS entities, and patterns of plain folders."""

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.checks import Problem
from mapping_stroke.errors import CaseError, ConfigError
from mapping_stroke.files import may_be_file
from mapping_stroke.images.formats import IMAGE_SUFFIXES, image_suffix
from mapping_stroke.images.image import image_stem
from mapping_stroke.run_folder import BRAIN_SUFFIX

DERIVED_ENTITIES = ("space", "desc", "res", "den", "label", "seg")
"""Entities that describe how an image was derived; all others identify the scan."""
NATIVE_SPACES = ("", "orig", "native", "individual", "scanner", "t1w")
"""Values of `space` that mean the scan's own grid (lower case)."""


@dataclass(frozen=True)
class BidsName:
    """A name such as `sub-1_ses-2_space-orig_label-lesion_mask`.

    Attributes:
        entities: `sub`, `ses`, `space`, ... to their values, in the order of the name.
        words: Parts before the suffix that are not entities, such as `lesion` in `sub-1_lesion_mask`.
        suffix: The last part, such as `T1w` or `mask`.
    """

    entities: Mapping[str, str]
    words: tuple[str, ...]
    suffix: str

    @property
    def case_id(self) -> str:
        """The entities that identify the scan, such as `sub-1_ses-2`."""
        return "_".join(f"{key}-{value}" for key, value in self.entities.items() if key not in DERIVED_ENTITIES)

    @property
    def is_scan(self) -> bool:
        """Whether this is the name of a T1w scan; phase, real and imaginary images do not count."""
        return self.suffix == "T1w" and not self.words and self.entities.get("part", "mag") == "mag"

    @property
    def medium(self) -> str:
        """The contrast agent used for the scan, such as `gadolinium`; empty if there is none in the name."""
        return self.entities.get("ce", "")

    @property
    def is_lesion_mask(self) -> bool:
        """Whether this is the name of a lesion mask: `label-L` or the word lesion, and the suffix mask or roi."""
        words = (self.entities.get("label", ""), self.entities.get("desc", ""), *self.words)
        lesion = self.entities.get("label") == "L" or any("lesion" in word.lower() for word in words)
        return lesion and self.suffix in ("mask", "roi")


def parse_bids_name(stem: str) -> BidsName | None:
    """Parse a file name without its image suffix; None if it does not start with `sub-`."""
    *parts, suffix = stem.split("_")
    pairs = [part.partition("-") for part in parts]
    entities = {key: value for key, dash, value in pairs if dash}
    if not parts or pairs[0][0] != "sub" or not entities.get("sub") or "-" in suffix:
        return None
    return BidsName(entities, tuple(part for part in parts if "-" not in part), suffix)


def belongs(mask: BidsName, scan: BidsName) -> bool:
    """Whether a mask belongs to this scan: same person, session and space, and no conflicting entity.

    Entities that only the scan has (`run`, `acq`, ...) do not conflict; `desc` and `label` are never compared.
    """
    if any(mask.entities.get(key) != scan.entities.get(key) for key in ("sub", "ses")):
        return False
    if _space(mask) != _space(scan):
        return False
    names = [key for key in mask.entities if key not in DERIVED_ENTITIES]
    return all(_same(mask.entities[key], scan.entities.get(key, "")) for key in names)


def _space(name: BidsName) -> str:
    space = name.entities.get("space", "")
    return "" if space.lower() in NATIVE_SPACES else space


def _same(value: str, other: str) -> bool:
    if value.isdigit() and other.isdigit():
        return int(value) == int(other)
    return value == other


SCAN_ENDINGS = ("_t1w", "_t1")
"""Endings of scan names, in upper or lower case, the likeliest first; the rest of the name is the case id."""
NO_SCAN_WORDS = ("mask", "lesion", "label", "seg", "roi", "probability", "tissues")
"""An image whose name has a word with such an ending is not a scan, unless a pattern or ending identifies the scans."""
MASK_FOLDERS = ("lesions", "masks", "labels")
"""Folders that hold only masks; otherwise, masks are next to their scans."""
MASK_ENDINGS = (
    "_lesion",
    "_lesion_mask",
    "_lesion-mask",
    "_label-L_mask",
    "_label-lesion_mask",
    "_mask",
    "_label",
    "_seg",
)
"""Endings of mask names after the case id or scan name, the likeliest first; in `MASK_FOLDERS`, none is needed."""


@dataclass(frozen=True)
class Patterns:
    """Name patterns of the files in a plain folder; None stands for the usual names.

    Attributes:
        scans: Such as `*_T1w.nii.gz` or `*/T1.nii.gz`, relative to the data folder (`**/` is any folder). The case id
            is the text that matches the wildcards of the file name; without any, the folders with wildcards.
        masks: Such as `{id}_lesion.nii.gz` or `../masks/{id}*.nii`, relative to the scan's folder or the data folder.
            `{id}` is the case id, `{name}` the scan's file name without suffix.
    """

    scans: str | None = None
    masks: str | None = None

    def __post_init__(self) -> None:
        if "" in (self.scans, self.masks):
            raise ConfigError("--scans and --masks: expected a name pattern such as '*_T1w.nii.gz', got an empty one")

    @property
    def given(self) -> bool:
        """Whether there is a pattern."""
        return self.scans is not None or self.masks is not None


USUAL = Patterns()
"""No patterns: the usual names."""


def find_by_patterns(data: Path, images: Sequence[Path], patterns: Patterns) -> tuple[list[FoundCase], list[Problem]]:
    """Find scans and masks by name patterns.

    Args:
        data: The data set's folder.
        images: Its image files, relative to it.
        patterns: Patterns of scans and masks.

    Returns:
        Cases in the order of their scans' paths, and a problem for each with several masks.

    Raises:
        ConfigError: A pattern is malformed.
        CaseError: A mask pattern is given, but no scan has such a mask.
    """
    scans = _match_scans(images, patterns.scans) if patterns.scans else _guess_scans(images)
    known = set(images)
    cases: list[FoundCase] = []
    problems: list[Problem] = []
    for scan, case_id in scans:
        if patterns.masks:
            masks = [mask for mask in _match_masks(data, scan, case_id, patterns.masks) if mask != data / scan]
        else:
            masks = [data / mask for mask in _usual_masks(scan, case_id) if mask in known][:1]
        name = parse_bids_name(f"{case_id}_T1w")
        subject, session = (name.entities["sub"], name.entities.get("ses", "")) if name else (case_id, "")
        cases.append(FoundCase(case_id, subject, session, "", data / scan, masks[0] if masks else None))
        if len(masks) > 1:
            problems.append(_several_masks(cases[-1], masks))
    if patterns.masks and cases and not any(case.mask for case in cases):
        tried = _fill(patterns.masks, scans[0][0], scans[0][1])
        raise CaseError(f"{data}: no scan has a mask named '{patterns.masks}' (tried '{tried}' first); correct --masks")
    return cases, problems


def _several_masks(case: FoundCase, masks: Sequence[Path]) -> Problem:
    found = f"{len(masks)} masks match this scan: {', '.join(mask.name for mask in masks)}"
    return Problem("error", case.case_id, case.scan, found, "one", "match only one, with {id} in --masks PATTERN")


def _match_scans(images: Sequence[Path], pattern: str) -> list[tuple[Path, str]]:
    """Scans that match the user's pattern, and their ids."""
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise ConfigError(f"--scans '{pattern}': expected a pattern within the data folder; give a folder above it")
    try:
        expression = re.compile(_expression(pattern))
    except re.error as error:
        raise ConfigError(f"--scans '{pattern}': is not a name pattern ({error}); correct it") from error
    matches = [(image, expression.fullmatch(image.as_posix())) for image in images]
    return [(image, _id_of(match, image)) for image, match in matches if match]


def _id_of(match: re.Match[str], image: Path) -> str:
    parts = [part.strip("/").replace("/", "_") for part in match.groups() if part]
    return "_".join(part for part in parts if part) or image_stem(image)


def _expression(pattern: str) -> str:
    """A name pattern as a regular expression whose groups form the id.

    They capture the text from the first to the last wildcard of the file name, or else each folder with a wildcard.
    """
    *folders, name = pattern.split("/")
    pieces = _pieces(name)
    if len(pieces) == 1:
        return "".join(_folder(folder, capture=True) for folder in folders) + pieces[0]
    around = "".join(_folder(folder, capture=False) for folder in folders)
    return f"{around}{pieces[0]}({''.join(pieces[1:-1])}){pieces[-1]}"


def _folder(folder: str, *, capture: bool) -> str:
    """A folder's name and the following slash, as a regular expression."""
    if folder == "**":
        return "(.*/)?" if capture else "(?:.*/)?"
    pieces = _pieces(folder)
    joined = "".join(pieces)
    return f"({joined})/" if capture and len(pieces) > 1 else f"{joined}/"


def _pieces(name: str) -> list[str]:
    """Alternating plain text and wildcards, as regular expressions; the first and the last are text, perhaps empty."""
    # a capturing group makes `split` keep the separators, at odd places
    pieces = re.split(r"(\*+|\?|\[[^]]+\])", name)
    return [_wildcard(piece) if number % 2 else re.escape(piece) for number, piece in enumerate(pieces)]


def _wildcard(piece: str) -> str:
    if piece.startswith("["):
        return piece.replace("\\", "\\\\").replace("[!", "[^")
    return "[^/]" if piece == "?" else "[^/]*"


def _guess_scans(images: Sequence[Path]) -> list[tuple[Path, str]]:
    """Scans by the usual endings; if no image has one, every image without the name of a mask."""
    for ending in SCAN_ENDINGS:
        scans = [image for image in images if image_stem(image).lower().endswith(ending)]
        if scans:
            return [(scan, image_stem(scan)[: -len(ending)]) for scan in scans]
    return [(image, image_stem(image)) for image in without_brain_masks(images) if not _like_a_mask(image)]


def without_brain_masks(images: Sequence[Path]) -> list[Path]:
    """Images without the brain masks of scans or lesion masks next to them.

    Without such a neighbour, `p01_brain.nii.gz` may be a skull-stripped scan: other programs use this name.
    """
    there = {image.parent / image_stem(image) for image in images}
    ending = image_stem(Path(BRAIN_SUFFIX))

    def is_mask(image: Path) -> bool:
        stem = image_stem(image)
        of = image.parent / stem.removesuffix(ending)
        return stem.endswith(ending) and (of in there or of.with_name(f"{of.name}_mask") in there)

    return [image for image in images if not is_mask(image)]


def _like_a_mask(image: Path) -> bool:
    words = re.split(r"[^a-z0-9]+", image_stem(image).lower())
    folders = {part.lower() for part in image.parts[:-1]}
    return bool(folders & set(MASK_FOLDERS)) or any(word.endswith(NO_SCAN_WORDS) for word in words)


def _match_masks(data: Path, scan: Path, case_id: str, pattern: str) -> list[Path]:
    """The masks that match the user's pattern, relative to the scan or else to the data folder."""
    filled = _fill(pattern, scan, case_id)
    if Path(filled) == Path(Path(filled).anchor):  # empty, or only a root or drive
        raise ConfigError(f"--masks '{pattern}': expected the name of a file; correct it")
    if Path(filled).is_absolute():
        return _glob(Path(Path(filled).anchor), str(Path(*Path(filled).parts[1:])))
    return _glob(data / scan.parent, filled) or _glob(data, filled)


def _fill(pattern: str, scan: Path, case_id: str) -> str:
    try:
        return pattern.format(id=glob.escape(case_id), name=glob.escape(image_stem(scan)))
    except (KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"--masks '{pattern}': expected no braces but {{id}} and {{name}}; correct it") from error


def _glob(folder: Path, pattern: str) -> list[Path]:
    found = (Path(os.path.normpath(path)) for path in folder.glob(pattern) if may_be_file(path))
    return sorted(path for path in found if image_suffix(path))


def _usual_masks(scan: Path, case_id: str) -> Iterator[Path]:
    """Possible paths of a mask, relative to the data folder, the likeliest first."""
    for stem in dict.fromkeys((case_id, image_stem(scan))):
        for ending in MASK_ENDINGS:
            yield from (scan.parent / f"{stem}{ending}{suffix}" for suffix in IMAGE_SUFFIXES)
        for folder in MASK_FOLDERS:
            for ending in (*MASK_ENDINGS, ""):
                for place in dict.fromkeys((scan.parent / folder, scan.parent.parent / folder, Path(folder))):
                    yield from (place / f"{stem}{ending}{suffix}" for suffix in IMAGE_SUFFIXES)
