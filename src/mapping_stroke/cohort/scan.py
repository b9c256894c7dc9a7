"""A scan on its way in and out: read and prepared by one thread, written by another, while a third computes."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mapping_stroke.cohort.inputs import read_brain
from mapping_stroke.cohort.results import ScanFiles, scan_sha256
from mapping_stroke.dataset.scan_checks import check_scan, doubt_placed_scan, doubt_scan, tame_outliers
from mapping_stroke.errors import CaseError
from mapping_stroke.files import describe_missing
from mapping_stroke.images.dicom_series import DicomSeries
from mapping_stroke.images.formats import find_source
from mapping_stroke.images.image import Image, Mask, read_image
from mapping_stroke.inference.cost import network_bytes, require_memory, scan_bytes
from mapping_stroke.inference.ensemble import Ensemble, PreparedScan
from mapping_stroke.inference.segmentation import Segmentation
from mapping_stroke.networks.cards import BundleCard
from mapping_stroke.space.model_input import ModelInput, make_model_input

T = TypeVar("T")

BATCH_VOX = 128**3
"""Small patches are computed together up to about this many voxels."""


@dataclass(frozen=True, eq=False)
class LoadedScan:
    """A scan that is ready for its members.

    Attributes:
        seen: As its file holds it, and what the members are shown of it.
        source: Its file or folder, and the SHA-256 of what was read; of a DICOM series its number, too.
        warnings: What a user should know about it, a line each.
        prepared: As the members read it.
        seconds: How long `read`, `place` and `prepare` took.
        series: The DICOM series that it was read from; None for another origin.
    """

    seen: ModelInput
    source: Mapping[str, str]
    warnings: tuple[str, ...]
    prepared: PreparedScan
    seconds: Mapping[str, float]
    series: DicomSeries | None = None

    @property
    def image(self) -> Image:
        """As its file holds it."""
        return self.seen.scan


def read_scan(
    path: Path,
    ensemble: Ensemble,
    card: BundleCard | None = None,
    space: str = "auto",
    series: str = "",
    brain: Path | None = None,
) -> LoadedScan:
    """Read, check, place and prepare one scan.

    Args:
        path: Its file, or a folder that holds a DICOM series.
        ensemble: Prepares it.
        card: Of the model, where a scan of another kind than the card says is to be told, and one that lies elsewhere
            is to be placed.
        space: See `make_model_input`.
        series: See `find_source`.
        brain: The user's own mask of its brain; see `make_model_input`.

    Raises:
        MappingError: There is no such file, or it cannot be read, or is no T1w scan of a head, or cannot be placed; or
            the brain is no mask of it.
    """
    start = time.perf_counter()
    if not path.exists():
        raise CaseError(describe_missing(path))
    found = find_source(path, series)
    image = read_image(found)
    source = {"scan": str(path), "sha256": scan_sha256(found)}
    from_dicom = found if isinstance(found, DicomSeries) else None
    if from_dicom and from_dicom.facts.number is not None:  # no UID: by that a person can be found
        source["series"] = from_dicom.number
    mask = None
    if brain is not None:
        mask = read_brain(brain, image)
        source |= {"brain": str(brain), "brain_sha256": scan_sha256(brain)}
    read_s = time.perf_counter() - start
    loaded = load_scan(image, ensemble, card, space, mask)
    return replace(loaded, source=source, seconds={"read": read_s, **loaded.seconds}, series=from_dicom)


def load_scan(
    image: Image, ensemble: Ensemble, card: BundleCard | None = None, space: str = "auto", brain: Mask | None = None
) -> LoadedScan:
    """The same for a scan that has been read already; it has no source."""
    start = time.perf_counter()
    tamed = tame_outliers(image)
    warnings = check_scan(tamed, heads=card is not None and card.shows != "unknown")
    seen = make_model_input(tamed, card, space, brain) if card else ModelInput(tamed, tamed)
    if card:
        warnings += _doubt(seen, card, space)
    placed_at = time.perf_counter()
    prepared = ensemble.prepare(seen.image)
    seconds = {"place": placed_at - start, "prepare": time.perf_counter() - placed_at}
    return LoadedScan(replace(seen, scan=image), {}, tuple(warnings), prepared, seconds)


def _doubt(seen: ModelInput, card: BundleCard, space: str) -> list[str]:
    """What speaks against a scan as it was placed, or against its kind and place if nobody has placed it."""
    t1w, placed = card.contrast == "T1w", seen.placed
    if placed is None or space == "mni":
        doubts = doubt_scan(seen.scan, t1w=t1w, mni152=card.space == "MNI152" and space == "mni")
    else:
        doubts = doubt_placed_scan(placed.cut_out(), np.linalg.inv(placed.to_mni)) if t1w else []
    return [*doubts, *(placed.warnings if placed else ())]


def read_ahead(read: Callable[[str], T], names: Iterable[str]) -> Iterator[tuple[str, Callable[[], T]]]:
    """Yield each name with a function that gives what was read, or raises what reading raised; one is read ahead."""
    waiting = iter(names)
    with ThreadPoolExecutor(1, "reader") as reader:
        try:
            coming = [(name, reader.submit(read, name)) for name in islice(waiting, 1)]
            while coming:
                name, here = coming.pop()
                coming = [(following, reader.submit(read, following)) for following in islice(waiting, 1)]
                yield name, here.result
                del here
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


class MemoryCheck:
    """Asks for a scan's memory before it is computed; what was granted once may still be held: only more is asked."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._granted_bytes = 0.0

    def require(self, loaded: LoadedScan) -> None:
        """Raise `ResourceError`, with the remedy, where a scan's maps and networks do not fit into the memory left."""
        needed_bytes = self._needed_bytes(loaded)
        if needed_bytes > self._granted_bytes:
            shape = " x ".join(map(str, loaded.image.shape))
            require_memory(needed_bytes - self._granted_bytes, f"a scan of {shape} voxels", self._remedy())
            self._granted_bytes = needed_bytes

    def _needed_bytes(self, loaded: LoadedScan) -> float:
        """For the scan, the one read ahead, and the largest network; a GPU's own memory is not counted."""
        prepared = [each.voxels.shape for each in loaded.prepared.values()]
        shapes = [loaded.image.shape, loaded.seen.image.shape, *prepared]
        engine = self._ensemble.engine
        if engine.on_gpu:
            return scan_bytes(shapes)
        networks = []
        for member in self._ensemble.members:
            tiling = self._ensemble.tiling(member, loaded.prepared)
            together = min(max(BATCH_VOX // math.prod(tiling.patch), 1), max(len(tiling.boxes), 1))
            networks.append(network_bytes(member.card.network, tiling.patch, together, engine.value_bytes))
        return scan_bytes(shapes) + max(networks)

    def _remedy(self) -> str:
        if self._ensemble.window.cover == "window":
            return "use --preset balanced, which computes it in patches, or close other programs"
        return "close other programs, or use a machine with more memory"


Stamp = dict[str, Any]
STEPS = ("read", "place", "prepare", "predict", "postprocess", "write")
"""Of which a stamp tells the seconds."""


WriteMore = Callable[[ScanFiles, LoadedScan, Segmentation], Stamp]
"""Writes further files of a scan, and returns what its stamp should tell of them: under `files` their paths."""

TakeStamp = Callable[[str, Callable[[], Stamp]], None]
"""Is given a scan's name, and what returns its stamp, or raises why there is none."""


def write_scan(files: ScanFiles, loaded: LoadedScan, found: Segmentation, write_more: WriteMore | None = None) -> Stamp:
    """Write all files of one scan, the stamp last, and return that."""
    start = time.perf_counter()
    files.write(loaded.seen, found)
    files.write_as_dicom(loaded.series, found.mask)
    more = write_more(files, loaded, found) if write_more else {}
    seconds = {**found.seconds, **loaded.seconds, "write": time.perf_counter() - start}
    placed, registered = loaded.seen.placed, loaded.seen.registered
    stamp = {
        "source": dict(loaded.source),
        "lesions": len(found.lesions),
        "load_ml": round(sum(lesion.volume_ml for lesion in found.lesions), 3),
        "largest_probability": round(float(found.probability.max()), 4),
        "brain": placed.brain.to_json(placed.scan) if placed else None,
        "registration": registered.to_json() if registered else None,
        "warnings": list(loaded.warnings),
        "seconds": {step: round(seconds[step], 2) for step in STEPS},
        **more,
    }
    files.write_stamp(stamp)
    return stamp


@contextmanager
def write_behind(note: TakeStamp) -> Iterator[TakeStamp]:
    """Yield what has a scan written by a thread, one at a time.

    With the next scan, or at the end, `note` is given its stamp, or what writing it raised.
    """
    pending: list[tuple[str, Future[Stamp]]] = []

    def settle() -> None:
        while pending:
            name, written = pending.pop()
            note(name, written.result)

    with ThreadPoolExecutor(1, "writer") as writer:

        def write(name: str, work: Callable[[], Stamp]) -> None:
            settle()
            pending.append((name, writer.submit(work)))

        try:
            yield write
        finally:
            settle()
