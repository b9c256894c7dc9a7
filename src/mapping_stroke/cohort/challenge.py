"""`mapping grand-challenge`: every scan of a folder gets a mask, an empty one if segmenting it fails."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mapping_stroke.cohort.challenge_server import Invocations, Reply
from mapping_stroke.cohort.segmenter import Segmenter, make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.console import counted, duration, say, warn
from mapping_stroke.environment import available_bytes
from mapping_stroke.errors import BundleError, CaseError, GeometryError, ImageError, Stopped, describe_failure
from mapping_stroke.files import list_files, written_whole
from mapping_stroke.images.formats import image_suffix, read_nifti_placement
from mapping_stroke.images.nifti import Placement, Shape, write_placement
from mapping_stroke.inference.segmentation import Segmentation
from mapping_stroke.networks.archive import SUFFIX
from mapping_stroke.networks.bundle import BUNDLE_FILE, open_bundle
from mapping_stroke.processes import listening

SUFFIXES = (".mha", ".nii.gz")
"""Suffixes of scans and results; the platform itself uses `.mha`."""


@dataclass(frozen=True)
class ChallengeFolders:
    """Folders in which a challenge provides scans and expects results of the same names.

    Attributes:
        scans: The scans; only read.
        masks: Folder for masks: uint8, 1 inside a lesion.
        probabilities: Folder for P(lesion): float32 in [0, 1]; None if the challenge does not want it.
    """

    scans: Path
    masks: Path
    probabilities: Path | None = None

    def find_scans(self) -> list[Path]:
        """The scans, sorted. Raises `CaseError` if there is none."""
        if not self.scans.is_dir():
            raise CaseError(f"{self.scans}: no such folder, expected scans in it; mount them, or name their folder")
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
    """The grid of a NIfTI file: its first three axes, and their placement by the header."""

    shape: Shape
    placement: Placement


Grid = MetaGrid | NiftiGrid


def read_grid(scan: Path) -> Grid:
    """Read the grid of a scan from its header only, so that a scan with damaged voxels also has one.

    Raises:
        ImageError: The header is damaged, or describes fewer than three axes or more voxels than memory holds.
    """
    try:
        grid = _read_meta_grid(scan) if image_suffix(scan) == ".mha" else _read_nifti_grid(scan)
    except Exception as error:  # readers raise anything on damaged bytes
        reason = " ".join(str(error).split("ITK ERROR: ")[-1].split())[:160] or type(error).__name__
        raise ImageError(f"{scan}: its header cannot be read ({reason}); export the scan again") from error
    # an empty mask needs a byte per voxel
    if not 0 < math.prod(grid.shape) < available_bytes():
        shape = " x ".join(map(str, grid.shape))
        raise ImageError(f"{scan}: its header describes {shape} voxels, expected a volume; export the scan again")
    return grid


def write_on_grid(path: Path, voxels: UInt8[np.ndarray, "x y z"] | Float32[np.ndarray, "x y z"], grid: Grid) -> None:
    """Write a compressed volume, completely or not at all, in the format of the path's suffix.

    Args:
        path: Target, `.mha` for a `MetaGrid`, `.nii.gz` for a `NiftiGrid`; its folder is created if missing.
        voxels: Voxels in the order of the scan's own file.
        grid: Grid of that scan; its numbers are copied exactly, so that every program overlays the two.
    """
    assert voxels.shape == grid.shape, "the voxels must lie on the grid"
    with written_whole(path) as partial:
        if isinstance(grid, MetaGrid):
            _write_meta(partial, voxels, grid)
        else:
            _write_nifti(partial, voxels, grid)


def find_weights(folder: Path) -> Path | None:
    """The model uploaded next to the container, or None if the folder is missing or empty.

    The folder and its subfolders are searched, since an archive may hold the model in a folder of its own.

    Raises:
        BundleError: There are several.
    """
    if not folder.is_dir() or not any(not entry.name.startswith(".") for entry in folder.iterdir()):
        return None
    zips = [found for depth in ("", "*/") for found in folder.glob(f"{depth}*{SUFFIX}") if found.is_file()]
    folders = [found.parent for depth in ("", "*/") for found in folder.glob(f"{depth}{BUNDLE_FILE}")]
    models = sorted({*zips, *folders})
    if len(models) > 1:
        names = ", ".join(str(model.relative_to(folder)) for model in models)
        raise BundleError(f"{folder}: holds several models ({names}), expected one; upload one of them")
    return models[0] if models else folder  # to be opened as a folder of members, or refused as holding no model


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

    image = sitk.GetImageFromArray(voxels.T)  # ITK's arrays are in z, y, x order
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
    """The first three edges. Raises `ValueError` if there are fewer."""
    x, y, z = (int(edge) for edge in shape[:3])
    return x, y, z


AGAIN = "rerun this command, which segments every scan anew"
"""Masks are stored without their settings, so that no mask can count as finished."""


@dataclass(frozen=True)
class CaseOutcome:
    """The outcome of one scan.

    Attributes:
        scan: Name of its file.
        lesions: Number of lesions in its mask.
        error: Reason why the scan was not segmented and its mask is empty; empty if it was.
        lost: Reason why there is no mask at all, not even an empty one; empty if there is one.
    """

    scan: str
    lesions: int = 0
    error: str = ""
    lost: str = ""


def ready_segmenter(computation: Computation, weights: Path) -> Segmenter:
    """Open the model, check the weights of every member, and load the first one.

    A damaged model would spoil every case, so it ends the work here, before the first one.

    Args:
        computation: Model and how it is applied.
        weights: Folder of an uploaded model, which is used instead if there is one.

    Raises:
        MappingError: There is no such model, device or engine, or weights are damaged.
    """
    segmenter = make_segmenter(computation, open_bundle(find_weights(weights) or computation.model))
    bundle, ensemble = segmenter.bundle, segmenter.ensemble
    for problem in (found for member in ensemble.members for found in bundle.find_problems(member)):
        raise BundleError(problem)
    segmenter.warm_up(brain_extraction=False)
    say(f"{bundle.path}: {counted(len(ensemble.members), 'member')} on {ensemble.engine.description}")
    return segmenter


def segment_challenge(folders: ChallengeFolders, computation: Computation, weights: Path) -> list[CaseOutcome]:
    """Segment every scan of a folder, in order, and return the outcome of each.

    Raises:
        MappingError: There is no scan, or the model cannot be used; nothing is written in this case.
        Stopped: A signal asked to stop.
    """
    with listening(AGAIN):
        folders.find_scans()  # before the model is loaded
        return _segment_folder(folders, ready_segmenter(computation, weights))


def serve_challenge(
    folders: ChallengeFolders, computation: Computation, weights: Path, address: tuple[str, int]
) -> None:
    """Serve `GET /health` and `POST /invoke` until a signal asks to stop. An invocation segments the folder's scans.

    `/invoke` is answered with 201 if every scan has a mask, perhaps an empty one, and with 500 if a scan has none or
    there is no scan; `/health` with 200 once the model is ready, with 503 before.

    Args:
        folders: Scans and results.
        computation: Model and how it is applied.
        weights: See `ready_segmenter`.
        address: Host and port to listen on.

    Raises:
        MappingError: The model cannot be used.
        OSError: The port is taken.
    """
    with listening() as request:
        try:
            with Invocations(*address) as invocations:
                say(f"Listening on port {invocations.port}")
                segmenter = ready_segmenter(computation, weights)
                say("Ready")
                invocations.work_off(lambda: _reply(_segment_folder(folders, segmenter)))
        except Stopped:
            say(f"Stopped by {request.by}")


def _reply(outcomes: list[CaseOutcome]) -> Reply:
    lost = any(outcome.lost for outcome in outcomes)
    cases = [vars(outcome) for outcome in outcomes]
    return Reply(HTTPStatus.INTERNAL_SERVER_ERROR if lost else HTTPStatus.CREATED, {"cases": cases})


def _segment_folder(folders: ChallengeFolders, segmenter: Segmenter) -> list[CaseOutcome]:
    return [_segment_case(scan, folders, segmenter) for scan in folders.find_scans()]


def _segment_case(scan: Path, folders: ChallengeFolders, segmenter: Segmenter) -> CaseOutcome:
    """Segment one scan, write its results, or empty ones if it cannot be segmented, and log the outcome."""
    start = time.perf_counter()
    found: Segmentation | None = None
    error = lost = ""
    try:
        loaded = segmenter.load(scan)
        for line in loaded.warnings:
            warn(f"{scan}: {line}")
        found = segmenter.segment(loaded)
    except Exception as failure:  # noqa: BLE001 - the scan must have a mask, whatever goes wrong
        error = describe_failure(failure, scan)
        warn(f"{scan}: {error}; its mask is empty")
    try:
        _write(scan, found, folders)
    except Exception as failure:  # noqa: BLE001 - the other scans can still have theirs
        lost = describe_failure(failure, scan)
        warn(f"{scan}: {lost}; it has no mask")
    lesions = len(found.lesions) if found and not lost else 0
    outcome = "FAILED, no mask" if lost else "FAILED, an empty mask" if error else counted(lesions, "lesion")
    say(f"{scan.name}: {outcome} ({duration(time.perf_counter() - start)})")
    return CaseOutcome(scan.name, lesions, error, lost)


def _write(scan: Path, found: Segmentation | None, folders: ChallengeFolders) -> None:
    """Write the results, the mask last, so that a scan with a mask has all its results."""
    grid = read_grid(scan)
    mask = np.zeros(grid.shape, np.uint8) if found is None else found.mask.astype(np.uint8)
    if mask.shape != grid.shape:
        raise GeometryError(f"the mask has shape {mask.shape}, the scan's header {grid.shape}; export the scan again")
    if folders.probabilities:
        probability = np.zeros(grid.shape, np.float32) if found is None else found.probability
        write_on_grid(folders.probabilities / scan.name, probability, grid)
    write_on_grid(folders.masks / scan.name, mask, grid)
