"""`mapping bids`: segment a BIDS data set into a derivative that describes itself."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from mapping_stroke.cohort.bids_derivative import IGNORED, MAPS, TABLES, TEMPLATE, Derivative, bids_output, sidecar
from mapping_stroke.cohort.bids_group import NO_SCAN, OUTDATED, GroupRow, read_atlas, write_group
from mapping_stroke.cohort.bids_scans import Choice, find_bids_scans, report_without
from mapping_stroke.cohort.inputs import find_given
from mapping_stroke.cohort.loop import Cohort, describe_mirrorings, segment_cohort
from mapping_stroke.cohort.results import OutputLayout, ScanFiles, Stamp
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter
from mapping_stroke.cohort.settings import Computation, ScanOptions
from mapping_stroke.console import counted, say, warn
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import CaseError
from mapping_stroke.files import given_name, given_path, read_object, write_json, write_text
from mapping_stroke.inference.segmentation import Segmentation
from mapping_stroke.report.pages import PAPER
from mapping_stroke.rules import PostprocessConfig

BIDS_VERSION = "1.10.0"
DESCRIPTION, IGNORE, README, CITATION = "dataset_description.json", ".bidsignore", "README.md", "CITATION.md"
DATASET_FILES = (DESCRIPTION, IGNORE, README, CITATION)


def made_by(segmenter: Segmenter) -> dict[str, object]:
    """Entries that the sidecars of all maps share."""
    card, computation = segmenter.bundle.card, segmenter.computation
    model = {"Name": card.name, "SHA256": segmenter.bundle.sha256, "License": card.licence}
    return {"Model": model, "Preset": computation.preset, "Rule": computation.rule}


def write_dataset(bids_dir: Path, output: Path, segmenter: Segmenter) -> None:
    """Write the four files of the data set. Between processes of one run, only the machine in `CITATION.md` differs."""
    write_json(output / DESCRIPTION, _describe(bids_dir, output, segmenter))
    write_text(output / IGNORE, "".join(f"{line}\n" for line in IGNORED))
    write_text(output / README, _README.format(template=TEMPLATE))
    write_text(output / CITATION, citation(segmenter))


def _describe(bids_dir: Path, output: Path, segmenter: Segmenter) -> dict[str, Any]:
    raw = read_object(bids_dir / DESCRIPTION)
    card, computation = segmenter.bundle.card, segmenter.computation
    # a DOI identifies the data set anywhere, a path only here
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
                "Description": f"Model {card.name} (SHA-256 {segmenter.bundle.sha256}), preset {computation.preset}, "
                f"rule {computation.rule}; terms of the model: {card.licence or 'not stated'}",
            }
        ],
        "SourceDatasets": [source],
        "DatasetLinks": {"raw": link(given_path(bids_dir), given_path(output))},
    }


def link(raw: Path, output: Path) -> str:
    """The path of a data set relative to a derivative, with `/`, or a URI if there is no relative path.

    Links in the data set's path are not followed, since their targets may contain names that should stay private.

    Args:
        raw: The data set, absolute.
        output: The derivative, absolute.
    """
    try:
        shared = Path(os.path.commonpath((raw, output)))
        if output.resolve() == shared.resolve() / output.relative_to(shared):  # not if `..` crosses a link
            return Path(os.path.relpath(raw, output)).as_posix()
    except ValueError:  # on another drive of Windows
        pass
    return raw.as_uri()


def citation(segmenter: Segmenter) -> str:
    """Methods text for a paper, references, and the terms of the model."""
    card, ensemble, environment = segmenter.bundle.card, segmenter.ensemble, describe_environment(gpu=False)
    computation = segmenter.computation
    used = [member.card for member in ensemble.members]
    packages = ("torch", "openvino", "numpy", "scipy", "SimpleITK", "nibabel")
    versions = ", ".join(f"{package} {environment[package]}" for package in packages)
    registers = computation.space == "native" or card.space == "MNI152"
    space = computation.space if registers else "mni"
    mirrored = describe_mirrorings(ensemble)
    values = {
        "version": version("mapping-stroke"),
        "model": card.name,
        "sha256": segmenter.bundle.sha256,
        "networks": "one network" if len(used) == 1 else f"an ensemble of {len(used)} networks",
        "schemes": ", ".join(dict.fromkeys(member.scheme for member in used)),
        "training": f" The networks were trained on: {card.training_data.strip()}" if card.training_data else "",
        "space": _SPACES[space],
        "cover": "on a single brain-sized window" if ensemble.window.cover == "window" else "in overlapping tiles",
        "mirror": f", each over {mirrored}" if mirrored else "",
        "average": "probabilities" if card.average == "probability" else "logits",
        "rule": computation.rule,
        "levels": _levels(segmenter.rule),
        "engine": ensemble.engine.description,
        "python": environment["python"],
        "versions": versions,
        "system": environment["system"],
        "cite": "\n".join(f"- {line}" for line in _to_cite(card.citation)),
        "licence": card.licence or "not stated by its authors; ask them before you use it",
        "registered": _REGISTRATION if space != "mni" else "",
    }
    return _CITATION.format(**values)


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
    "corrected for its bias field (N4) and registered to MNI152 space by an affine transform (SimpleITK); the "
    "probability map was resampled to the grid of the scan by linear interpolation."
)
_SPACES = {
    "auto": f"A scan that did not lie in MNI152 space was {_REGISTERED}",
    "native": f"Every scan was {_REGISTERED}",
    "mni": "Scans were not registered.",
}
_REGISTRATION = "- SimpleITK, for the registration: Lowekamp et al. 2013, https://doi.org/10.3389/fninf.2013.00045\n"
_CITATION = """# Methods and citations

This page was written by the run that produced these results. You may use the text as it is; adapt it if you did more.

## Methods

Stroke lesions were segmented on T1-weighted scans by MAPPING (mapping-stroke {version}; Huo et al. 2022) with the model
"{model}" (SHA-256 {sha256}), {networks} ({schemes}).{training} {space}
The networks were applied {cover}{mirror}; their {average} were averaged, and the mean was post-processed
by the rule "{rule}" ({levels}). Uncertainty is the standard deviation of the probability over the networks.
Lesions are face-connected. Computed on {engine} with Python {python}, {versions} ({system}).

Masks were not corrected by hand. *Keep this sentence, or state how many were reviewed and corrected.*

## To cite

{cite}
{registered}
## Terms of the model

{licence}

For research only. Not a medical device: do not base decisions about a patient on these results.
"""
_README = """# Stroke lesions found by MAPPING

A BIDS derivative, written by `mapping bids`. For every T1w scan, in `sub-*/[ses-*/]anat/`:

- `*_space-orig_label-L_desc-mapping_mask.nii.gz`: the lesions, on the scan's own grid
- `*_space-orig_seg-mapping_label-L_probseg.nii.gz`: mean lesion probability over the members of the model
- `*_space-orig_seg-mapping_label-L_desc-uncertainty_probseg.nii.gz`: its standard deviation over the members
- `*_space-orig_seg-lesions_dseg.nii.gz`, `.tsv`: numbered lesions, and a row for each with volume and location
- `*_space-orig_desc-brain_mask.nii.gz`: the brain, if the scan was placed; its `.json` names the source
- `*_space-{template}_*`: mask and probability in MNI152 space, on the grid of ATLAS R2.0, if the scan was placed

Pictures for quality control are in `sub-*/figures/`. `logs/` has details of each scan, and `run.json` lists the scans
that were done, skipped or failed, with reasons. `group_lesions.tsv`, written by `mapping bids ... group`, has a row for
each scan and each participant without one; start with the rows whose column `review` says yes. `CITATION.md` has a
methods text for a paper.
"""


@dataclass(frozen=True)
class BidsLayout(OutputLayout):
    """A BIDS derivative.

    Attributes:
        bids_dir: The data set.
    """

    bids_dir: Path
    kind: ClassVar[str] = "bids"
    extra_patterns: ClassVar[tuple[str, ...]] = (
        *DATASET_FILES,
        *(bids_output("*", suffix) for suffix in (*MAPS, *TABLES)),
        *(sidecar(bids_output("*", suffix)) for suffix in MAPS),
    )

    def relative(self, name: str, suffix: str) -> str:
        """See `bids_output`."""
        return bids_output(name, suffix)

    def begin(self, segmenter: Segmenter) -> None:
        """Write the files that describe the data set."""
        write_dataset(self.bids_dir, self.folder, segmenter)

    def write_extra(self, files: ScanFiles, loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> Stamp:
        """Write numbered lesions, maps in MNI152 space and sidecars."""
        in_mni, members = segmenter.computation.space == "mni", len(segmenter.ensemble.members)
        return Derivative(self.bids_dir, in_mni, made_by(segmenter), members).write(files, loaded, found)


def segment_participants(
    layout: BidsLayout, choice: Choice, computation: Computation, brain: Path | None = None, *, overwrite: bool = False
) -> list[str]:
    """Segment the chosen T1w scans of a data set into a BIDS derivative, as `segment_cohort` does.

    Several processes may work on one derivative at once, on shares of it or all on the same scans.

    Args:
        layout: Data set and derivative.
        choice: The scans.
        computation: Model and how it is applied.
        brain: Folder of the user's own brain masks, named as in a derivative, see `find_given`.
        overwrite: See `segment_cohort`.

    Returns:
        The names of scans that failed.

    Raises:
        MappingError: There is no such data set, scan or model, or the folder holds something else.
    """
    scans = find_bids_scans(layout.bids_dir, choice)
    report_without(scans.without)
    if not scans.cases and choice.participants and not choice.shard:
        raise CaseError(
            f"{layout.bids_dir}: has no T1w scan of these participants, for the reasons above; name other participants"
        )
    if not scans.cases:
        say(f"Share {choice.shard} of {layout.bids_dir} has no scan: there are more shares than scans")
        return []
    files = {name: case.scan for name, case in scans.cases.items()}
    given = find_given(brain, files, layout, perhaps_none=choice != Choice())
    return segment_cohort(Cohort(files, layout, ScanOptions(), scans.unclear, given), computation, overwrite=overwrite)


def report_group(
    layout: BidsLayout, choice: Choice, atlas: Path | None = None, labels: Path | None = None
) -> list[GroupRow]:
    """Write the group's table and page, and report the number of scans to review (see `write_group`)."""
    regions = read_atlas(atlas, labels) if atlas and labels else None
    scans = find_bids_scans(layout.bids_dir, choice)
    rows = write_group(layout.bids_dir, layout, scans, regions)
    of_scans = [row for row in rows if row.values["status"] != NO_SCAN]
    flagged = sum(bool(row.reasons) for row in of_scans)
    say(f"{counted(len(of_scans), 'scan')}, {flagged} to review first")
    report_without(scans.without)
    missing = sum(row.values["status"] == "missing" for row in rows)
    if missing:
        warn(f"{counted(missing, 'scan')} of {layout.bids_dir} not segmented yet; run `participant` for them")
    for row in rows:
        if row.values["status"] == OUTDATED:
            warn(f"{row.values['scan']}: {row.reasons[0]}")
    return rows
