"""`mapping segment`: one scan after another, also in several processes. A failed scan does not stop the others."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mapping_stroke.cohort.group import COHORT_COLUMNS
from mapping_stroke.cohort.inputs import REFERENCES, find_given, find_scans, holds_dicom
from mapping_stroke.cohort.methods import describe_mirrorings
from mapping_stroke.cohort.record import Notes, RunRecord, contents
from mapping_stroke.cohort.regions import choose_atlas
from mapping_stroke.cohort.results import FlatLayout, OutputLayout, ScanFiles, Stamp
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter, make_segmenter, with_reference
from mapping_stroke.cohort.settings import Computation, ScanOptions
from mapping_stroke.cohort.shared_folder import SharedFolder, shared
from mapping_stroke.console import counted, counted_of, duration, listed, progress, say, warn
from mapping_stroke.environment import peak_memory_bytes
from mapping_stroke.errors import SCAN_FAILURES, CaseError, MappingError, describe_failure
from mapping_stroke.files import require_space
from mapping_stroke.inference.cost import estimate_seconds, measure_flop_per_s
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import Segmentation
from mapping_stroke.run_folder import OWNER_FILE, SHARING
from mapping_stroke.space.atlas import Atlas
from mapping_stroke.space.model_input import require_use_of_brain
from mapping_stroke.work import attempt, show_share, summed

T = TypeVar("T")

LONG_FLOP = 1e12
"""The duration is only estimated for more work than this; less takes seconds on any machine."""
LISTED = 10
"""Messages name this many scans of other processes and count the rest."""
WITHOUT_LOCKS = (
    "another process is working there or was killed, and this disk has no file locks: each process computes every "
    f"scan, with equal results; if no other process is running, remove the folder {SHARING} in it"
)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Scans whose results go into one folder.

    Attributes:
        scans: Files by name; the names are also used in `run.json`.
        layout: Layout of the output folder.
        options: How scans are read and what is written.
        refused: Reasons why scans fail without being read, by name; results they had before are kept.
        brains: The user's own brain masks, by name; the other scans get theirs by brain extraction.
        references: True lesions, by name.
        atlas: The user's atlas, by whose regions lesions are measured.
    """

    scans: Mapping[str, Path]
    layout: OutputLayout
    options: ScanOptions
    refused: Mapping[str, str] = field(default_factory=dict)
    brains: Mapping[str, Path] = field(default_factory=dict)
    references: Mapping[str, Path] = field(default_factory=dict)
    atlas: Atlas | None = None


@dataclass(frozen=True, eq=False)
class CohortRun:
    """A cohort that one process is segmenting.

    Attributes:
        cohort: The scans.
        segmenter: Model and settings.
        folder: Locks on the output folder.
        record: Record of the output folder.
        raise_first: Raise the first failure of a scan instead of going on.
    """

    cohort: Cohort
    segmenter: Segmenter
    folder: SharedFolder
    record: RunRecord
    raise_first: bool

    def files(self, name: str) -> ScanFiles:
        """The outputs of a scan."""
        return ScanFiles(self.cohort.layout, name, self.cohort.options)

    def is_finished(self, name: str) -> bool:
        """Whether all outputs exist and belong to this scan."""
        cohort = self.cohort
        given = (cohort.brains.get(name), cohort.references.get(name), cohort.atlas)
        return name not in cohort.refused and self.files(name).is_finished(cohort.scans[name], *given)


def segment_scans(
    scans: Sequence[Path],
    output: Path,
    computation: Computation,
    options: ScanOptions | None = None,
    *,
    pattern: str | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Segment scans into a folder: masks, maps, lesion tables and pictures of each scan, and `run.json`.

    Args:
        scans: T1w scans, or folders of them; outputs are named after them, so their names must differ.
        output: New folder, or one to resume, see `segment_cohort`.
        computation: Model and how it is applied.
        options: How scans are read and what is written; the defaults if None.
        pattern: Images of folders that are scans, see `find_scans`.
        overwrite: See `segment_cohort`.

    Returns:
        The names of scans that failed; `run.json` gives the reasons.

    Raises:
        MappingError: There is no scan, or the only scan failed, or see `segment_cohort`.
    """
    options = options or ScanOptions()
    atlas = choose_atlas(options.regions, COHORT_COLUMNS)
    layout, found = FlatLayout(output), find_scans(scans, options.series, pattern)
    brains = find_given(options.brain, found, layout)
    references = find_given(options.reference, found, layout, REFERENCES)
    cohort = Cohort(found, layout, options, brains=brains, references=references, atlas=atlas)
    if options.dicom_seg:
        _require_dicom(cohort)
    return segment_cohort(cohort, computation, overwrite=overwrite, raise_first=len(cohort.scans) == 1)


def segment_cohort(
    cohort: Cohort, computation: Computation, *, overwrite: bool = False, raise_first: bool = False
) -> list[str]:
    """Segment all scans of a cohort that are neither finished nor being processed by other processes.

    Args:
        cohort: Scans, and a new output folder or one written with the same model and settings: finished scans in it
            are kept. Other processes may work on the same folder at the same time.
        computation: Model and how it is applied.
        overwrite: Replace results of another model or other settings in the folder.
        raise_first: Raise the first failure of a scan instead of going on.

    Returns:
        The names of scans that failed in any process; `run.json` gives the reasons.

    Raises:
        MappingError: There is no such model or device, the folder holds something else, or the disk is full.
    """
    layout, segmenter = cohort.layout, make_segmenter(computation)
    if cohort.brains:
        require_use_of_brain(segmenter.bundle.card, computation.space)
    ours = (*contents(layout), *layout.extra_patterns)
    with shared(layout.folder, _identity(cohort, segmenter), ours, overwrite=overwrite) as folder:
        record = RunRecord(layout.folder, Notes(layout), folder, segmenter.facts())
        layout.begin(segmenter)
        run = CohortRun(cohort, segmenter, folder, record, raise_first)
        todo = pass_over_finished(run)
        if not folder.knows_locks and folder.has_others():
            warn(f"{layout.folder}: {WITHOUT_LOCKS}")
        report_start(len(todo), len(cohort.scans), segmenter)
        left, no_room = _segment_and_record(run, todo)
        if not (left or no_room):  # otherwise the process that finishes those scans does this
            _end(run)
    if no_room:
        raise no_room
    failed = [name for name in record.names("failed") if name in todo]
    if todo:
        report_end(layout.folder, record, todo, failed, left)
    return failed


def _segment_and_record(run: CohortRun, todo: Sequence[str]) -> tuple[list[str], MappingError | None]:
    """Segment all scans, and write the record whatever happens.

    Returns:
        Scans that other processes are working on, and the error that ended the run early, if any scan is finished: it
        must be raised outside `shared`, which would otherwise withdraw the finished results.
    """
    status, left = "stopped", list[str]()
    ended: MappingError | None = None
    try:
        segment_all(run, todo)
        status = "done"
    except MappingError as error:
        if not run.record.names("done"):
            raise
        ended = error
    finally:
        left = run.record.unsettled(todo) if status == "done" else []
        with suppress(OSError):  # on a full disk the previous record stays
            run.record.write(status, left)
    return left, ended


def _end(run: CohortRun) -> None:
    """Write the files about all scans in the folder. A failure costs no results: a rerun of the command writes them."""
    layout = run.cohort.layout
    try:
        with run.folder.in_turn():
            layout.end(run.record.scans(), run.cohort.options)
    except SCAN_FAILURES as error:
        reason = describe_failure(error)
        warn(f"{layout.folder}: the table and page of the cohort were not written ({reason}); rerun this command")


def _identity(cohort: Cohort, segmenter: Segmenter) -> dict[str, object]:
    """Everything that decides the outputs. Device and engine do not, only their precision.

    Choosing a DICOM series or a brain mask decides the input, like choosing a file, and each stamp records it.
    """
    computation, options = segmenter.computation, cohort.options
    settings = {
        "preset": computation.preset,
        "rule": computation.rule,
        "precision": segmenter.ensemble.engine.precision,
        "storage": options.probability,
        "picture": not options.no_picture,
        **({"head": True} if options.show_head else {}),
        "space": computation.space,
    }
    return {"kind": cohort.layout.kind, "model_sha256": segmenter.bundle.sha256, "settings": settings}


def _require_dicom(cohort: Cohort) -> None:
    """Raise an error if masks cannot be written as DICOM."""
    from mapping_stroke.interop.dicom_seg import require_highdicom

    require_highdicom()
    for scan in cohort.scans.values():
        if not holds_dicom(scan):
            raise CaseError(f"{scan}: is not DICOM, which --dicom-seg needs; leave out this scan or --dicom-seg")


def pass_over_finished(run: CohortRun) -> list[str]:
    """The scans left to do, as far as this is known before other processes finish theirs."""
    todo = []
    for name in run.cohort.scans:
        if run.is_finished(name):
            run.record.finish(name, computed=False)
            continue
        todo.append(name)
        _attempt(run, name, partial(_remove_old, run, name))
    return todo


def _remove_old(run: CohortRun, name: str) -> None:
    """Remove older outputs of a scan: if it fails now, they must not pass for its results."""
    if name in run.cohort.refused:
        raise CaseError(run.cohort.refused[name])
    files = run.files(name)
    files.require_short_names()
    if files.any_exists() and _exists(run.cohort.scans[name]) and run.folder.claim(name):
        if not run.is_finished(name):
            files.remove()
        run.folder.release(name)


def _exists(scan: Path) -> bool:
    try:
        return scan.exists()
    except OSError:  # no permission to look: reading the scan will report that
        return False


def _claim_each(run: CohortRun, todo: Sequence[str]) -> Iterator[str]:
    """Claim one scan after another. Those claimed by other processes are tried once more at the end."""
    waiting = list(todo)
    for _ in range(2):
        left = []
        for name in waiting:
            claimed = _attempt(run, name, partial(run.folder.claim, name))
            if claimed is None:
                continue
            if not claimed:
                left.append(name)
            elif run.record.failed_meanwhile(name) or run.is_finished(name):
                run.folder.release(name)
            else:
                yield name
        waiting = left


def segment_all(run: CohortRun, todo: Sequence[str]) -> None:
    """Segment scan after scan and note failures. Raises only errors that would also stop the next scan.

    One thread reads the next scan and another writes the previous one while this one computes.
    """
    run.record.write("running")
    time_is_reported, writing = False, list[tuple[str, Future[Stamp]]]()
    with progress("Segmenting", len(todo)) as show, ThreadPoolExecutor(1, "writer") as writer:
        try:
            scans = read_ahead(partial(_load, run), _claim_each(run, todo))
            for index, (name, load) in enumerate(scans):
                if index == 0:
                    _warm_up(run)  # while a thread reads the scan
                loaded = _attempt(run, name, load)
                if loaded is None:
                    continue
                if not time_is_reported:
                    report_time(run.segmenter.ensemble, loaded, len(todo) - index)
                    time_is_reported = True
                found = _segment_one(run, name, loaded, partial(show_share, show, name, todo.index(name)))
                if found is not None:
                    # at most one scan is being written, which bounds memory
                    _settle(run, writing)
                    writing.append((name, writer.submit(run.files(name).write, loaded, found, run.segmenter)))
                del loaded, found  # before the scan after the next is read
        finally:
            _settle(run, writing)


def read_ahead(read: Callable[[str], T], names: Iterable[str]) -> Iterator[tuple[str, Callable[[], T]]]:
    """Yield each name with a function that returns, or raises, the result of reading it, and read one ahead."""
    waiting = iter(names)
    with ThreadPoolExecutor(1, "reader") as reader:
        try:
            coming = [(name, reader.submit(read, name)) for name in islice(waiting, 1)]
            while coming:
                name, here = coming.pop()
                coming = [(following, reader.submit(read, following)) for following in islice(waiting, 1)]
                yield name, here.result
                del here  # otherwise the scan would stay in memory while the next is read
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _warm_up(run: CohortRun) -> None:
    """Load everything that the first scan needs: networks and plotting."""
    run.segmenter.warm_up(brain_extraction=not all(name in run.cohort.brains for name in run.cohort.scans))
    if not run.cohort.options.no_picture:
        import_module("mapping_stroke.report.overview")
        import_module("mapping_stroke.report.scan_page")


def _load(run: CohortRun, name: str) -> LoadedScan:
    cohort = run.cohort
    loaded = run.segmenter.load(cohort.scans[name], cohort.brains.get(name), cohort.options.series)
    loaded = replace(loaded, atlas=cohort.atlas)
    reference = cohort.references.get(name)
    return loaded if reference is None else with_reference(loaded, reference)


def _segment_one(run: CohortRun, name: str, loaded: LoadedScan, show: Callable[[float], None]) -> Segmentation | None:
    scan = run.cohort.scans[name]
    if loaded.series:
        say(f"{scan}: reads series {loaded.series.title}")
    for line in loaded.warnings:
        warn(f"{scan}: {line}")
    needed_bytes = run.files(name).needed_bytes(loaded.image.shape)
    require_space(run.cohort.layout.folder, 2 * needed_bytes)  # twice: the previous scan may still be written
    return _attempt(run, name, lambda: run.segmenter.segment(loaded, summed(show)))


def _settle(run: CohortRun, writing: list[tuple[str, Future[Stamp]]]) -> None:
    """Wait for the scan that is being written, if any, and note that it is finished or could not be written."""
    while writing:
        name, written = writing.pop()
        stamp = _attempt(run, name, partial(_written, run, name, written))
        if stamp is None:
            continue
        run.record.finish(name, computed=True)
        run.folder.release(name)
        run.record.write("running")
        registered = ", registered to MNI152" if stamp["registration"] else ""
        say(f"{name}: {counted(stamp['lesions'], 'lesion')}, {stamp['load_ml']:.2f} mL{registered}")


def _written(run: CohortRun, name: str, written: Future[Stamp]) -> Stamp:
    try:
        return written.result()
    except SCAN_FAILURES:
        with suppress(OSError):  # the first error matters more
            run.files(name).remove()  # while the scan is still claimed, so that no mask remains without a stamp
        raise


def _attempt(run: CohortRun, name: str, work: Callable[[], T]) -> T | None:
    """Do work that may fail for one scan. If it fails, record the failure, release the scan and return None."""
    scan = run.cohort.scans[name]

    def note(why: str) -> None:
        run.record.fail(name, scan, why)
        run.folder.release(name)
        if not run.raise_first:
            run.record.write("running")

    return attempt(work, name, scan, alone=run.raise_first, note=note)[0]


def report_start(todo: int, scans: int, segmenter: Segmenter) -> None:
    """Report how many scans are segmented, and how."""
    finished = scans - todo
    if finished:
        say(f"{counted(finished, 'scan')} of {scans} {'is' if finished == 1 else 'are'} already finished")
    if todo:
        ensemble, computation = segmenter.ensemble, segmenter.computation
        members = len(ensemble.members)
        used = counted_of(members, len(segmenter.bundle.card.members), "member")
        mirrored = describe_mirrorings(ensemble)
        each = " each" if members > 1 else ""
        how = f"preset {computation.preset}, rule {computation.rule}{f', {mirrored}{each}' if mirrored else ''}"
        say(f"Segmenting {counted(todo, 'scan')} with {used} ({how}) on {ensemble.engine.description}")


def report_time(ensemble: Ensemble, loaded: LoadedScan, todo: int) -> None:
    """Estimate how long the work takes on this machine, unless it takes only seconds."""
    if ensemble.flop(loaded.prepared) < LONG_FLOP:
        return
    flop_per_s = measure_flop_per_s(ensemble.engine)
    seconds = sum(loaded.seconds.values()) + estimate_seconds(ensemble, loaded.prepared, flop_per_s)
    in_all = f" per scan, {duration(todo * seconds)} in total" if todo > 1 else ""
    say(f"This takes about {duration(seconds)}{in_all}")


def report_end(
    output: Path, record: RunRecord, todo: Sequence[str], failed: Sequence[str], left: Sequence[str]
) -> None:
    """Report the outcome of the scans to do: how many this process did, which failed, which others are working on."""
    done, took = record.computed, record.seconds
    each = f" ({duration(took / done)} each)" if done > 1 else ""
    say(f"{counted(done, 'scan')} in {duration(took)}{each}, with at most {peak_memory_bytes() / 1e9:.1f} GB of memory")
    others = len(todo) - done - len(failed) - len(left)
    if others > 0:
        say(f"{counted(others, 'scan')} {'was' if others == 1 else 'were'} done by other processes in the meantime")
    if left:
        names = listed(left, LISTED)
        being = f"{counted(len(left), 'scan')} {'is' if len(left) == 1 else 'are'} being processed elsewhere ({names})"
        say(f"{being}; rerun this command to see {'its' if len(left) == 1 else 'their'} results")
    if failed:
        count, names = f"{len(failed)} of {counted(len(todo), 'scan')}", ", ".join(failed)
        warn(f"{count} failed: {names}; see {output / OWNER_FILE} for the reasons")
