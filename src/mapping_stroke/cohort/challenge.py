"""Scans from grand-challenge.org: every scan gets a mask, an empty one if segmenting it fails."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mapping_stroke.cohort.challenge_server import Invocations, Reply
from mapping_stroke.cohort.scan import MemoryCheck, read_scan
from mapping_stroke.cohort.settings import Method, SegmentConfig, choose_method
from mapping_stroke.console import counted, duration, say, warn
from mapping_stroke.environment import available_bytes
from mapping_stroke.errors import BundleError, CaseError, GeometryError, ImageError, Stopped, describe_failure
from mapping_stroke.files import list_files, written_whole
from mapping_stroke.images.formats import image_suffix, read_nifti_placement
from mapping_stroke.images.nifti import Placement, Shape, write_placement
from mapping_stroke.inference.segmentation import Segmentation, segment_scan
from mapping_stroke.networks.archive import SUFFIX
from mapping_stroke.networks.bundle import BUNDLE_FILE
from mapping_stroke.processes import listening

SUFFIXES = (".mha", ".nii.gz")
"""Of scans and of what is written; the platform itself hands out and takes `.mha`."""


@dataclass(frozen=True)
class ChallengeFolders:
    """Where a challenge puts scans and looks for results, which are named as the scans are.

    Attributes:
        scans: Holds the scans; only read.
        masks: Takes a mask for each, uint8, 1 inside a lesion.
        probabilities: Takes P(lesion) for each, float32 in [0, 1]; None where the challenge wants none.
    """

    scans: Path
    masks: Path
    probabilities: Path | None = None

    def find_scans(self) -> list[Path]:
        """The scans, sorted; raises `CaseError` where there is none."""
        if not self.scans.is_dir():
            raise CaseError(f"{self.scans}: no such folder, expected the scans there; mount them, or name their folder")
        files = list_files(self.scans, "*")
        scans = [file for file in files if image_suffix(file) in SUFFIXES]
        if not scans:
            found = ", ".join(file.name for file in files[:5]) or "nothing"
            raise CaseError(f"{self.scans}: holds {found}, expected scans ({' or '.join(SUFFIXES)}); mount them there")
        return scans


@dataclass(frozen=True)
class MetaGrid:
    """The grid of an `.mha` file, in ITK's terms: three axes, left-posterior-superior millimetres."""

    shape: Shape
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class NiftiGrid:
    """The grid of a NIfTI file: its first three axes, and how the header places them."""

    shape: Shape
    placement: Placement


Grid = MetaGrid | NiftiGrid


def read_grid(scan: Path) -> Grid:
    """The grid of a scan by its header alone, so that a scan whose voxels are damaged has one, too.

    Raises:
        ImageError: The header is damaged, or tells of fewer than three axes or of more voxels than memory holds.
    """
    try:
        grid = _read_meta_grid(scan) if image_suffix(scan) == ".mha" else _read_nifti_grid(scan)
    except Exception as error:  # readers raise anything on damaged bytes
        reason = " ".join(str(error).split("ITK ERROR: ")[-1].split())[:160] or type(error).__name__
        raise ImageError(f"{scan}: its header cannot be read ({reason}); export the scan again") from error
    if not 0 < math.prod(grid.shape) < available_bytes():
        shape = " x ".join(map(str, grid.shape))
        raise ImageError(f"{scan}: its header tells of {shape} voxels, expected a volume; export the scan again")
    return grid


def write_on_grid(path: Path, voxels: UInt8[np.ndarray, "x y z"] | Float32[np.ndarray, "x y z"], grid: Grid) -> None:
    """Write a volume, compressed, whole or not at all, in the format of the path's suffix, which is the grid's.

    Args:
        path: Target, `.mha` for a `MetaGrid`, `.nii.gz` for a `NiftiGrid`; its folder is made where it is missing.
        voxels: In the order of the scan's own file.
        grid: Of that scan; the same numbers are written again, so that every program lays the two over one another.
    """
    assert voxels.shape == grid.shape, "only what lies on the grid can be written on it"
    with written_whole(path) as partial:
        if isinstance(grid, MetaGrid):
            _write_meta(partial, voxels, grid)
        else:
            _write_nifti(partial, voxels, grid)


def find_weights(folder: Path) -> Path | None:
    """The model that was uploaded beside the container, in a folder that is there and empty where none was.

    Looked for in the folder and one level down, since an archive of a model may hold it in a folder of its own.

    Raises:
        BundleError: There are several; which one was meant?
    """
    if not folder.is_dir() or not any(not entry.name.startswith(".") for entry in folder.iterdir()):
        return None
    zips = [found for depth in ("", "*/") for found in folder.glob(f"{depth}*{SUFFIX}") if found.is_file()]
    folders = [found.parent for depth in ("", "*/") for found in folder.glob(f"{depth}{BUNDLE_FILE}")]
    models = sorted({*zips, *folders})
    if len(models) > 1:
        names = ", ".join(str(model.relative_to(folder)) for model in models)
        raise BundleError(f"{folder}: holds several models ({names}), expected one; upload one of them")
    return models[0] if models else folder  # which opens as a folder of members, or says that it holds no model


def _read_meta_grid(scan: Path) -> MetaGrid:
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(scan))
    reader.ReadImageInformation()
    axes = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3].ravel()
    spacing, origin = reader.GetSpacing()[:3], reader.GetOrigin()[:3]
    return MetaGrid(_spatial(reader.GetSize()), spacing, origin, tuple(map(float, direction)))


def _read_nifti_grid(scan: Path) -> NiftiGrid:
    shape, placement = read_nifti_placement(scan)
    return NiftiGrid(_spatial(shape), placement)


def _write_meta(path: Path, voxels: np.ndarray, grid: MetaGrid) -> None:
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    image = sitk.GetImageFromArray(voxels.T)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_nifti(path: Path, voxels: np.ndarray, grid: NiftiGrid) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(voxels, None)
    image.header.set_xyzt_units("mm")
    write_placement(image.header, grid.placement)
    nib.save(image, path)


def _spatial(shape: Sequence[int]) -> Shape:
    """The first three edges; raises `ValueError` where there are fewer."""
    x, y, z = (int(edge) for edge in shape[:3])
    return x, y, z


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
