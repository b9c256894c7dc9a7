"""Segment new scans: a set of files for each, failures recorded, nothing computed twice, also by several processes."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mapping_stroke.console import warn
from mapping_stroke.errors import CaseError, MappingError
from mapping_stroke.experiment.given_brains import find_given
from mapping_stroke.experiment.segment_inputs import find_scans, holds_dicom
from mapping_stroke.experiment.segment_loop import ScanRun, pass_over_finished, segment_all
from mapping_stroke.experiment.segment_notes import Notes, contents
from mapping_stroke.experiment.segment_reading import MemoryCheck
from mapping_stroke.experiment.segment_record import RunRecord
from mapping_stroke.experiment.segment_settings import Cohort, SegmentConfig, choose_method
from mapping_stroke.experiment.segment_telling import tell_end, tell_start
from mapping_stroke.experiment.sharing import shared
from mapping_stroke.run_folder import SHARING
from mapping_stroke.space.seen import require_use_of_brain

WITHOUT_LOCKS = (
    "another process is at work there or was killed, and this disk knows no file locks: each computes every scan, with "
    f"equal results; where no other one is, remove the folder {SHARING} in it"
)


def segment_scans(
    scans: Sequence[Path],
    output: Path,
    model: str | Path,
    config: SegmentConfig,
    *,
    pattern: str | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Segment scans into a folder: masks, probability, uncertainty, lesions and pictures of each, and `run.json`.

    Args:
        scans: T1w scans, or folders of them; their names without suffix must differ, since the outputs are named so.
        output: See `segment_cohort`, as for the other arguments.
        model: Likewise.
        config: Likewise.
        pattern: Which images of folders, see `find_scans`.
        overwrite: Likewise.

    Returns:
        The names of scans that failed; `run.json` tells why.

    Raises:
        MappingError: There is no scan, or see `segment_cohort`; or the only scan failed.
    """
    found = find_scans(scans, config.series, pattern)
    cohort = Cohort(found, output, brains=find_given(config.brain, found, output))
    if config.dicom_seg:
        _require_dicom(cohort)
    return segment_cohort(cohort, model, config, overwrite=overwrite, raise_alone=len(cohort.scans) == 1)


def segment_cohort(
    cohort: Cohort,
    model: str | Path,
    config: SegmentConfig,
    *,
    overwrite: bool = False,
    raise_alone: bool = False,
) -> list[str]:
    """Segment the scans of a cohort, those left out that are finished or that another process has in hand.

    Args:
        cohort: Scans, and a new folder, or one that the same model and settings wrote: finished scans are then left
            alone. Other processes may do the same at the same time.
        model: See `open_bundle`.
        config: Preset, rule, device, what is written.
        overwrite: Replace what another model or other settings wrote there.
        raise_alone: Raise the first failure of a scan instead of going on.

    Returns:
        The names of scans that failed, in whichever process; `run.json` tells why.

    Raises:
        MappingError: There is no such model or device, the folder holds something else, or there is no room on the
            disk.
    """
    output, method = cohort.output, choose_method(model, config)
    if cohort.brains:
        require_use_of_brain(method.bundle.card, config.space)
    identity = {"kind": cohort.kind, **method.identity()}
    ours = (*contents(output, cohort.naming), *cohort.others)
    no_room: MappingError | None = None
    with shared(output, identity, ours, overwrite=overwrite) as folder:
        record = RunRecord(output, Notes(output, cohort.naming), folder, method.facts())
        more = cohort.begin(method) if cohort.begin else None
        run = ScanRun(cohort, method, folder, record, MemoryCheck(method.ensemble), raise_alone, more)
        todo = pass_over_finished(run)
        if not folder.knows_locks and folder.has_others():
            warn(f"{output}: {WITHOUT_LOCKS}")
        tell_start(len(todo), len(cohort.scans), method)
        status = "stopped"
        try:
            segment_all(run, todo)
            status = "done"
        except MappingError as error:
            if not record.names("done"):
                raise
            no_room = error  # raised below, where it removes nothing that is finished
        finally:
            left = record.unsettled(todo) if status == "done" else []
            with suppress(OSError):  # on a full disk the record of before stays
                record.write(status, left)
    if no_room:
        raise no_room
    failed = [name for name in record.names("failed") if name in todo]
    if todo:
        tell_end(output, record, todo, failed, left)
    return failed


def _require_dicom(cohort: Cohort) -> None:
    """Raise where masks cannot be written as DICOM."""
    from mapping_stroke.interop.dicom_seg import require_highdicom

    require_highdicom()
    for scan in cohort.scans.values():
        if not holds_dicom(scan):
            raise CaseError(f"{scan}: is no DICOM, which --dicom-seg refers to; leave it out, or --dicom-seg")
