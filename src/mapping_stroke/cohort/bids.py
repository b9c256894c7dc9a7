"""`mapping bids`: segment a BIDS data set into a derivative that describes itself."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from mapping_stroke.cohort.bids_derivative import IGNORED, MAPS, TABLES, TEMPLATE, Derivative, bids_output, sidecar
from mapping_stroke.cohort.bids_group import BIDS_COLUMNS, NO_SCAN, write_group
from mapping_stroke.cohort.bids_scans import Choice, find_bids_scans, report_without
from mapping_stroke.cohort.group import OUTDATED, GroupRow
from mapping_stroke.cohort.group_files import GroupFiles
from mapping_stroke.cohort.inputs import find_given
from mapping_stroke.cohort.loop import Cohort, segment_cohort
from mapping_stroke.cohort.measures import find_to_mni
from mapping_stroke.cohort.methods import describe_methods
from mapping_stroke.cohort.regions import choose_atlas
from mapping_stroke.cohort.results import OutputLayout, ScanFiles, Stamp
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter
from mapping_stroke.cohort.settings import NO_REGIONS, Computation, RegionOptions, ScanOptions
from mapping_stroke.console import counted, say, warn
from mapping_stroke.errors import CaseError
from mapping_stroke.files import given_name, given_path, read_object, write_json, write_text
from mapping_stroke.inference.segmentation import Segmentation
from mapping_stroke.names import PAPER

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
    write_text(output / CITATION, describe_methods(segmenter).markdown())


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


_README = """# Stroke lesions found by MAPPING

A BIDS derivative, written by `mapping bids`. For every T1w scan, in `sub-*/[ses-*/]anat/`:

- `*_space-orig_label-L_desc-mapping_mask.nii.gz`: the lesions, on the scan's own grid
- `*_space-orig_seg-mapping_label-L_probseg.nii.gz`: mean lesion probability over the members of the model, or
  over the mirrorings of a single one
- `*_space-orig_seg-mapping_label-L_desc-uncertainty_probseg.nii.gz`: its standard deviation over the same
- `*_space-orig_seg-lesions_dseg.nii.gz`, `.tsv`: numbered lesions, and a row for each with volume and location
- `*_space-orig_desc-brain_mask.nii.gz`: the brain, if the scan was placed; its `.json` names the source
- `*_space-{template}_*`: mask and probability in MNI152 space, on the grid of ATLAS R2.0, if the scan was placed

Pictures for quality control are in `sub-*/figures/`. `logs/` has details of each scan, and `run.json` lists the scans
that were done, skipped or failed, with reasons. `group_lesions.tsv`, written by `mapping bids ... group`, has a row for
each scan and each participant without one; start with the rows whose column `review` says yes. `group.html` shows it,
and `group_overlap*.nii.gz` are lesion overlap maps in MNI152 space. `CITATION.md` has a methods text for a paper.
"""


@dataclass(frozen=True)
class BidsLayout(OutputLayout):
    """A BIDS derivative.

    Attributes:
        bids_dir: The data set.
    """

    bids_dir: Path
    kind: ClassVar[str] = "bids"
    group: ClassVar[GroupFiles] = GroupFiles("group")
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
        to_mni = find_to_mni(loaded, segmenter)
        return Derivative(self.bids_dir, made_by(segmenter)).write(files, loaded, found, to_mni)

    def end(self, scans: Mapping[str, Stamp], options: ScanOptions) -> None:
        """Nothing: `group` writes them."""


def segment_participants(
    layout: BidsLayout,
    choice: Choice,
    computation: Computation,
    brain: Path | None = None,
    regions: RegionOptions = NO_REGIONS,
    *,
    overwrite: bool = False,
) -> list[str]:
    """Segment the chosen T1w scans of a data set into a BIDS derivative, as `segment_cohort` does.

    Several processes may work on one derivative at once, on shares of it or all on the same scans.

    Args:
        layout: Data set and derivative.
        choice: The scans.
        computation: Model and how it is applied.
        brain: Folder of the user's own brain masks, named as in a derivative, see `find_given`.
        regions: The user's atlas.
        overwrite: See `segment_cohort`.

    Returns:
        The names of scans that failed.

    Raises:
        MappingError: There is no such data set, scan, model or atlas, or the folder holds something else.
    """
    atlas = choose_atlas(regions, BIDS_COLUMNS)
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
    cohort = Cohort(files, layout, ScanOptions(), scans.unclear, given, atlas=atlas)
    return segment_cohort(cohort, computation, overwrite=overwrite)


def report_group(layout: BidsLayout, choice: Choice, regions: RegionOptions = NO_REGIONS) -> list[GroupRow]:
    """Write the group's table and page, and report the number of scans to review (see `write_group`)."""
    atlas = choose_atlas(regions, BIDS_COLUMNS)
    scans = find_bids_scans(layout.bids_dir, choice)
    rows = write_group(layout.bids_dir, layout, scans, atlas)
    of_scans = [row for row in rows if row.values["status"] != NO_SCAN]
    flagged = sum(row.to_check for row in of_scans)
    say(f"{counted(len(of_scans), 'scan')}, {flagged} to review first")
    report_without(scans.without)
    missing = sum(row.values["status"] == "missing" for row in rows)
    if missing:
        warn(f"{counted(missing, 'scan')} of {layout.bids_dir} not segmented yet; run `participant` for them")
    for row in rows:
        if row.values["status"] == OUTDATED:
            warn(f"{row.values['scan']}: {row.reasons[0]}")
    return rows
