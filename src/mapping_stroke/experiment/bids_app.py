"""`mapping bids`: the scans of a BIDS data set segmented into a derivative, and the table of all of them."""

from pathlib import Path

from mapping_stroke.console import counted, say, warn
from mapping_stroke.errors import CaseError
from mapping_stroke.experiment.bids_dataset import DATASET_FILES, made_by, write_dataset
from mapping_stroke.experiment.bids_group import NO_SCAN, OUTDATED, GroupRow, write_group
from mapping_stroke.experiment.bids_outputs import KIND, MAPS, TABLES, bids_output, sidecar
from mapping_stroke.experiment.bids_participants import tell_without
from mapping_stroke.experiment.bids_regions import read_atlas
from mapping_stroke.experiment.bids_scans import Choice, find_bids_scans
from mapping_stroke.experiment.bids_writing import Derivative
from mapping_stroke.experiment.given_brains import find_given
from mapping_stroke.experiment.segment import segment_cohort
from mapping_stroke.experiment.segment_settings import Cohort, Method, SegmentConfig
from mapping_stroke.experiment.segment_writing import WriteMore

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
    tell_without(scans.without)
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


def tell_group(
    bids_dir: Path, output: Path, choice: Choice, atlas: Path | None = None, labels: Path | None = None
) -> list[GroupRow]:
    """Write the group's table and page, and say how many scans should be looked at; see `write_group`."""
    regions = read_atlas(atlas, labels) if atlas and labels else None
    scans = find_bids_scans(bids_dir, choice)
    rows = write_group(bids_dir, output, scans, regions)
    of_scans = [row for row in rows if row.values["status"] != NO_SCAN]
    flagged = sum(bool(row.reasons) for row in of_scans)
    say(f"{counted(len(of_scans), 'scan')}, {flagged} to be looked at first")
    tell_without(scans.without)
    missing = sum(row.values["status"] == "missing" for row in rows)
    if missing:
        warn(f"{counted(missing, 'scan')} of {bids_dir} not segmented yet; run `participant` for them")
    for row in rows:
        if row.values["status"] == OUTDATED:
            warn(f"{row.values['scan']}: {row.reasons[0]}")
    return rows
