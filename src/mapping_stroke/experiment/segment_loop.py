"""One scan after another: taken in hand, read ahead, segmented, written behind; a failure is noted, the rest go on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TypeVar

from mapping_stroke.console import counted, progress, say, warn
from mapping_stroke.errors import SCAN_FAILURES, CaseError, describe_failure, stops_all
from mapping_stroke.experiment.segment_files import ScanFiles, WriteDicom
from mapping_stroke.experiment.segment_reading import LoadedScan, MemoryCheck, read_ahead, read_scan
from mapping_stroke.experiment.segment_record import RunRecord
from mapping_stroke.experiment.segment_settings import Cohort, Method
from mapping_stroke.experiment.segment_telling import tell_time
from mapping_stroke.experiment.segment_writing import Stamp, WriteMore, write_behind, write_scan
from mapping_stroke.experiment.sharing import SharedFolder
from mapping_stroke.files import require_space
from mapping_stroke.inference.segmentation import Segmentation, segment_scan
from mapping_stroke.space.seen import make_ready

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
    if run.files(name).any_there() and _is_there(run.cohort.scans[name]) and run.folder.take(name):
        if not run.is_finished(name):
            run.files(name).remove()
        run.folder.give_back(name)


def _take_each(run: ScanRun, todo: Sequence[str]) -> Iterator[str]:
    """Take scan after scan in hand; those that others have are looked at again at the end, then left to them."""
    waiting = list(todo)
    for _ in range(2):
        left = []
        for name in waiting:
            taken = _attempt(run, name, partial(run.folder.take, name))
            if taken is None:
                continue
            if not taken:
                left.append(name)
            elif run.record.failed_meanwhile(name) or run.is_finished(name):
                run.folder.give_back(name)
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
                tell_time(run.method.ensemble, loaded, len(todo) - index)
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
        import_module("mapping_stroke.report.placement_picture")


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
    run.folder.give_back(name)
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
        run.folder.give_back(name)
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
