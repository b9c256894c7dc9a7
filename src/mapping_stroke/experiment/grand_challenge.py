"""Segment what a challenge hands to a container: every scan gets a mask, an empty one where segmenting it failed."""

import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np

from mapping_stroke.console import counted, duration, say, warn
from mapping_stroke.errors import BundleError, GeometryError, Stopped, describe_failure
from mapping_stroke.experiment.segment_reading import MemoryCheck, read_scan
from mapping_stroke.experiment.segment_settings import Method, SegmentConfig, choose_method
from mapping_stroke.experiment.stopping import listening
from mapping_stroke.inference.segmentation import Segmentation, segment_scan
from mapping_stroke.interop.grand_challenge import ChallengeFolders, find_weights, read_grid, write_on_grid
from mapping_stroke.interop.invocations import Invocations, Reply

AGAIN = "run the same command again, which segments every scan anew"
"""What a scan's mask was made with is not written beside it, so that none can be taken for finished."""


@dataclass(frozen=True)
class ModelChoice:
    """Which model a container uses, and how.

    Attributes:
        name: See `open_bundle`; used where `weights` holds none.
        weights: Where a model lies that was uploaded beside the container.
        config: Preset, rule, device, engine and precision; what is written is the challenge's affair.
    """

    name: str
    weights: Path
    config: SegmentConfig


@dataclass(frozen=True, eq=False)
class ReadyModel:
    """A model whose weights were checked and whose first network waits."""

    method: Method
    memory: MemoryCheck


@dataclass(frozen=True)
class CaseOutcome:
    """What became of one scan.

    Attributes:
        scan: Name of its file.
        lesions: How many its mask holds.
        error: Why the scan was not segmented, and its mask is empty; empty where it was.
        lost: Why there is no mask at all, not even an empty one; empty where there is one.
    """

    scan: str
    lesions: int = 0
    error: str = ""
    lost: str = ""


def ready_model(choice: ModelChoice) -> ReadyModel:
    """Open the model, check the weights of every member, and make the first one ready.

    What is wrong with a model would spoil every case, so it ends the work here, before the first one.

    Raises:
        MappingError: There is no such model, device or engine, or weights are damaged.
    """
    method = choose_method(find_weights(choice.weights) or choice.name, choice.config)
    bundle, ensemble = method.bundle, method.ensemble
    for problem in (found for member in ensemble.members for found in bundle.find_problems(member)):
        raise BundleError(problem)
    ensemble.warm_up()
    say(f"{bundle.path}: {counted(len(ensemble.members), 'member')} on {ensemble.engine.description}")
    return ReadyModel(method, MemoryCheck(ensemble))


def segment_challenge(folders: ChallengeFolders, choice: ModelChoice) -> list[CaseOutcome]:
    """Segment every scan of a folder, in order, and return what became of each.

    Raises:
        MappingError: There is no scan, or the model cannot be used; nothing is written then.
        Stopped: A signal asked to stop.
    """
    with listening(AGAIN):
        folders.find_scans()  # before the model is loaded
        return _segment_folder(folders, ready_model(choice))


def serve_challenge(folders: ChallengeFolders, choice: ModelChoice, host: str, port: int) -> None:
    """Serve `GET /health` and `POST /invoke` until a signal asks to stop; an invocation segments what the folder holds.

    `/invoke` is answered with 201 where every scan has a mask, perhaps an empty one, and with 500 where one has none,
    or where there is no scan; `/health` with 200 once the model is ready, with 503 before.

    Raises:
        MappingError: The model cannot be used.
        OSError: The port is taken.
    """
    with listening() as request:
        try:
            with Invocations(host, port) as invocations:
                say(f"Listening on port {invocations.port}")
                model = ready_model(choice)
                say("Ready")
                invocations.work_off(lambda: _reply(_segment_folder(folders, model)))
        except Stopped:
            say(f"Stopped by {request.by}")


def _reply(outcomes: list[CaseOutcome]) -> Reply:
    lost = any(outcome.lost for outcome in outcomes)
    cases = [vars(outcome) for outcome in outcomes]
    return Reply(HTTPStatus.INTERNAL_SERVER_ERROR if lost else HTTPStatus.CREATED, {"cases": cases})


def _segment_folder(folders: ChallengeFolders, model: ReadyModel) -> list[CaseOutcome]:
    return [_segment_case(scan, folders, model) for scan in folders.find_scans()]


def _segment_case(scan: Path, folders: ChallengeFolders, model: ReadyModel) -> CaseOutcome:
    """Segment one scan and write its results, empty ones where it cannot be segmented; tell both in the log."""
    start = time.perf_counter()
    found: Segmentation | None = None
    error = lost = ""
    try:
        found = _find_lesions(scan, model)
    except Exception as failure:  # noqa: BLE001 - whatever goes wrong, the scan must have a mask
        error = describe_failure(failure, scan)
        warn(f"{scan}: {error}; its mask is empty")
    try:
        _write(scan, found, folders)
    except Exception as failure:  # noqa: BLE001 - the other scans can still have theirs
        lost = describe_failure(failure, scan)
        warn(f"{scan}: {lost}; it has no mask")
    lesions = len(found.lesions) if found and not lost else 0
    told = "FAILED, no mask" if lost else "FAILED, an empty mask" if error else counted(lesions, "lesion")
    say(f"{scan.name}: {told} ({duration(time.perf_counter() - start)})")
    return CaseOutcome(scan.name, lesions, error, lost)


def _find_lesions(scan: Path, model: ReadyModel) -> Segmentation:
    method = model.method
    loaded = read_scan(scan, method.ensemble, method.bundle.card, method.config.space)
    for line in loaded.warnings:
        warn(f"{scan}: {line}")
    model.memory.require(loaded)
    bring_back = loaded.seen.bring_back
    return segment_scan(loaded.image, method.ensemble, method.rule, loaded.prepared, bring_back=bring_back)


def _write(scan: Path, found: Segmentation | None, folders: ChallengeFolders) -> None:
    """Write the mask last, so that where there is one, all is there."""
    grid = read_grid(scan)
    mask = np.zeros(grid.shape, np.uint8) if found is None else found.mask.astype(np.uint8)
    if mask.shape != grid.shape:
        raise GeometryError(f"the mask has shape {mask.shape}, the scan's header {grid.shape}; export the scan again")
    if folders.probabilities:
        probability = np.zeros(grid.shape, np.float32) if found is None else found.probability
        write_on_grid(folders.probabilities / scan.name, probability, grid)
    write_on_grid(folders.masks / scan.name, mask, grid)
