"""Scans on their way in: read, checked and prepared by a thread while the one before is computed."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from mapping_stroke.dataset.plausibility import doubt_scan
from mapping_stroke.dataset.scan_checks import check_scan
from mapping_stroke.errors import CaseError
from mapping_stroke.experiment.segment_files import scan_sha256
from mapping_stroke.image import Image, read_image
from mapping_stroke.inference.ensemble import Ensemble, PreparedScan
from mapping_stroke.inference.memory import network_bytes, require_memory, scan_bytes
from mapping_stroke.networks.cards import BundleCard

T = TypeVar("T")

BATCH_VOX = 128**3
"""Small patches are computed together up to about this many voxels."""


@dataclass(frozen=True, eq=False)
class LoadedScan:
    """A scan that is ready for its members.

    Attributes:
        image: As its file holds it.
        source: Its file, and the SHA-256 of that.
        warnings: What a user should know about it, a line each.
        prepared: As the members read it.
        seconds: How long `read` and `prepare` took.
    """

    image: Image
    source: Mapping[str, str]
    warnings: tuple[str, ...]
    prepared: PreparedScan
    seconds: Mapping[str, float]


def read_scan(path: Path, ensemble: Ensemble, card: BundleCard | None = None) -> LoadedScan:
    """Read, check and prepare one scan.

    Args:
        path: Its file.
        ensemble: Prepares it.
        card: Of the model, where a scan of another kind than the card says is to be told.

    Raises:
        MappingError: There is no such file, or it cannot be read, or is no T1w scan of a head.
    """
    start = time.perf_counter()
    if not path.is_file():
        raise CaseError("no such file; check the path")
    image = read_image(path)
    warnings = check_scan(image)
    if card:
        warnings += doubt_scan(image, t1w=card.contrast == "T1w", mni152=card.space == "MNI152")
    source = {"scan": str(path), "sha256": scan_sha256(path)}
    read_at = time.perf_counter()
    prepared = ensemble.prepare(image)
    seconds = {"read": read_at - start, "prepare": time.perf_counter() - read_at}
    return LoadedScan(image, source, tuple(warnings), prepared, seconds)


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
        shapes = [loaded.image.shape, *(prepared.voxels.shape for prepared in loaded.prepared.values())]
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
