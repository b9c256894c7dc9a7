"""Segment new scans: a set of files for each, failures recorded, nothing computed twice, also by several processes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mapping_stroke.console import counted, progress, say, warn
from mapping_stroke.errors import CaseError, MappingError
from mapping_stroke.experiment.segment_files import Naming, ScanFiles, Storage, WriteDicom, flat_names
from mapping_stroke.experiment.segment_inputs import find_scans, holds_dicom
from mapping_stroke.experiment.segment_notes import Notes, contents
from mapping_stroke.experiment.segment_reading import LoadedScan, MemoryCheck, read_ahead, read_scan
from mapping_stroke.experiment.segment_record import RunRecord
from mapping_stroke.experiment.segment_telling import tell_end, tell_start, tell_time
from mapping_stroke.experiment.segment_writing import Stamp, WriteMore, write_behind, write_scan
from mapping_stroke.experiment.sharing import SharedFolder, shared
from mapping_stroke.files import require_space
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import Segmentation, choose_rule, find_preset, make_ensemble, segment_scan
from mapping_stroke.networks.bundle import Bundle, BundleCard, open_bundle
from mapping_stroke.postprocess import PostprocessConfig, find_rule
from mapping_stroke.run_folder import SHARING
from mapping_stroke.space.placed import require_space_name

T = TypeVar("T")

WITHOUT_LOCKS = (
    "another process is at work there or was killed, and this disk knows no file locks: each computes every scan, with "
    f"equal results; where no other one is, remove the folder {SHARING} in it"
)

SCAN_FAILURES = (MappingError, MemoryError, RuntimeError, ValueError, ArithmeticError, LookupError, PermissionError)
"""What ends one scan, not the run; an engine raises `RuntimeError` where a GPU's memory is full, say."""


UNDECISIVE = ("device", "engine", "series", "dicom_seg")
"""Settings with which the same folder goes on."""


@dataclass(frozen=True)
class SegmentConfig:
    """How `mapping segment` segments."""

    preset: str = "balanced"
    rule: str = "mapping"
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    storage: Storage = "uint8"
    """Of probability and uncertainty: `uint8` in steps of 1/255 and 0.5/255, or `float32`."""
    picture: bool = True
    space: str = "auto"
    """See `see_scan`."""
    series: str = ""
    """Which DICOM series of a folder is meant; see `choose_series`."""
    dicom_seg: bool = False
    """Whether masks are written as DICOM, too; then every scan must be DICOM."""

    def __post_init__(self) -> None:
        find_preset(self.preset)
        find_rule(self.rule)
        require_space_name(self.space)


@dataclass(frozen=True, eq=False)
class Method:
    """How the scans of one run are segmented: a model, its members that are used on an engine, rule and settings."""

    bundle: Bundle
    ensemble: Ensemble
    rule: PostprocessConfig
    config: SegmentConfig


@dataclass(frozen=True, eq=False)
class Cohort:
    """Scans whose results go into one folder.

    Attributes:
        scans: Their files, by name; the names also in `run.json`.
        output: The folder.
        naming: What the results are called.
        kind: What `run.json` calls the work, so that no other command goes on with it.
        others: Patterns of further files that are written into the folder.
        begin: Told how the scans are segmented before the first one is; returns what writes further files of each.
    """

    scans: Mapping[str, Path]
    output: Path
    naming: Naming = flat_names
    kind: str = "segment"
    others: tuple[str, ...] = ()
    begin: Callable[[Method], WriteMore] | None = None


@dataclass(frozen=True, eq=False)
class _Run:
    """All that segmenting one scan after another needs."""

    cohort: Cohort
    card: BundleCard
    ensemble: Ensemble
    rule: PostprocessConfig
    config: SegmentConfig
    folder: SharedFolder
    record: RunRecord
    memory: MemoryCheck
    raise_alone: bool
    write_more: WriteMore | None

    def files(self, name: str) -> ScanFiles:
        config, cohort = self.config, self.cohort
        write_dicom = _dicom_writer(self.card.name) if config.dicom_seg else None
        return ScanFiles(cohort.output, name, config.storage, config.picture, cohort.naming, config.series, write_dicom)

    def is_finished(self, name: str) -> bool:
        return self.files(name).is_finished(self.cohort.scans[name])


def segment_scans(
    scans: Sequence[Path], output: Path, model: str | Path, config: SegmentConfig, *, overwrite: bool = False
) -> list[str]:
    """Segment scans into a folder: mask, probability, uncertainty, lesions and a picture for each, and `run.json`.

    Args:
        scans: T1w scans, or folders of them; their names without suffix must differ, since the outputs are named so.
        output: See `segment_cohort`, as for the other arguments.
        model: Likewise.
        config: Likewise.
        overwrite: Likewise.

    Returns:
        The names of scans that failed; `run.json` tells why.

    Raises:
        MappingError: There is no scan, or see `segment_cohort`; or the only scan failed.
    """
    cohort = Cohort(find_scans(scans, config.series), output)
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
    output = cohort.output
    bundle = open_bundle(model)
    ensemble = make_ensemble(bundle, config.preset, choose_engine(config.device, config.engine, config.precision))
    identity = {"kind": cohort.kind, **_identity(bundle, ensemble, config)}
    no_room: MappingError | None = None
    ours = (*contents(output, cohort.naming), *cohort.others)
    with shared(output, identity, ours, overwrite=overwrite) as folder:
        rule = choose_rule(bundle, config.rule)
        facts = {**_facts(bundle, ensemble), "postprocess": asdict(rule)}
        record = RunRecord(output, Notes(output, cohort.naming), folder, facts)
        memory = MemoryCheck(ensemble)
        more = cohort.begin(Method(bundle, ensemble, rule, config)) if cohort.begin else None
        run = _Run(cohort, bundle.card, ensemble, rule, config, folder, record, memory, raise_alone, more)
        todo = _pass_over_finished(run)
        if not folder.knows_locks and folder.has_others():
            warn(f"{output}: {WITHOUT_LOCKS}")
        how = f"preset {config.preset}, rule {config.rule}"
        tell_start(len(todo), len(cohort.scans), bundle.card, ensemble, how)
        status = "stopped"
        try:
            _segment_all(run, todo)
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


def _identity(bundle: Bundle, ensemble: Ensemble, config: SegmentConfig) -> dict[str, Any]:
    """What decides the outputs: the precision does, the device and engine that compute in it do not.

    Nor does the choice of a series: like the choice of a file, it decides what is segmented.
    """
    settings = {name: value for name, value in asdict(config).items() if name not in UNDECISIVE}
    settings["precision"] = ensemble.engine.precision
    return {"model_sha256": bundle.sha256, "settings": settings}


def _require_dicom(cohort: Cohort) -> None:
    """Raise where masks cannot be written as DICOM."""
    from mapping_stroke.interop.dicom_seg import require_highdicom

    require_highdicom()
    for scan in cohort.scans.values():
        if not holds_dicom(scan):
            raise CaseError(f"{scan}: is no DICOM, which --dicom-seg refers to; leave it out, or --dicom-seg")


def _dicom_writer(model: str) -> WriteDicom:
    from mapping_stroke.interop.dicom_seg import write_segmentation

    return partial(write_segmentation, model=model)


def _facts(bundle: Bundle, ensemble: Ensemble) -> dict[str, Any]:
    return {
        "model": {"name": bundle.card.name, "path": str(bundle.path), "licence": bundle.card.licence},
        "members": [member.card.name for member in ensemble.members],
        "engine": ensemble.engine.description,
    }


def _pass_over_finished(run: _Run) -> list[str]:
    """The scans that are left to do, as far as can be told before others are done with theirs."""
    todo = []
    for name, scan in run.cohort.scans.items():
        if run.is_finished(name):
            run.record.finish(name, computed=False)
            continue
        todo.append(name)
        if run.files(name).any_there() and _is_there(scan) and run.folder.take(name):
            if not run.is_finished(name):
                run.files(name).remove()  # now: if this scan fails, nothing found in another may pass for its result
            run.folder.give_back(name)
    return todo


def _take_each(run: _Run, todo: Sequence[str]) -> Iterator[str]:
    """Take scan after scan in hand; those that others have are looked at again at the end, then left to them."""
    waiting = list(todo)
    for _ in range(2):
        left = []
        for name in waiting:
            if not run.folder.take(name):
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


def _segment_all(run: _Run, todo: Sequence[str]) -> None:
    """Segment scan after scan, noting failures; raises only where the next one would fail, too."""
    run.record.write("running")
    time_is_told = False
    with progress("Segmenting", len(todo)) as show, write_behind(partial(_note_done, run)) as write:
        scans = read_ahead(partial(_read, run), _take_each(run, todo))
        for index, (name, load) in enumerate(scans):
            if index == 0:
                run.ensemble.warm_up()  # while a thread reads the scan
            loaded = _attempt(run, name, load)
            if loaded is None:
                continue
            if not time_is_told:
                tell_time(run.ensemble, loaded, len(todo) - index)
                time_is_told = True
            found = _segment_one(run, name, loaded, partial(_show_share, show, name, todo.index(name)))
            if found is not None:
                write(name, partial(write_scan, run.files(name), loaded, found, run.write_more))
            del loaded, found  # before the one after the next is read


def _read(run: _Run, name: str) -> LoadedScan:
    return read_scan(run.cohort.scans[name], run.ensemble, run.card, run.config.space, run.config.series)


def _segment_one(run: _Run, name: str, loaded: LoadedScan, show: Callable[[float], None]) -> Segmentation | None:
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
        return segment_scan(loaded.image, run.ensemble, run.rule, loaded.prepared, advance, bring_back)

    return _attempt(run, name, segment)


def _note_done(run: _Run, name: str, stamp: Stamp) -> None:
    run.record.finish(name, computed=True)
    run.folder.give_back(name)
    run.record.write("running")
    say(f"{name}: {counted(stamp['lesions'], 'lesion')}, {stamp['load_ml']:.2f} mL")


def _attempt(run: _Run, name: str, work: Callable[[], T]) -> T | None:
    """Do what may fail for one scan: None, and the failure noted, where it does."""
    scan = run.cohort.scans[name]
    try:
        return work()
    except SCAN_FAILURES as error:
        why = " ".join(str(error).removeprefix(f"{scan}: ").split()) or "out of memory; close other programs"
        if not isinstance(error, MappingError):
            why = f"{type(error).__name__}: {why[:200]}"
        run.record.fail(name, scan, why)
        run.folder.give_back(name)
        if run.raise_alone:
            raise CaseError(f"{scan}: {why}") from error
        run.record.write("running")
        warn(f"{scan}: {why}")
        return None


def _show_share(show: Callable[[float, str], None], name: str, index: int, share: float) -> None:
    show(index + share, name)
