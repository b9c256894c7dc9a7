"""`mapping bids`: the scans of a BIDS data set segmented into a derivative that describes itself."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mapping_stroke.cohort.bids_derivative import (
    IGNORED,
    KIND,
    MAPS,
    TABLES,
    TEMPLATE,
    Derivative,
    bids_output,
    read_atlas,
    sidecar,
)
from mapping_stroke.cohort.bids_group import NO_SCAN, OUTDATED, GroupRow, write_group
from mapping_stroke.cohort.bids_scans import Choice, find_bids_scans, report_without
from mapping_stroke.cohort.inputs import find_given
from mapping_stroke.cohort.loop import describe_mirrorings, segment_cohort
from mapping_stroke.cohort.scan import WriteMore
from mapping_stroke.cohort.settings import Cohort, Method, SegmentConfig
from mapping_stroke.console import counted, say, warn
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import CaseError
from mapping_stroke.files import given_name, given_path, read_object, write_json, write_text
from mapping_stroke.report.pages import PAPER
from mapping_stroke.rules import PostprocessConfig

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE, README, CITATION = "dataset_description.json", ".bidsignore", "README.md", "CITATION.md"
DATASET_FILES = (DESCRIPTION, IGNORE, README, CITATION)


def made_by(method: Method) -> dict[str, object]:
    """Keys for the sidecar of every map."""
    card = method.bundle.card
    model = {"Name": card.name, "SHA256": method.bundle.sha256, "License": card.licence}
    return {"Model": model, "Preset": method.config.preset, "Rule": method.config.rule}


def write_dataset(bids_dir: Path, output: Path, method: Method) -> None:
    """Write the four files; they are the same for every process of one run but for the machine in `CITATION.md`."""
    write_json(output / DESCRIPTION, _describe(bids_dir, output, method))
    write_text(output / IGNORE, "".join(f"{line}\n" for line in IGNORED))
    write_text(output / README, _README.format(template=TEMPLATE))
    write_text(output / CITATION, citation(method))


def _describe(bids_dir: Path, output: Path, method: Method) -> dict[str, Any]:
    raw = read_object(bids_dir / DESCRIPTION)
    card = method.bundle.card
    source = {"DOI": raw["DatasetDOI"]} if raw.get("DatasetDOI") else {"URL": given_path(bids_dir).as_uri()}
    name = raw.get("Name") or given_name(bids_dir)
    return {
        "Name": f"Stroke lesions of {name}, by MAPPING",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **({"License": raw["License"]} if raw.get("License") else {}),
        "HowToAcknowledge": f"See {CITATION}. Please cite: {PAPER}",
        "GeneratedBy": [
            {
                "Name": "mapping-stroke",
                "Version": version("mapping-stroke"),
                "Description": f"Model {card.name} (SHA-256 {method.bundle.sha256}), preset {method.config.preset}, "
                f"rule {method.config.rule}; terms of the model: {card.licence or 'not told'}",
            }
        ],
        "SourceDatasets": [source],
        "DatasetLinks": {"raw": link(given_path(bids_dir), given_path(output))},
    }


def link(raw: Path, output: Path) -> str:
    """Where a data set lies, seen from a derivative, with `/`; as a URI where no relative path leads there.

    Links in the data set's path are not followed: they may lead to names that are not to be told.

    Args:
        raw: The data set, absolute.
        output: The derivative, absolute.
    """
    try:
        shared = Path(os.path.commonpath((raw, output)))
        if output.resolve() == shared.resolve() / output.relative_to(shared):  # else `..` leads elsewhere
            return Path(os.path.relpath(raw, output)).as_posix()
    except ValueError:  # on another drive of Windows
        pass
    return raw.as_uri()


def citation(method: Method) -> str:
    """Methods text for a paper, what to cite, and the model's terms."""
    card, ensemble, environment = method.bundle.card, method.ensemble, describe_environment(gpu=False)
    used = [member.card for member in ensemble.members]
    packages = ("torch", "openvino", "numpy", "scipy", "SimpleITK", "nibabel")
    versions = ", ".join(f"{package} {environment[package]}" for package in packages)
    registers = method.config.space == "native" or card.space == "MNI152"
    space = method.config.space if registers else "mni"
    mirrored = describe_mirrorings(ensemble)
    told = {
        "version": version("mapping-stroke"),
        "model": card.name,
        "sha256": method.bundle.sha256,
        "networks": "one network" if len(used) == 1 else f"an ensemble of {len(used)} networks",
        "schemes": ", ".join(dict.fromkeys(member.scheme for member in used)),
        "training": f" The networks were trained on: {card.training_data.strip()}" if card.training_data else "",
        "space": _SPACES[space],
        "cover": "in one window as large as the brain" if ensemble.window.cover == "window" else "in overlapping tiles",
        "mirror": f", each over {mirrored}" if mirrored else "",
        "average": "probabilities" if card.average == "probability" else "logits",
        "rule": method.config.rule,
        "levels": _levels(method.rule),
        "engine": ensemble.engine.description,
        "python": environment["python"],
        "versions": versions,
        "system": environment["system"],
        "cite": "\n".join(f"- {line}" for line in _to_cite(card.citation)),
        "licence": card.licence or "not told by its makers; ask them before you use it",
        "registered": _REGISTRATION if space != "mni" else "",
    }
    return _CITATION.format(**told)


def _to_cite(model: str) -> Sequence[str]:
    own = " ".join(model.split())
    return [PAPER] + ([f"the model: {own}"] if own and PAPER not in own else [])


def _levels(rule: PostprocessConfig) -> str:
    values = asdict(rule)
    small, large = values["small"], values["large"]
    unit = {"vox": "voxels", "mm3": "mm3"}[values["load_unit"]]
    return (
        f"loads below {values['small_load']:g} {unit} at P > 0.5: core P > {small['core']:g}, edge P > "
        f"{small['edge']:g}; larger ones: core P > {large['core']:g}, edge P > {large['edge']:g}; all levels are in "
        "run.json"
    )


_REGISTERED = (
    "corrected for its bias field (N4) and registered to MNI152 space by an affine transform (SimpleITK); the map of "
    "probabilities was brought back to the grid of the scan by linear interpolation."
)
_SPACES = {
    "auto": f"A scan that did not lie in MNI152 space was {_REGISTERED}",
    "native": f"Every scan was {_REGISTERED}",
    "mni": "Scans were not registered: they were read where they lay.",
}
_REGISTRATION = "- SimpleITK, for the registration: Lowekamp et al. 2013, https://doi.org/10.3389/fninf.2013.00045\n"
_CITATION = """# Methods and citations

This page was written by the run that made these results. The text may be used as it is; adapt it where you did more.

## Methods

Stroke lesions were segmented on T1-weighted scans by MAPPING (mapping-stroke {version}; Huo et al. 2022) with the model
"{model}" (SHA-256 {sha256}), {networks} ({schemes}).{training} {space}
The networks read every scan {cover}{mirror}; their {average} were averaged, and the mean was post-processed
by the rule "{rule}" ({levels}). Uncertainty is the standard deviation of the probability over the networks.
Lesions are face-connected. Computed on {engine} with Python {python}, {versions} ({system}).

Masks were not corrected by hand. *Say so, or say how many were looked at and corrected.*

## To cite

{cite}
{registered}
## Terms of the model

{licence}

For research. Not a medical device: no decision about a patient may rest on these results.
"""
_README = """# Stroke lesions found by MAPPING

A BIDS derivative, written by `mapping bids`. For every T1w scan, in `sub-*/[ses-*/]anat/`:

- `*_space-orig_label-L_desc-mapping_mask.nii.gz`: the lesions, on the scan's own grid
- `*_space-orig_seg-mapping_label-L_probseg.nii.gz`: mean probability of lesion over the members of the model
- `*_space-orig_seg-mapping_label-L_desc-uncertainty_probseg.nii.gz`: its standard deviation over the members
- `*_space-orig_seg-lesions_dseg.nii.gz`, `.tsv`: lesions by number, and a row for each with its volume and place
- `*_space-orig_desc-brain_mask.nii.gz`: the brain, where the scan was placed; its `.json` says who outlined it
- `*_space-{template}_*`: mask and probability in MNI152 space, on the grid of ATLAS R2.0, where the scan was placed

Pictures to check by eye are in `sub-*/figures/`. `logs/` tells what is known of each scan, `run.json` what was done,
skipped and failed, and why. `group_lesions.tsv` has a row per scan, and per participant without one, once
`mapping bids ... group` was run; begin with the rows whose column `review` says yes. `CITATION.md` has methods text
for a paper.
"""


OTHER_FILES = (
    *DATASET_FILES,
    *(bids_output("*", suffix) for suffix in (*MAPS, *TABLES)),
    *(sidecar(bids_output("*", suffix)) for suffix in MAPS),
)
"""Patterns of what `--overwrite` removes beside the usual results."""


def segment_participants(
    bids_dir: Path, output: Path, choice: Choice, model: str | Path, config: SegmentConfig, *, overwrite: bool = False
) -> list[str]:
    """Segment the chosen T1w scans of a data set into a BIDS derivative, as `segment_cohort` does.

    Several processes may work on one derivative at once, on shares of it or all on the same. The user's own masks of
    brains are found by the names that a derivative gives them, see `find_given`.

    Returns:
        The names of scans that failed.

    Raises:
        MappingError: There is no such data set, scan or model, or the folder holds something else.
    """
    scans = find_bids_scans(bids_dir, choice)
    report_without(scans.without)
    if not scans.cases and choice.participants and not choice.shard:
        raise CaseError(f"{bids_dir}: has no T1w scan of these participants; see above why, and name others")
    if not scans.cases:
        say(f"Share {choice.shard} of {bids_dir} has no scan: there are more shares than scans")
        return []

    def begin(method: Method) -> WriteMore:
        write_dataset(bids_dir, output, method)
        derivative = Derivative(bids_dir, config.space == "mni", made_by(method), len(method.ensemble.members))
        return derivative.write

    files = {name: case.scan for name, case in scans.cases.items()}
    given = find_given(config.brain, files, output, bids_output, perhaps_none=choice != Choice())
    cohort = Cohort(files, output, bids_output, KIND, OTHER_FILES, begin, scans.unclear, given)
    return segment_cohort(cohort, model, config, overwrite=overwrite)


def report_group(
    bids_dir: Path, output: Path, choice: Choice, atlas: Path | None = None, labels: Path | None = None
) -> list[GroupRow]:
    """Write the group's table and page, and say how many scans should be looked at; see `write_group`."""
    regions = read_atlas(atlas, labels) if atlas and labels else None
    scans = find_bids_scans(bids_dir, choice)
    rows = write_group(bids_dir, output, scans, regions)
    of_scans = [row for row in rows if row.values["status"] != NO_SCAN]
    flagged = sum(bool(row.reasons) for row in of_scans)
    say(f"{counted(len(of_scans), 'scan')}, {flagged} to be looked at first")
    report_without(scans.without)
    missing = sum(row.values["status"] == "missing" for row in rows)
    if missing:
        warn(f"{counted(missing, 'scan')} of {bids_dir} not segmented yet; run `participant` for them")
    for row in rows:
        if row.values["status"] == OUTDATED:
            warn(f"{row.values['scan']}: {row.reasons[0]}")
    return rows
