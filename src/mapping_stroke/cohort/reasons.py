"""Which segmented scans a person should check first, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mapping_stroke.dataset.names import parse_bids_name


@dataclass(frozen=True)
class Limits:
    """Limits beyond which a scan is flagged for review. They rather flag too many scans than too few."""

    similarity: float = 0.30
    """Correct registrations had at least 0.35; below 0.15 one is refused. See `benchmarks/results/registration.md`."""
    overlap: float = 0.75
    """Correct registrations had at least 0.80; below 0.60 one is refused."""
    agreement: float = 0.6
    """Share of the members that mark a voxel of the mask, mean over the mask."""
    uncertain_ml: float = 10.0
    """Volume on which the members disagree: at least this, and at least the share below of the load."""
    uncertain_share: float = 0.25
    load_ml: float = 300.0
    """Hardly any lesion load in ATLAS R2.0 exceeds this."""
    lesions: int = 15


LIMITS = Limits()


def review_reasons(entry: Mapping[str, Any], name: str, limits: Limits = LIMITS) -> list[str]:
    """Reasons to review a scan, one phrase each, if there are any.

    Args:
        entry: The scan's entry in `run.json`, with the key `outdated` if the scan has changed since; empty if nothing
            is known. Results of older versions may lack `measures`.
        name: Name of the scan.
        limits: Numbers beyond them are reasons.
    """
    if not entry:
        return ["not segmented yet"]
    if entry["status"] == "failed":
        return [f"failed: {entry.get('error', 'reason not recorded')}"]
    outdated = [entry["outdated"]] if "outdated" in entry else []
    return [
        *outdated,
        *_name_reasons(name),
        *_fit_reasons(entry.get("measures", {}), limits),
        *_lesion_reasons(entry, limits),
        *entry["warnings"],
    ]


def _name_reasons(name: str) -> list[str]:
    parsed = parse_bids_name(name)
    if parsed is None or not parsed.medium:
        return []
    return [f"contrast medium (ce-{parsed.medium}): enhancing tissue may be marked or missed"]


def _fit_reasons(measures: Mapping[str, Any], limits: Limits) -> list[str]:
    similarity, overlap = measures.get("similarity"), measures.get("overlap")
    if similarity is None or overlap is None or (similarity >= limits.similarity and overlap >= limits.overlap):
        return []
    return [f"the registration is doubtful: similarity {similarity:.2f}, overlap {overlap:.2f}"]


def _lesion_reasons(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    load_ml, lesions, measures = entry["load_ml"], entry["lesions"], entry.get("measures", {})
    agreement, uncertain_ml = measures.get("agreement"), measures.get("uncertain_ml")
    reasons = []
    if lesions == 0:
        reasons.append("no lesion found")
    if load_ml > limits.load_ml:
        reasons.append(f"a load of {load_ml:.0f} mL is unusually large")
    if lesions > limits.lesions:
        reasons.append(f"{lesions} lesions are unusually many")
    if agreement is not None and agreement < limits.agreement:
        reasons.append(f"the members agree on only {agreement:.0%} of the mask")
    if uncertain_ml is not None and uncertain_ml >= max(limits.uncertain_ml, limits.uncertain_share * load_ml):
        reasons.append(f"the members disagree on {uncertain_ml:.1f} mL")
    return reasons
