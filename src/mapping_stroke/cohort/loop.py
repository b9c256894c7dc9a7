"""`mapping segment`: one scan after another, also by several processes; a failure is noted and the rest go on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from mapping_stroke.cohort.inputs import find_given, find_scans, holds_dicom
from mapping_stroke.cohort.record import Notes, RunRecord, contents
from mapping_stroke.cohort.results import ScanFiles, WriteDicom
from mapping_stroke.cohort.scan import (
    LoadedScan,
    MemoryCheck,
    Stamp,
    WriteMore,
    read_ahead,
    read_scan,
    write_behind,
    write_scan,
)
from mapping_stroke.cohort.settings import Cohort, Method, SegmentConfig, choose_method
from mapping_stroke.cohort.shared_folder import SharedFolder, shared
from mapping_stroke.console import counted, duration, progress, say, warn
from mapping_stroke.environment import peak_memory_bytes
from mapping_stroke.errors import SCAN_FAILURES, CaseError, MappingError, describe_failure, stops_all
from mapping_stroke.files import require_space
from mapping_stroke.inference.cost import estimate_seconds, measure_flop_per_s
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import Segmentation, segment_scan
from mapping_stroke.run_folder import OWNER_FILE, SHARING
from mapping_stroke.space.model_input import make_ready, require_use_of_brain

LONG_FLOP = 1e12
"""From here on the time is foretold; less takes seconds everywhere."""
NAMED = 10
"""Of more scans that others have in hand, the rest is counted."""


def report_start(todo: int, scans: int, method: Method) -> None:
    """Say how many scans are segmented, and how."""
    finished = scans - todo
    if finished:
        say(f"{counted(finished, 'scan')} of {scans} {'is' if finished == 1 else 'are'} finished already")
    if todo:
        ensemble, config = method.ensemble, method.config
        used = f"{len(ensemble.members)} of {counted(len(method.bundle.card.members), 'member')}"
        mirrored = describe_mirrorings(ensemble)
        how = f"preset {config.preset}, rule {config.rule}" + (f", {mirrored} each" if mirrored else "")
        say(f"Segmenting {counted(todo, 'scan')} with {used} ({how}) on {ensemble.engine.description}")


def describe_mirrorings(ensemble: Ensemble) -> str:
    """Over how many mirrorings of each patch the members average, as `8 mirrorings`; empty where none mirrors."""
    fewest, most = ensemble.mirrorings
    return f"{'up to ' if fewest < most else ''}{most} mirrorings" if most > 1 else ""


def report_time(ensemble: Ensemble, loaded: LoadedScan, todo: int) -> None:
    """Say how long the work will take on this machine, where that is worth a word."""
    if ensemble.flop(loaded.prepared) < LONG_FLOP:
        return
    flop_per_s = measure_flop_per_s(ensemble.engine)
    seconds = sum(loaded.seconds.values()) + estimate_seconds(ensemble, loaded.prepared, flop_per_s)
    in_all = f" a scan, {duration(todo * seconds)} in all" if todo > 1 else ""
    say(f"This takes about {duration(seconds)}{in_all}")


def report_end(
    output: Path, record: RunRecord, todo: Sequence[str], failed: Sequence[str], left: Sequence[str]
) -> None:
    """Say what became of the scans that were to be done: how many this process did, which failed, which others have."""
    done, took = record.computed, record.seconds
    each = f" ({duration(took / done)} each)" if done > 1 else ""
    say(f"{counted(done, 'scan')} in {duration(took)}{each}, with at most {peak_memory_bytes() / 1e9:.1f} GB of memory")
    others = len(todo) - done - len(failed) - len(left)
    if others > 0:
        say(f"{counted(others, 'scan')} {'was' if others == 1 else 'were'} done by other processes meanwhile")
    if left:
        named = ", ".join(left[:NAMED]) + (f" and {len(left) - NAMED} more" if len(left) > NAMED else "")
        say(f"Other processes have {counted(len(left), 'scan')} in hand ({named}); the same command tells what became")
    if failed:
        warn(
            f"{len(failed)} of {counted(len(todo), 'scan')} failed: {', '.join(failed)}; {output / OWNER_FILE} says why"
        )


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ScanRun:
    """All that segmenting one scan after another needs.

    Attributes:
        cohort: The scans.
        method: How they are segmented.
        folder: Locks on the output folder.
        record: Of it.
        memory: What was granted so far.
        raise_alone: Raise the first failure of a scan instead of going on.
        write_more: Writes further files of a scan; None where there are none.
    """

    cohort: Cohort
    method: Method
    folder: SharedFolder
    record: RunRecord
    memory: MemoryCheck
    raise_alone: bool
    write_more: WriteMore | None

    def files(self, name: str) -> ScanFiles:
        """The outputs of a scan."""
        config, cohort = self.method.config, self.cohort
        write_dicom = _dicom_writer(self.method.bundle.card.name) if config.dicom_seg else None
        return ScanFiles(cohort.output, name, config.storage, config.picture, cohort.naming, config.series, write_dicom)

    def is_finished(self, name: str) -> bool:
        """Whether all of them are there, and are of this scan."""
        cohort = self.cohort
        return name not in cohort.refused and self.files(name).is_finished(cohort.scans[name], cohort.brains.get(name))


def pass_over_finished(run: ScanRun) -> list[str]:
    """The scans that are left to do, as far as can be told before others are done with theirs."""
    todo = []
    for name in run.cohort.scans:
        if run.is_finished(name):
            run.record.finish(name, computed=False)
            continue
        todo.append(name)
        _attempt(run, name, partial(_begin, run, name))
    return todo


def _begin(run: ScanRun, name: str) -> None:
    """Remove what is left of a scan: if it fails now, nothing found in another may pass for its result."""
    if name in run.cohort.refused:
        raise CaseError(run.cohort.refused[name])
    run.files(name).require_short_names()
    if run.files(name).any_there() and _is_there(run.cohort.scans[name]) and run.folder.claim(name):
        if not run.is_finished(name):
            run.files(name).remove()
        run.folder.release(name)


def _take_each(run: ScanRun, todo: Sequence[str]) -> Iterator[str]:
    """Take scan after scan in hand; those that others have are looked at again at the end, then left to them."""
    waiting = list(todo)
    for _ in range(2):
        left = []
        for name in waiting:
            taken = _attempt(run, name, partial(run.folder.claim, name))
            if taken is None:
                continue
            if not taken:
                left.append(name)
            elif run.record.failed_meanwhile(name) or run.is_finished(name):
                run.folder.release(name)
            else:
                yield name
        waiting = left


def _is_there(scan: Path) -> bool:
    try:
        return scan.exists()
    except OSError:  # a folder that may not be looked into: reading the scan will say so
        return False


def segment_all(run: ScanRun, todo: Sequence[str]) -> None:
    """Segment scan after scan, noting failures; raises only where the next one would fail, too."""
    run.record.write("running")
    time_is_told = False
    with progress("Segmenting", len(todo)) as show, write_behind(partial(_note_written, run)) as write:
        scans = read_ahead(partial(_read, run), _take_each(run, todo))
        for index, (name, load) in enumerate(scans):
            if index == 0:
                _make_ready(run)  # while a thread reads the scan
            loaded = _attempt(run, name, load)
            if loaded is None:
                continue
            if not time_is_told:
                report_time(run.method.ensemble, loaded, len(todo) - index)
                time_is_told = True
            found = _segment_one(run, name, loaded, partial(_show_share, show, name, todo.index(name)))
            if found is not None:
                write(name, partial(write_scan, run.files(name), loaded, found, run.write_more))
            del loaded, found  # before the one after the next is read


def _make_ready(run: ScanRun) -> None:
    """Load what the first scan will need: networks, and what draws."""
    method, brains = run.method, run.cohort.brains
    if not all(name in brains for name in run.cohort.scans):
        make_ready(method.bundle.card, method.config.space)
    method.ensemble.warm_up()
    if method.config.picture:
        import_module("mapping_stroke.report.overview")


def _read(run: ScanRun, name: str) -> LoadedScan:
    config, card, brain = run.method.config, run.method.bundle.card, run.cohort.brains.get(name)
    return read_scan(run.cohort.scans[name], run.method.ensemble, card, config.space, config.series, brain)


def _segment_one(run: ScanRun, name: str, loaded: LoadedScan, show: Callable[[float], None]) -> Segmentation | None:
    if loaded.series:
        say(f"{run.cohort.scans[name]}: takes series {loaded.series.title}")
    for line in loaded.warnings:
        warn(f"{run.cohort.scans[name]}: {line}")
    room_bytes = run.files(name).needed_bytes(loaded.image.shape)
    require_space(run.cohort.output, 2 * room_bytes)  # the scan before may still be written
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        show(done)

    def segment() -> Segmentation:
        run.memory.require(loaded)
        bring_back = loaded.seen.bring_back
        return segment_scan(loaded.image, run.method.ensemble, run.method.rule, loaded.prepared, advance, bring_back)

    return _attempt(run, name, segment)


def _note_written(run: ScanRun, name: str, written: Callable[[], Stamp]) -> None:
    """Note that a scan is finished, or that it could not be written."""

    def settle() -> Stamp:
        try:
            return written()
        except SCAN_FAILURES:
            with suppress(OSError):  # why the scan could not be written says more
                run.files(name).remove()  # while it is in hand: no mask without a stamp
            raise

    stamp = _attempt(run, name, settle)
    if stamp is None:
        return
    run.record.finish(name, computed=True)
    run.folder.release(name)
    run.record.write("running")
    placed = ", registered to MNI152" if stamp["registration"] else ""
    say(f"{name}: {counted(stamp['lesions'], 'lesion')}, {stamp['load_ml']:.2f} mL{placed}")


def _attempt(run: ScanRun, name: str, work: Callable[[], T]) -> T | None:
    """Do what may fail for one scan: None, and the failure noted, where it does."""
    scan = run.cohort.scans[name]
    try:
        return work()
    except SCAN_FAILURES as error:
        if stops_all(error):
            raise
        why = describe_failure(error, scan)
        run.record.fail(name, scan, why)
        run.folder.release(name)
        if run.raise_alone:
            raise CaseError(f"{scan}: {why}") from error
        run.record.write("running")
        warn(f"{scan}: {why}")
        return None


def _show_share(show: Callable[[float, str], None], name: str, index: int, share: float) -> None:
    show(index + share, name)


def _dicom_writer(model: str) -> WriteDicom:
    from mapping_stroke.interop.dicom_seg import write_segmentation

    return partial(write_segmentation, model=model)


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
        report_start(len(todo), len(cohort.scans), method)
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
        report_end(output, record, todo, failed, left)
    return failed


def _require_dicom(cohort: Cohort) -> None:
    """Raise where masks cannot be written as DICOM."""
    from mapping_stroke.interop.dicom_seg import require_highdicom

    require_highdicom()
    for scan in cohort.scans.values():
        if not holds_dicom(scan):
            raise CaseError(f"{scan}: is no DICOM, which --dicom-seg refers to; leave it out, or --dicom-seg")
