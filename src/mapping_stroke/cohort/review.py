"""Which segmented scans to check first, and what people say about them: a rating, a note, and a corrected mask."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mapping_stroke.cohort.results import STAMP_SUFFIX, OutputLayout
from mapping_stroke.dataset.names import parse_bids_name
from mapping_stroke.errors import (
    SCAN_FAILURES,
    CaseError,
    ConfigError,
    GeometryError,
    MappingError,
    describe_failure,
)
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.files import read_object, sha256, write_json
from mapping_stroke.images.image import Image, Mask, read_image, read_mask_of, require_same_grid, write_image
from mapping_stroke.run_folder import BRAIN_SUFFIX, EDITED_SUFFIX, MASK_SUFFIX

REVIEW_SUFFIX = "_review.json"
Rating = Literal["", "accept", "doubtful", "reject"]
"""Empty: not rated."""
LONGEST_NOTE = 2000
"""Characters of a note, at most."""
OUTSIDE_ML = 0.1
"""A warning is given if more than this was painted outside the brain."""


class ReviewConflictError(MappingError):
    """Somebody else has changed the review of this scan in the meantime."""


@dataclass(frozen=True)
class Review:
    """The review of a scan.

    Attributes:
        rating: One of `Rating`.
        note: Free text.
        rated: When it was last rated, ISO 8601 in UTC; empty for never.
        rated_sha256: Hash of the original mask at that time.
        edited: When the mask was last corrected; empty for never.
        edited_ml: Volume of the corrected mask.
        edited_dice: Dice of the corrected mask against the reference that the scan was segmented with; None without.
        mask_sha256: Hash of the original mask when it was corrected.
        revision: Raised by one at each change, so that two windows cannot overwrite one another.
    """

    rating: str = ""
    note: str = ""
    rated: str = ""
    edited: str = ""
    edited_ml: float | None = None
    edited_dice: float | None = None
    mask_sha256: str = ""
    revision: int = 0
    rated_sha256: str = ""


def read_review(layout: OutputLayout, name: str) -> Review:
    """The review of a scan; an empty one if nobody has reviewed it. Unknown entries of the file are ignored."""
    stored = read_object(layout.folder / layout.relative(name, REVIEW_SUFFIX))
    return Review(**{key: stored[key] for key in Review.__dataclass_fields__ if key in stored})


def rate_scan(layout: OutputLayout, name: str, rating: str, note: str, revision: int) -> Review:
    """Store a rating and a note, and return the new review.

    Args:
        layout: The results.
        name: Name of the scan.
        rating: One of `Rating`.
        note: Free text of at most `LONGEST_NOTE` characters.
        revision: Revision of the review that the person has seen.

    Raises:
        ReviewConflictError: It has been changed since.
        ConfigError: There is no such rating, or the note is too long.
        CaseError: The folder holds no results of this scan.
    """
    if rating not in get_args(Rating):
        raise ConfigError(f"no rating {rating!r}; expected one of {', '.join(get_args(Rating)[1:])}")
    if len(note) > LONGEST_NOTE:
        raise ConfigError(f"a note of {len(note)} characters, expected at most {LONGEST_NOTE}; shorten it")
    review = _seen(layout, name, revision)
    seen_sha256 = sha256(layout.folder / layout.relative(name, MASK_SUFFIX))
    return _write(layout, name, replace(review, rating=rating, note=note, rated=_now(), rated_sha256=seen_sha256))


def save_edit(layout: OutputLayout, name: str, mask: Mask, revision: int) -> tuple[Review, list[str]]:
    """Store a corrected mask as a file of its own; the original stays.

    Args:
        layout: The results.
        name: Name of the scan.
        mask: The corrected mask, on the grid of the original.
        revision: Revision of the review that the person has seen.

    Returns:
        The new review, and warnings.

    Raises:
        ReviewConflictError: The review has been changed since.
        GeometryError: The mask has another shape than the original.
        OSError: It cannot be written; what was stored before is still there.
    """
    review = _seen(layout, name, revision)
    path = layout.folder / layout.relative(name, MASK_SUFFIX)
    original = read_image(path)
    if mask.shape != original.shape:
        raise GeometryError(
            f"{name}: the corrected mask has shape {mask.shape}, its scan {original.shape}; open the scan again"
        )
    warnings = _outside(layout, name, mask, original)
    agreed = _dice(layout, name, mask, original, warnings)
    write_image(layout.folder / layout.relative(name, EDITED_SUFFIX), mask, original)
    volume_ml = round(int(mask.sum()) * original.voxel_volume_mm3 / 1000, 4)
    changed = replace(review, edited=_now(), edited_ml=volume_ml, edited_dice=agreed, mask_sha256=sha256(path))
    return _write(layout, name, changed), warnings


def final_mask(layout: OutputLayout, name: str) -> Path:
    """The final mask of a scan: the corrected one, or else the original."""
    edited = layout.folder / layout.relative(name, EDITED_SUFFIX)
    return edited if edited.is_file() else layout.folder / layout.relative(name, MASK_SUFFIX)


def is_outdated(layout: OutputLayout, name: str, review: Review) -> bool:
    """Whether the scan was segmented anew, with another mask, after its mask was corrected."""
    return _differs(layout, name, review.mask_sha256)


def is_rating_outdated(layout: OutputLayout, name: str, review: Review) -> bool:
    """Whether the scan was segmented anew, with another mask, after it was rated."""
    return _differs(layout, name, review.rated_sha256)


def _differs(layout: OutputLayout, name: str, known_sha256: str) -> bool:
    """Whether the original mask is not the one with that hash; false for an empty hash or without a mask."""
    path = layout.folder / layout.relative(name, MASK_SUFFIX)
    return bool(known_sha256 and path.is_file() and sha256(path) != known_sha256)


def _seen(layout: OutputLayout, name: str, revision: int) -> Review:
    """The stored review, which must be the one that the person has seen."""
    if not (layout.folder / layout.relative(name, STAMP_SUFFIX)).is_file():
        raise CaseError(f"{layout.folder}: holds no results of a scan {name!r}; open the folder again")
    review = read_review(layout, name)
    if review.revision != revision:
        raise ReviewConflictError(
            f"{name}: its review was changed in another window or by another person; open the scan again, then repeat "
            "your change"
        )
    return review


def _outside(layout: OutputLayout, name: str, mask: Mask, original: Image) -> list[str]:
    """A warning about what was painted outside the brain, if the brain is known."""
    path = layout.folder / layout.relative(name, BRAIN_SUFFIX)
    if not path.is_file():
        return []
    brain = read_image(path)
    require_same_grid(brain, original, (f"{path}: the brain mask", "its lesion mask"), "segment the scan again")
    outside_ml = float(np.count_nonzero(mask & (brain.voxels == 0))) * original.voxel_volume_mm3 / 1000
    return [f"{name}: {outside_ml:.1f} mL of the mask lie outside the brain"] if outside_ml > OUTSIDE_ML else []


def _dice(layout: OutputLayout, name: str, mask: Mask, original: Image, warnings: list[str]) -> float | None:
    """Dice against the scan's reference; None, and a warning, if there was one that cannot be read any more."""
    source = read_object(layout.folder / layout.relative(name, STAMP_SUFFIX)).get("source", {})
    if "reference" not in source:
        return None
    try:
        return round(dice(mask, read_mask_of(Path(source["reference"]), original)), 4)
    except SCAN_FAILURES as error:
        warnings.append(f"{name}: the corrected mask is not scored: {describe_failure(error)}")
        return None


def _write(layout: OutputLayout, name: str, review: Review) -> Review:
    changed = replace(review, revision=review.revision + 1)
    write_json(layout.folder / layout.relative(name, REVIEW_SUFFIX), asdict(changed))
    return changed


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Limits:
    """Limits beyond which a scan is flagged for review. They rather flag too many scans than too few."""

    similarity: float = 0.30
    """Correct registrations had at least 0.35; below 0.15 one is refused. See `benchmarks/results/registration.md`."""
    overlap: float = 0.75
    """Correct registrations had at least 0.80; below 0.60 one is refused."""
    agreement: float = 0.6
    """Share of the predictions (of the members, or of a single one and its mirror image) that mark a voxel of the mask,
    mean over the mask."""
    uncertain_ml: float = 10.0
    """Volume on which the predictions differ: at least this, and at least the share below of the load."""
    uncertain_share: float = 0.25
    load_ml: float = 300.0
    """Hardly any lesion load in ATLAS R2.0 exceeds this."""
    lesions: int = 15


LIMITS = Limits()


def review_reasons(entry: Mapping[str, Any], name: str) -> list[str]:
    """Reasons to review a scan, one phrase each, if there are any.

    Args:
        entry: The scan's entry in `run.json`, with the key `outdated` if the scan has changed since; empty if nothing
            is known. Results of older versions may lack `measures`.
        name: Name of the scan.
    """
    if not entry:
        return ["not segmented yet"]
    if entry["status"] == "failed":
        return [f"failed: {entry.get('error', 'reason not recorded')}"]
    outdated = [entry["outdated"]] if "outdated" in entry else []
    return [
        *outdated,
        *_name_reasons(name),
        *_fit_reasons(entry.get("measures", {})),
        *_lesion_reasons(entry),
        *entry["warnings"],
    ]


def _name_reasons(name: str) -> list[str]:
    parsed = parse_bids_name(name)
    if parsed is None or not parsed.medium:
        return []
    return [f"contrast medium (ce-{parsed.medium}): enhancing tissue may be marked or missed"]


def _fit_reasons(measures: Mapping[str, Any]) -> list[str]:
    similarity, overlap = measures.get("similarity"), measures.get("overlap")
    if similarity is None or overlap is None or (similarity >= LIMITS.similarity and overlap >= LIMITS.overlap):
        return []
    return [f"the registration is doubtful: similarity {similarity:.2f}, overlap {overlap:.2f}"]


def _lesion_reasons(entry: Mapping[str, Any]) -> list[str]:
    load_ml, lesions, measures = entry["load_ml"], entry["lesions"], entry.get("measures", {})
    agreement, uncertain_ml = measures.get("agreement"), measures.get("uncertain_ml")
    reasons = []
    if lesions == 0:
        reasons.append("no lesion found")
    if load_ml > LIMITS.load_ml:
        reasons.append(f"a load of {load_ml:.0f} mL is unusually large")
    if lesions > LIMITS.lesions:
        reasons.append(f"{lesions} lesions are unusually many")
    if agreement is not None and agreement < LIMITS.agreement:
        reasons.append(f"the predictions agree on only {agreement:.0%} of the mask")
    if uncertain_ml is not None and uncertain_ml >= max(LIMITS.uncertain_ml, LIMITS.uncertain_share * load_ml):
        reasons.append(f"the predictions differ on {uncertain_ml:.1f} mL")
    return reasons
