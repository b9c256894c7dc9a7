"""Which scans of a cohort a person should look at first, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mapping_stroke.dataset.bids_names import parse_bids_name


@dataclass(frozen=True)
class Limits:
    """Beyond these a scan is flagged: rather too often than too seldom, and nothing is refused."""

    similarity: float = 0.30
    """Right registrations had 0.35 and more; below 0.15 one is refused. See `benchmarks/results/registration.md`."""
    overlap: float = 0.75
    """Right registrations had 0.80 and more; below 0.60 one is refused."""
    agreement: float = 0.6
    """Share of the members that see a voxel of the mask, mean over the mask."""
    uncertain_ml: float = 10.0
    """Volume about which the members disagree: at least this, and at least the share below of the load."""
    uncertain_share: float = 0.25
    load_ml: float = 300.0
    """No lesion load in ATLAS R2.0 is much above this."""
    lesions: int = 15


LIMITS = Limits()


def review_reasons(entry: Mapping[str, Any], name: str, limits: Limits = LIMITS) -> list[str]:
    """Why a person should look at a scan, a phrase each; empty where nothing speaks for it.

    Args:
        entry: What `run.json` says of the scan, and under `outdated` why that is not of the scan as it is now; empty if
            nothing is known.
        name: Of the scan: its entities and `T1w`.
        limits: Beyond which a number is a reason.
    """
    if not entry:
        return ["not segmented yet"]
    if entry["status"] == "failed":
        return [f"failed: {entry.get('error', 'nobody knows why')}"]
    outdated = [entry["outdated"]] if "outdated" in entry else []
    return [*outdated, *_of_name(name), *_of_place(entry, limits), *_of_lesions(entry, limits), *entry["warnings"]]


def _of_name(name: str) -> list[str]:
    parsed = parse_bids_name(name)
    if parsed is None or not parsed.medium:
        return []
    return [f"contrast medium (ce-{parsed.medium}): enhancing tissue may be marked or missed"]


def _of_place(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    similarity, overlap = (entry["measures"].get(name) for name in ("similarity", "overlap"))
    if similarity is None or (similarity >= limits.similarity and overlap >= limits.overlap):
        return []
    return [f"the registration is doubtful: similarity {similarity:.2f}, overlap {overlap:.2f}"]


def _of_lesions(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    load_ml, lesions, measures = entry["load_ml"], entry["lesions"], entry["measures"]
    agreement, uncertain_ml = measures["agreement"], measures["uncertain_ml"]
    reasons = []
    if lesions == 0:
        reasons.append("no lesion found")
    if load_ml > limits.load_ml:
        reasons.append(f"a load of {load_ml:.0f} mL is extraordinarily large")
    if lesions > limits.lesions:
        reasons.append(f"{lesions} lesions are many")
    if agreement is not None and agreement < limits.agreement:
        reasons.append(f"the members agree on {agreement:.0%} of the mask only")
    if uncertain_ml is not None and uncertain_ml >= max(limits.uncertain_ml, limits.uncertain_share * load_ml):
        reasons.append(f"the members disagree about {uncertain_ml:.1f} mL")
    return reasons
