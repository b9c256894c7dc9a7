"""What the results of a scan are called in a BIDS derivative."""

from mapping_stroke.dataset.bids_names import BidsName, parse_bids_name
from mapping_stroke.errors import CaseError
from mapping_stroke.experiment.segment_files import (
    LESIONS_SUFFIX,
    PICTURE_SUFFIX,
    STAMP_SUFFIX,
    TRANSFORM_SUFFIX,
    UNCERTAINTY_SUFFIX,
)
from mapping_stroke.run_folder import BRAIN_SUFFIX, MASK_SUFFIX, OWNER_FILE, PROBABILITY_SUFFIX, SHARING

TEMPLATE = "MNI152NLin2009aSym"
"""What BIDS calls the space of ATLAS R2.0."""
KIND = "bids"
"""What `run.json` calls the work."""
LOGS = "logs"
"""Folder of what is known of each scan."""
LABELS_SUFFIX, LABEL_TABLE_SUFFIX = "_dseg.nii.gz", "_dseg.tsv"
MNI_MASK_SUFFIX, MNI_PROBABILITY_SUFFIX = "_mni_mask.nii.gz", "_mni_probability.nii.gz"

MAPS = {
    MASK_SUFFIX: "space-orig_label-L_desc-mapping_mask.nii.gz",
    PROBABILITY_SUFFIX: "space-orig_seg-mapping_label-L_probseg.nii.gz",
    UNCERTAINTY_SUFFIX: "space-orig_seg-mapping_label-L_desc-uncertainty_probseg.nii.gz",
    LABELS_SUFFIX: "space-orig_seg-lesions_dseg.nii.gz",
    BRAIN_SUFFIX: "space-orig_desc-brain_mask.nii.gz",
    MNI_MASK_SUFFIX: f"space-{TEMPLATE}_label-L_desc-mapping_mask.nii.gz",
    MNI_PROBABILITY_SUFFIX: f"space-{TEMPLATE}_seg-mapping_label-L_probseg.nii.gz",
}
"""Ends of the names in `anat/` that have a sidecar."""
TABLES = {
    LABEL_TABLE_SUFFIX: "space-orig_seg-lesions_dseg.tsv",
    LESIONS_SUFFIX: "space-orig_desc-mapping_lesions.tsv",
    TRANSFORM_SUFFIX: f"from-T1w_to-{TEMPLATE}_mode-image_xfm.txt",
}
IGNORED = (
    "*_lesions.tsv",
    "*_xfm.*",
    "sub-*/figures",
    f"{LOGS}/",
    f"{SHARING}/",
    OWNER_FILE,
    "CITATION.md",
    "group*",
)
"""What BIDS has no name for yet: lines of `.bidsignore`."""


def bids_output(name: str, suffix: str) -> str:
    """The path of a scan's result below the folder of the derivative.

    Args:
        name: Of the scan: its entities and `T1w`, such as `sub-1_ses-2_run-1_T1w`; or `*`.
        suffix: Of the result, as `mapping segment` calls it.
    """
    if suffix == STAMP_SUFFIX:
        return f"{LOGS}/{name}{suffix}"
    folder, base = ("sub-*/**", "*") if name == "*" else (_folder(_parsed(name)), _parsed(name).case_id)
    if suffix.endswith(PICTURE_SUFFIX):
        what = suffix.removesuffix(PICTURE_SUFFIX).strip("_") or "mapping"
        return f"{folder.split('/')[0]}/figures/{base}_desc-{what}_T1w.png"
    return f"{folder}/anat/{base}_{ {**MAPS, **TABLES}.get(suffix, suffix.lstrip('_')) }"


def sidecar(path: str) -> str:
    """The path of the JSON file that describes a map."""
    return f"{path.removesuffix('.nii.gz')}.json"


def _parsed(name: str) -> BidsName:
    found = parse_bids_name(name)
    if found is None:
        raise CaseError(f"{name}: is no BIDS name, expected sub-LABEL_..._T1w; rename the scan")
    return found


def _folder(name: BidsName) -> str:
    session = name.entities.get("ses")
    return f"sub-{name.entities['sub']}" + (f"/ses-{session}" if session else "")
