"""Segment new scans: one set of files for each, failures recorded, nothing computed twice."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mapping_stroke.console import counted, duration, progress, say, warn
from mapping_stroke.environment import peak_memory_bytes
from mapping_stroke.errors import CaseError, MappingError
from mapping_stroke.experiment.segment_files import ScanFiles, Storage, contents, read_stamps
from mapping_stroke.experiment.segment_inputs import find_scans
from mapping_stroke.experiment.segment_reading import LoadedScan, MemoryCheck, read_ahead, read_scan
from mapping_stroke.experiment.segment_record import RunRecord
from mapping_stroke.experiment.segment_writing import Stamp, write_behind, write_scan
from mapping_stroke.files import require_space
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import Segmentation, choose_rule, find_preset, make_ensemble, segment_scan
from mapping_stroke.inference.speed import estimate_seconds, measure_flop_per_s
from mapping_stroke.networks.bundle import Bundle, BundleCard, open_bundle
from mapping_stroke.postprocess import PostprocessConfig, find_rule
from mapping_stroke.run_folder import OWNER_FILE, claimed

T = TypeVar("T")

SCAN_FAILURES = (MappingError, MemoryError, RuntimeError, ValueError, ArithmeticError, LookupError, PermissionError)
"""What ends one scan, not the run; an engine raises `RuntimeError` where a GPU's memory is full, say."""
LONG_FLOP = 1e12
"""From here on the time is foretold; less takes seconds everywhere."""


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

    def __post_init__(self) -> None:
        find_preset(self.preset)
        find_rule(self.rule)


@dataclass(frozen=True, eq=False)
class _Run:
    """All that segmenting one scan after another needs."""

    output: Path
    scans: Mapping[str, Path]
    card: BundleCard
    ensemble: Ensemble
    rule: PostprocessConfig
    config: SegmentConfig
    record: RunRecord
    memory: MemoryCheck

    def files(self, name: str) -> ScanFiles:
        return ScanFiles(self.output, name, self.config.storage, self.config.picture)


def segment_scans(
    scans: Sequence[Path], output: Path, model: str | Path, config: SegmentConfig, *, overwrite: bool = False
) -> list[str]:
    """Segment scans into a folder: mask, probability, uncertainty, lesions and a picture for each, and `run.json`.

    Args:
        scans: T1w scans, or folders of them; their names without suffix must differ, since the outputs are named so.
        output: New folder, or one that the same model and settings wrote: finished scans are then left alone.
        model: See `open_bundle`.
        config: Preset, rule, device, what is written.
        overwrite: Replace what another model or other settings wrote there.

    Returns:
        The names of scans that failed; `run.json` tells why.

    Raises:
        MappingError: There is no scan, model or device, the folder holds something else, the only scan failed, or
            there is no room on the disk.
    """
    named = find_scans(scans)
    bundle = open_bundle(model)
    ensemble = make_ensemble(bundle, config.preset, choose_engine(config.device, config.engine, config.precision))
    no_room: MappingError | None = None
    with claimed(output, _identity(bundle, ensemble, config), contents(output), overwrite=overwrite):
        rule = choose_rule(bundle, config.rule)
        record = RunRecord(output, {**_facts(bundle, ensemble), "postprocess": asdict(rule)})
        run = _Run(output, named, bundle.card, ensemble, rule, config, record, MemoryCheck(ensemble))
        todo = _pass_over_finished(run)
        _tell_start(run, len(todo), len(bundle.card.members))
        status = "stopped"
        try:
            _segment_all(run, todo)
            status = "done"
        except MappingError as error:
            if not record.names("done"):
                raise
            no_room = error  # raised below, where it removes nothing that is finished
        finally:
            with suppress(OSError):  # on a full disk the record of before stays
                record.write(status)
    if no_room:
        raise no_room
    _tell_end(run, len(todo))
    return record.names("failed")


def _identity(bundle: Bundle, ensemble: Ensemble, config: SegmentConfig) -> dict[str, Any]:
    """What decides the outputs: the precision does, the device and engine that compute in it do not."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("device", "engine")}
    settings["precision"] = ensemble.engine.precision
    return {"kind": "segment", "model_sha256": bundle.sha256, "settings": settings}


def _facts(bundle: Bundle, ensemble: Ensemble) -> dict[str, Any]:
    return {
        "model": {"name": bundle.card.name, "path": str(bundle.path), "licence": bundle.card.licence},
        "members": [member.card.name for member in ensemble.members],
        "engine": ensemble.engine.description,
    }


def _pass_over_finished(run: _Run) -> list[str]:
    """The scans that are left to do; the others, and what older runs finished in the folder, are noted as done."""
    todo = []
    for name, scan in run.scans.items():
        files = run.files(name)
        if files.is_finished(scan):
            continue
        todo.append(name)
        if _is_there(scan):
            files.remove()  # now: if this scan fails, nothing that was found in another one may pass for its result
    for name, stamp in read_stamps(run.output).items():
        if name not in todo:
            run.record.add(name, "done", stamp)
    return todo


def _is_there(scan: Path) -> bool:
    try:
        return scan.is_file()
    except OSError:  # a folder that may not be looked into: reading the scan will say so
        return False


def _segment_all(run: _Run, todo: Sequence[str]) -> None:
    """Segment scan after scan, noting failures; raises only where the next one would fail, too."""
    run.record.write("running")
    time_is_told = False
    with progress("Segmenting", len(todo)) as show, write_behind(partial(_note_done, run)) as write:
        scans = read_ahead(lambda name: read_scan(run.scans[name], run.ensemble, run.card), todo)
        for index, (name, load) in enumerate(scans):
            if index == 0:
                run.ensemble.warm_up()  # while a thread reads the scan
            loaded = _attempt(run, name, load)
            if loaded is None:
                continue
            if not time_is_told:
                _tell_time(run, loaded, len(todo) - index)
                time_is_told = True
            found = _segment_one(run, name, loaded, partial(_show_share, show, name, index))
            if found is not None:
                write(name, partial(write_scan, run.files(name), loaded, found))
            del loaded, found  # before the one after the next is read


def _segment_one(run: _Run, name: str, loaded: LoadedScan, show: Callable[[float], None]) -> Segmentation | None:
    for line in loaded.warnings:
        warn(f"{run.scans[name]}: {line}")
    room_bytes = run.files(name).needed_bytes(loaded.image.shape)
    require_space(run.output, 2 * room_bytes)  # the scan before may still be written
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        show(done)

    def segment() -> Segmentation:
        run.memory.require(loaded)
        return segment_scan(loaded.image, run.ensemble, run.rule, loaded.prepared, advance)

    return _attempt(run, name, segment)


def _note_done(run: _Run, name: str, stamp: Stamp) -> None:
    run.record.add(name, "done", stamp)
    run.record.write("running")
    say(f"{name}: {counted(stamp['lesions'], 'lesion')}, {stamp['load_ml']:.2f} mL")


def _attempt(run: _Run, name: str, work: Callable[[], T]) -> T | None:
    """Do what may fail for one scan: None, and the failure noted, where it does; the only scan's failure is raised."""
    scan = run.scans[name]
    try:
        return work()
    except SCAN_FAILURES as error:
        why = " ".join(str(error).removeprefix(f"{scan}: ").split()) or "out of memory; close other programs"
        if not isinstance(error, MappingError):
            why = f"{type(error).__name__}: {why[:200]}"
        run.record.add(name, "failed", {"scan": str(scan), "error": why})
        if len(run.scans) == 1:
            raise CaseError(f"{scan}: {why}") from error
        run.record.write("running")
        warn(f"{scan}: {why}")
        return None


def _show_share(show: Callable[[float, str], None], name: str, index: int, share: float) -> None:
    show(index + share, name)


def _tell_start(run: _Run, todo: int, members: int) -> None:
    finished = len(run.scans) - todo
    if finished:
        say(f"{counted(finished, 'scan')} of {len(run.scans)} {'is' if finished == 1 else 'are'} finished already")
    if todo:
        used = f"{len(run.ensemble.members)} of {counted(members, 'member')}"
        mirrored = ", 8 mirrorings each" if run.ensemble.window.mirror else ""
        how = f"preset {run.config.preset}, rule {run.config.rule}{mirrored}"
        say(f"Segmenting {counted(todo, 'scan')} with {used} ({how}) on {run.ensemble.engine.description}")


def _tell_time(run: _Run, loaded: LoadedScan, todo: int) -> None:
    """Say how long the work will take on this machine, where that is worth a word."""
    if run.ensemble.flop(loaded.prepared) < LONG_FLOP:
        return
    flop_per_s = measure_flop_per_s(run.ensemble.engine)
    seconds = sum(loaded.seconds.values()) + estimate_seconds(run.ensemble, loaded.prepared, flop_per_s)
    in_all = f" a scan, {duration(todo * seconds)} in all" if todo > 1 else ""
    say(f"This takes about {duration(seconds)}{in_all}")


def _tell_end(run: _Run, todo: int) -> None:
    if todo == 0:
        return
    failed = run.record.names("failed")
    done, took = todo - len(failed), run.record.seconds
    each = f" ({duration(took / done)} each)" if done > 1 else ""
    say(f"{counted(done, 'scan')} in {duration(took)}{each}, with at most {peak_memory_bytes() / 1e9:.1f} GB of memory")
    if failed:
        warn(
            f"{len(failed)} of {counted(todo, 'scan')} failed: {', '.join(failed)}; {run.output / OWNER_FILE} says why"
        )
